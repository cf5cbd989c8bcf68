"""Real parts for all tests: PostgreSQL, the server on a socket, a model that is scripted on the wire."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import uvicorn
from pydantic import SecretStr
from sqlalchemy import text
from starlette.applications import Starlette

from agent.stand_in.server import serve_model
from persistence.database import Database
from persistence.embedded import run_postgres
from server.app import create_app
from server.serving import Server, uvicorn_config
from server.settings import Settings
from tests.client import Client
from tests.model import SECRET, ScriptedModel

#: Nothing here must survive a power failure.
UNSAFE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}

#: Seconds after which what has not come never will: long, for only a failure takes them, and machines are slow.
PATIENCE = 60.0


@pytest.fixture(scope="session")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An empty PostgreSQL of this test run's own."""
    with run_postgres(tmp_path_factory.mktemp("data"), settings=UNSAFE) as url:
        yield url


@pytest.fixture(scope="session")
async def database(database_url: str) -> AsyncIterator[Database]:
    """The migrated database."""
    database = Database(database_url)
    await database.migrate()
    yield database
    await database.close()


@pytest.fixture(scope="session")
async def _model() -> AsyncIterator[ScriptedModel]:
    model = ScriptedModel()
    async with serve_model(model.respond) as server:
        model.server = server
        yield model


@pytest.fixture
def model(_model: ScriptedModel) -> Iterator[ScriptedModel]:
    """The model that the servers of a test talk to; says «Hello.» unless scripted."""
    _model.reset()
    yield _model
    _model.reset()


@dataclass
class RunningServer:
    """A server on a port of this machine."""

    app: Starlette
    url: str
    uvicorn: uvicorn.Server


StartServer = Callable[..., AbstractAsyncContextManager[RunningServer]]


@pytest.fixture(scope="session")
def start_server(database: Database, database_url: str, _model: ScriptedModel) -> StartServer:
    """Starts a server of a test's own: `async with start_server(titles=True, max_steps=2) as server`."""

    @asynccontextmanager
    async def start(**overrides: Any) -> AsyncIterator[RunningServer]:
        assert _model.server is not None
        settings = Settings(
            **{
                "database_url": database_url,
                "jwt_secret": SecretStr(SECRET),
                "anthropic_api_key": SecretStr("key"),
                "anthropic_base_url": _model.server.base_url,
                "model": "scripted",
                "title_model": "scripted-titles",
                "titles": False,
                "rate_limit": 1_000_000,
                "grace_seconds": 1,
                # Longer than any pause of a busy machine: a lease that runs out means another attempt.
                "lease_seconds": 15,
                **overrides,
            }
        )
        app = create_app(settings)
        config = uvicorn_config(app, settings)
        config.port = 0
        server = Server(config)
        # The test runner's own signals are none of the server's.
        serving = asyncio.create_task(server._serve())
        while not server.started:
            assert not serving.done(), "the server did not start"
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield RunningServer(app, f"http://127.0.0.1:{port}", server)
        finally:
            server.should_exit = True
            await serving

    return start


@pytest.fixture(scope="session")
async def _server(start_server: StartServer) -> AsyncIterator[RunningServer]:
    async with start_server() as server:
        yield server


@pytest.fixture
async def server(_server: RunningServer, model: ScriptedModel, database: Database) -> AsyncIterator[RunningServer]:
    """The server that most tests share; the rows of a test are gone after it."""
    yield _server
    await end_replies(_server, database)
    await empty(database)


async def end_replies(server: RunningServer, database: Database) -> None:
    """Delete what is still being written: of rows that are gone the writer learns only when it renews its lease."""
    query = """
        select id, owner_id from conversation
        where id in (select conversation_id from message join run on run.message_id = message.id)
    """
    async with database.connection() as connection:
        left = (await connection.execute(text(query))).all()
    for id, owner in left:
        client = Client(server.url, owner)
        await client.execute("mutation ($id: ID!) { deleteConversation(input: {id: $id}) { deletedId } }", id=str(id))
        await client.close()


async def empty(database: Database) -> None:
    """Delete all rows: much faster than TRUNCATE."""
    async with database.connection() as connection:
        for table in ("conversation", "task", "spending"):
            await connection.execute(text(f"delete from {table}"))


@pytest.fixture
async def connect_client(server: RunningServer) -> AsyncIterator[Callable[..., Client]]:
    """Makes clients: `connect_client("bob")`, or of another server by `url`."""
    clients: list[Client] = []

    def connect(owner: str = "ann", *, url: str = server.url, lifetime: float = 3600) -> Client:
        clients.append(Client(url, owner, lifetime=lifetime))
        return clients[-1]

    yield connect
    for client in clients:
        await client.close()


ConnectClient = Callable[..., Client]


@pytest.fixture
def ann(connect_client: ConnectClient) -> Client:
    return connect_client("ann")


@pytest.fixture
def bob(connect_client: ConnectClient) -> Client:
    return connect_client("bob")


class Clock:
    """A time that goes on when it is told to, in place of a module's `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


async def until(condition: Callable[[], bool | Awaitable[bool]], *, seconds: float = PATIENCE) -> None:
    """Wait until something is so; fails where it is not within some seconds."""
    async with asyncio.timeout(seconds):
        while True:
            met = condition()
            if met if isinstance(met, bool) else await met:
                return
            await asyncio.sleep(0.01)
