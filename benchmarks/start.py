"""How long a start takes: `python -m benchmarks.start`.

Prints the processor time of importing the application; the seconds from the start of `serve`, on a migrated database,
to its first answer, and until it is ready, which it is once it can write replies; and the processor time up to there.
Medians.
"""

import argparse
import os
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection, HTTPException
from statistics import median

from benchmarks.contracts import LOQUENT
from benchmarks.processes import DidNotStart
from benchmarks.scenarios import Kind
from benchmarks.stores import run_stores
from benchmarks.subjects import BUILD, HERE, SECRET, SUBJECTS
from server.auth import issue_token

_LOQUENT = SUBJECTS[0]
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_START_SECONDS, _PAUSE = 60.0, 0.005


def _measure_import() -> float:
    """Seconds of processor time, user and system, of a process that imports the application as `serve` does."""
    process = subprocess.Popen([sys.executable, "-c", "import gc; gc.disable(); import server.app"], cwd=HERE.parent)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise DidNotStart("the application cannot be imported")
    return usage.ru_utime + usage.ru_stime


def _measure_start(database_url: str) -> tuple[float, float, float, float]:
    """Seconds to the first answer and the processor time up to there, then both until it is ready."""
    port = _free_port()
    addresses = {"LOQUENT_DATABASE_URL": database_url, "LOQUENT_PORT": str(port)}
    environment = _LOQUENT.full_environment(Kind.PAGE, addresses)
    begin = time.monotonic()
    with (BUILD / "start.log").open("wb") as log:
        server = subprocess.Popen(_LOQUENT.command, cwd=HERE.parent, env=environment, stderr=log)  # noqa: S603 - ours
    try:
        figures: list[float] = []
        for answers in (_answers, _is_ready):
            while not answers(port):
                if server.poll() is not None or time.monotonic() - begin > _START_SECONDS:
                    raise DidNotStart((BUILD / "start.log").read_text(errors="replace"))
                time.sleep(_PAUSE)
            figures += [time.monotonic() - begin, _cpu_seconds(server.pid)]
        return figures[0], figures[1], figures[2], figures[3]
    finally:
        server.terminate()
        server.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    assert LOQUENT.page is not None
    headers = {"Authorization": f"Bearer {issue_token(SECRET, 'user0', 3600)}", "Content-Type": "application/json"}
    return _ask(port, "POST", LOQUENT.path, LOQUENT.page.body, headers)


def _is_ready(port: int) -> bool:
    return _ask(port, "GET", "/readyz", None, {})


def _ask(port: int, method: str, path: str, body: str | None, headers: dict[str, str]) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=_START_SECONDS)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status == 200 and b'"errors"' not in response.read()
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123 - no file of a disk
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.start", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = range(parser.parse_args().runs)
    BUILD.mkdir(exist_ok=True)
    _measure_import()  # writes what Python keeps of the sources
    print(f"import server.app   {median(_measure_import() for _ in runs):.2f} s of processor time")
    with run_stores(postgres=True, valkey=False) as [store]:
        figures = zip(*(_measure_start(store.address) for _ in runs), strict=True)
    answer, answer_cpu, ready, ready_cpu = (median(column) for column in figures)
    print(f"serve, first answer {answer:.2f} s, {answer_cpu:.2f} s of processor time")
    print(f"serve, ready        {ready:.2f} s, {ready_cpu:.2f} s of processor time")


if __name__ == "__main__":
    main()
