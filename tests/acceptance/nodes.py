"""Real nodes for tests: server processes; a PostgreSQL and a Valkey to take away; a client that comes back."""

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, quote, urlsplit

import httpx2
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from persistence.database import Database
from persistence.embedded import run_postgres
from runs.embedded_valkey import end_with_parent, start_valkey
from tests.client import STREAM, Client, GraphQLFailed, Reading, Sent, Socket
from tests.model import SECRET

Result = TypeVar("Result")

REPOSITORY = Path(__file__).parents[2]
#: A crash of PostgreSQL must keep what was committed, a power failure need not.
SETTINGS = {"fsync": "off", "full_page_writes": "off", "max_connections": "200"}
LEASE = 3.0
#: Seconds that a client waits for an answer, and for the next event of a reply, before it tries another node.
PATIENCE, QUIET = 8.0, 5.0
#: How a node that is gone, or going, looks from outside.
GONE = (OSError, TimeoutError, EOFError, httpx2.HTTPError, WebSocketException)


def free_port() -> int:
    """A port that nobody listens on, outside of those that the system gives to outgoing connections."""
    while True:
        port = random.randint(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def children_of(pid: int) -> list[int]:
    """The processes that a process has started and that still run."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


class Node:
    """A server process. Each start is a writer of its own, whose name the model is told as its own."""

    def __init__(self, name: str, directory: Path, environment: dict[str, str], arguments: Sequence[str] = ()) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._environment = {**environment, "LOQUENT_PORT": str(port)}
        self._arguments = arguments
        self._generation = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def writer(self) -> str:
        """The name that this start of the node asks the model by."""
        return f"{self.name}-{self._generation}"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the node was never started"
        return self._process

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        self._generation += 1
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("LOQUENT", "ANTHROPIC"))}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "server", "serve", *self._arguments],
                cwd=REPOSITORY,
                env={**clean, **self._environment, "LOQUENT_MODEL": self.writer},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )

    async def readiness(self) -> int:
        """The status of /readyz; 0 where nobody answers."""
        try:
            async with httpx2.AsyncClient(timeout=PATIENCE) as http:
                return int((await http.get(f"{self.url}/readyz")).status_code)
        except GONE:
            return 0

    async def wait_until_ready(self, seconds: float = 60) -> None:
        async with asyncio.timeout(seconds):
            while await self.readiness() != 200:
                assert self.runs, f"the node ended:\n{self.tail()}"
                await asyncio.sleep(0.05)

    def tail(self) -> str:
        """The end of what it has logged."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])

    def signal(self, number: signal.Signals) -> None:
        if self.runs:
            self.process.send_signal(number)

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    async def terminate(self, seconds: float = 30) -> int:
        """Ask it to end, and wait; gives its exit status."""
        self.signal(signal.SIGTERM)
        async with asyncio.timeout(seconds):
            while self.runs:
                await asyncio.sleep(0.02)
        return self.process.returncode


class Valkey:
    """A Valkey that can be taken away; always at the same address."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.url = f"unix://{directory}/valkey.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self._process is None:
            self._process = start_valkey(self._directory)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    async def empty(self) -> None:
        """Forget everything, as after a restart, with all connections standing."""
        async with Redis.from_url(self.url) as valkey:
            await valkey.flushall()


class Postgres:
    """A PostgreSQL that can be taken away; always at the same address."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        # Each start has a socket directory of its own: the address goes through a link to it.
        self._link = directory / "sockets"
        self.url = f"postgresql+asyncpg://postgres@/loquent?host={quote(str(self._link), safe='')}&port=5432"
        self._running: ExitStack | None = None
        self._engine = create_async_engine(self.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")

    def start(self) -> None:
        if self._running is not None:
            return
        self._running = ExitStack()
        url = self._running.enter_context(run_postgres(self._directory, settings=SETTINGS))
        self._link.unlink(missing_ok=True)
        self._link.symlink_to(parse_qs(urlsplit(url).query)["host"][0])

    async def stop(self) -> None:
        if self._running is not None:
            await asyncio.to_thread(self._running.close)
            self._running = None

    async def migrate(self) -> None:
        database = Database(self.url)
        await database.migrate()
        await database.close()

    async def fetch(self, query: str, **parameters: Any) -> list[Any]:
        """The rows of a query, over a connection of its own."""
        async with self._engine.connect() as connection:
            return list(await connection.execute(text(query), parameters))

    async def drop_connections(self) -> None:
        """End every connection of the nodes."""
        await self.fetch("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'loquent'")

    @property
    def _pid(self) -> int:
        return int((self._directory / "postgres" / "postmaster.pid").read_text().split()[0])

    def freeze(self) -> None:
        """Answer nobody, with all connections standing."""
        for pid in (self._pid, *children_of(self._pid)):
            _send(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        with suppress(FileNotFoundError):
            for pid in (*children_of(self._pid), self._pid):
                _send(pid, signal.SIGCONT)

    def crash(self) -> None:
        """Lose one process, by which PostgreSQL ends all others and recovers."""
        for pid in children_of(self._pid):
            # Others may have ended since.
            with suppress(OSError):
                if b"checkpointer" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    _send(pid, signal.SIGKILL)

    async def wait_until_ready(self, seconds: float = 30) -> None:
        async with asyncio.timeout(seconds):
            while True:
                with suppress(Exception):
                    await self.fetch("select 1")
                    return
                await asyncio.sleep(0.05)


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


@dataclass
class Cluster:
    """Nodes with what they share."""

    directory: Path
    postgres: Postgres
    valkey: Valkey
    model_url: str
    nodes: list[Node] = field(default_factory=list)

    def add_node(self, name: str, *arguments: str, **environment: str | None) -> Node:
        """One more node, not yet started; a variable that is None is left out."""
        variables = {
            "LOQUENT_DATABASE_URL": self.postgres.url,
            "LOQUENT_VALKEY_URL": self.valkey.url,
            "LOQUENT_JWT_SECRET": SECRET,
            "ANTHROPIC_API_KEY": "key",
            "ANTHROPIC_BASE_URL": self.model_url,
            "LOQUENT_TITLES": "0",
            "LOQUENT_RATE_LIMIT": "100000",
            "LOQUENT_LEASE_SECONDS": f"{LEASE:g}",
            "LOQUENT_GRACE_SECONDS": "2",
            **environment,
        }
        given = {name: value for name, value in variables.items() if value is not None}
        return Node(name, self.directory, given, arguments)

    async def heal(self) -> None:
        """Everything runs again."""
        self.valkey.thaw()
        self.valkey.start()
        self.postgres.thaw()
        self.postgres.start()
        await self.postgres.wait_until_ready()
        for node in self.nodes:
            node.thaw()
            if not node.runs:
                node.start()
        await asyncio.gather(*(node.wait_until_ready() for node in self.nodes))

    def writer(self, name: str) -> Node:
        """The node that asked the model by this name."""
        return next(node for node in self.nodes if node.writer == name)

    def others(self, node: Node) -> list[Node]:
        return [other for other in self.nodes if other is not node]


@asynccontextmanager
async def run_cluster(
    directory: Path, model_url: str, *, count: int, **environment: str | None
) -> AsyncIterator[Cluster]:
    """So many nodes, ready, and at the end none of their processes."""
    cluster = Cluster(directory, Postgres(directory), Valkey(directory), model_url)
    try:
        cluster.postgres.start()
        await cluster.postgres.migrate()
        cluster.nodes += [cluster.add_node(f"node{index}", **environment) for index in range(count)]
        await cluster.heal()
        yield cluster
    finally:
        for node in cluster.nodes:
            node.kill()
        cluster.valkey.kill()
        cluster.postgres.thaw()
        await cluster.postgres.stop()


class RoamingClient:
    """A user whose requests and streams go to any node, again and again until they succeed."""

    def __init__(self, nodes: Sequence[Node], owner: str, seed: int = 0) -> None:
        self.owner = owner
        #: How often a stream was taken up again, when StreamRestarted came, and what nodes refused.
        self.resumes = 0
        self.restarted: list[float] = []
        self.refusals: list[GraphQLFailed] = []
        self._clients = [Client(node.url, owner) for node in nodes]
        self._choose = random.Random(seed)

    async def execute(self, query: str, /, *, seconds: float = 60, **variables: Any) -> dict[str, Any]:
        """The `data` of an operation that may be done twice."""
        return await self._persist(lambda client: client.execute(query, **variables), seconds)

    async def send(self, text: str, key: str, *, seconds: float = 60, **more: Any) -> Sent:
        """Send a message once, however often it must be tried."""
        return await self._persist(lambda client: client.send(text, idempotencyKey=key, **more), seconds)

    async def message(self, id: str, *, seconds: float = 60) -> dict[str, Any]:
        return await self._persist(lambda client: client.message(id), seconds)

    async def _persist(self, request: Callable[[Client], Awaitable[Result]], seconds: float) -> Result:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    async with asyncio.timeout(PATIENCE):
                        return await request(self._choose.choice(self._clients))
                except (*GONE, GraphQLFailed) as error:
                    self._forgive(error)
                await asyncio.sleep(0.1)

    async def follow(
        self, message_id: str, *, stay: Callable[[], float] = lambda: 10**9, seconds: float = 90
    ) -> Reading:
        """Read a reply to its end through any number of failures, leaving by oneself after `stay()` events."""
        reading = Reading()
        async with asyncio.timeout(seconds):
            while reading.finished is None:
                try:
                    await self._read_some(message_id, reading, stay())
                except (*GONE, GraphQLFailed) as error:
                    self._forgive(error)
                if reading.finished is None:
                    self.resumes += 1
                    await asyncio.sleep(self._choose.random() * 0.1)
        return reading

    async def _read_some(self, message_id: str, reading: Reading, events: float) -> None:
        client = self._choose.choice(self._clients)
        stream = _stream(client, message_id, reading.cursor)
        try:
            while events > 0:
                async with asyncio.timeout(QUIET):
                    event = await anext(stream, None)
                if event is None:
                    return
                reading.take(event)
                events -= 1
                if event["__typename"] == "StreamRestarted":
                    self.restarted.append(time.monotonic())
        finally:
            await stream.aclose()

    def _forgive(self, error: Exception) -> None:
        """Nodes may be gone, and may have lost their database; any other refusal is raised again."""
        if isinstance(error, GraphQLFailed):
            self.refusals.append(error)
            if set(error.codes) != {"INTERNAL_SERVER_ERROR"}:
                raise error

    async def close(self) -> None:
        for client in self._clients:
            await client.close()


async def _stream(client: Client, message_id: str, after: str | None) -> AsyncGenerator[dict[str, Any]]:
    """As `Client.stream`, without waiting for a node that does not answer any more."""
    address = client.url.replace("http", "ws", 1) + "/graphql"
    async with connect(
        address,
        subprotocols=["graphql-transport-ws"],  # type: ignore[list-item]
        max_size=None,
        open_timeout=QUIET,
        close_timeout=0.2,
    ) as connection:
        await connection.send(json.dumps({"type": "connection_init", "payload": client.headers}))
        await connection.recv()
        socket = Socket(connection)
        try:
            results = socket.subscribe(STREAM, {"messageId": message_id, "after": after})
            try:
                async for data in results:
                    yield data["messageStream"]
            finally:
                await results.aclose()
        finally:
            socket._reader.cancel()
