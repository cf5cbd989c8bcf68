"""The processes of a measurement: pinned to a core each, started and ended by id."""

import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.subjects import HERE

#: The core of the subject alone, and that of model, load generator, PostgreSQL and Valkey.
SUBJECT_CORE, OTHER_CORE = 0, 1
_START_SECONDS, _STOP_SECONDS = 30.0, 25.0


class DidNotStart(Exception):
    """The process ended, or did not listen in time; the message has the end of its log."""


def prepare() -> None:
    """Move this process, and so all that it starts, off the subject's core, and let sockets be many."""
    os.sched_setaffinity(0, {OTHER_CORE})
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextmanager
def run_process(
    command: Sequence[str],
    port: int,
    log: Path,
    *,
    core: int = OTHER_CORE,
    environment: Mapping[str, str] | None = None,
) -> Iterator[int]:
    """Run a program until the block ends, once it listens on `port`; gives its pid. Raises `DidNotStart`."""
    if _listens(port):
        raise DidNotStart(f"another program listens on port {port}")
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - a subject's own command
            command,
            cwd=HERE.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for us, who then end it
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
    try:
        _wait_until_it_listens(process, port, log)
        yield process.pid
    finally:
        _stop(process)


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not _listens(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise DidNotStart("\n".join(log.read_text(errors="replace").splitlines()[-10:]))
        time.sleep(0.05)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.5):
        return True
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def children_of(pid: int) -> list[int]:
    """The processes that this one has started and that still run."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
