"""Several server processes on one machine, behind one address."""

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from types import FrameType

from runs.embedded_valkey import end_with_parent, run_valkey
from server.observability.logs import configure_logging
from server.serving import listen
from server.settings import Settings, require_for_production

logger = logging.getLogger(__name__)

#: Seconds before a process that died is started again.
RESTART_WAIT = 1.0
#: The exit status of a process that no other try will help.
UNUSABLE_SETTINGS = 2


def serve_workers(settings: Settings, count: int) -> int:
    """Serve with `count` processes until SIGTERM or SIGINT; one that dies is started again.

    Without LOQUENT_VALKEY_URL they share a Valkey of their own. Raises `InvalidSettings` and `AddressTaken`.
    """
    configure_logging(settings)
    require_for_production(settings)
    with ExitStack() as stack:
        listener = stack.enter_context(listen(settings.host, settings.port))
        environment = {
            **os.environ,
            "LOQUENT_LISTEN_FD": str(listener.fileno()),
            # Only this user may enter.
            "LOQUENT_WORKERS_DIR": stack.enter_context(tempfile.TemporaryDirectory(prefix="loquent-")),
        }
        if settings.valkey_url is None:
            environment["LOQUENT_VALKEY_URL"] = stack.enter_context(run_valkey())
        patience = settings.grace_seconds + settings.lease_seconds + 10
        return _Supervisor(listener.fileno(), environment, patience).run(count)


class _Supervisor:
    def __init__(self, listener: int, environment: dict[str, str], patience: float) -> None:
        self._listener = listener
        self._environment = environment
        #: Seconds that a process may take to end.
        self._patience = patience
        self._leaving = False

    def run(self, count: int) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._leave)
        workers = [self._start(index) for index in range(count)]
        while not self._leaving:
            for index, worker in enumerate(workers):
                if worker.poll() is not None and not self._leaving:
                    if worker.returncode == UNUSABLE_SETTINGS:
                        self._leaving = True
                        break
                    logger.error("server process %d ended with %d, starting another", worker.pid, worker.returncode)
                    time.sleep(RESTART_WAIT)
                    workers[index] = self._start(index)
            time.sleep(0.2)
        for worker in workers:
            worker.terminate()
        return max(self._await(worker) for worker in workers)

    def _await(self, worker: subprocess.Popen[bytes]) -> int:
        try:
            return worker.wait(self._patience)
        except subprocess.TimeoutExpired:
            worker.kill()
            return worker.wait()

    def _leave(self, number: int, frame: FrameType | None) -> None:
        self._leaving = True

    def _start(self, index: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "server", "serve"],
            env={**self._environment, "LOQUENT_WORKER_INDEX": str(index)},
            pass_fds=[self._listener],
            # Ctrl-C comes to the supervisor, which tells them.
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
