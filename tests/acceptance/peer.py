"""The client's end of a WebSocket, which says what no library would, and subscriptions that can be watched."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from unittest.mock import ANY

import pytest
import strawberry
from starlette.routing import WebSocketRoute
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from resolvers.errors import BadUserInput
from schema.limits import DocumentLimits
from schema.root import LoquentSchema
from server.transport import sockets
from tests.client import Client
from tests.conftest import PATIENCE, Clock, RunningServer

VIEWER = "{ viewer { id } }"


class Peer:
    """The client's end of a socket, which says whatever it is told to."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, *messages: Any) -> None:
        for message in messages:
            await self.connection.send(message if isinstance(message, str | bytes) else json.dumps(message))

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            message: dict[str, Any] = json.loads(await self.connection.recv())
        return message

    async def sign_in(self, client: Client) -> None:
        await self.send({"type": "connection_init", "payload": client.headers})
        assert await self.receive() == {"type": "connection_ack"}

    async def subscribe(self, id: str, query: str = VIEWER, **payload: Any) -> None:
        await self.send({"type": "subscribe", "id": id, "payload": {"query": query, **payload}})

    async def close_code(self) -> int | None:
        """The code that the server closes with; whatever it says before is passed over."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self.receive()
        return self.connection.close_code

    async def is_alive(self) -> bool:
        """Whether a ping is answered, and nothing else is said before."""
        await self.send({"type": "ping"})
        return await self.receive() == {"type": "pong"}

    async def is_served(self) -> bool:
        """Whether an operation is still answered."""
        await self.subscribe("served")
        while (message := await self.receive()).get("id") != "served":
            pass
        answered: bool = message["payload"] == {"data": {"viewer": {"id": ANY}}}
        return answered and (await self.receive())["type"] == "complete"


@asynccontextmanager
async def knock(url: str, *protocols: str, **more: Any) -> AsyncIterator[Peer]:
    """A socket on which nothing is said yet."""
    address = f"{url.replace('http', 'ws', 1)}/graphql"
    names: Any = protocols or ("graphql-transport-ws",)
    async with connect(address, subprotocols=names, **more) as connection:
        yield Peer(connection)


@asynccontextmanager
async def signed_in(client: Client, **more: Any) -> AsyncIterator[Peer]:
    """A socket on which the client has signed in."""
    async with knock(client.url, **more) as peer:
        await peer.sign_in(client)
        yield peer


def endpoint_of(server: RunningServer) -> Any:
    """The server's own endpoint for WebSockets, to change for a test."""
    return next(route.endpoint for route in server.app.routes if isinstance(route, WebSocketRoute))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time by which messages are too many: for a client that is slow to send them they would not be."""
    clock = Clock()
    monkeypatch.setattr(sockets, "time", clock)
    return clock


@pytest.fixture(autouse=True)
def no_traceback(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever a client does, it is no failure of the server's."""
    yield
    assert [record.getMessage() for record in caplog.records if record.exc_info or record.levelname == "ERROR"] == []


class Sources:
    """Subscriptions under which something is going on: how many of them began, and how many go on."""

    def __init__(self) -> None:
        self.begun = self.running = 0

    @contextmanager
    def run(self) -> Iterator[None]:
        self.begun += 1
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    def schema(self) -> LoquentSchema:
        sources = self

        @strawberry.type
        class Query:
            @strawberry.field
            def unwritable(self) -> str:
                return "\ud800"

            @strawberry.field
            def text(self, size: int = 1) -> str:
                sources.begun += 1
                return "x" * size

        @strawberry.type
        class Subscription:
            @strawberry.subscription
            async def replay(self, size: int = 1) -> AsyncGenerator[str]:
                """All of it is there: it never waits."""
                with sources.run():
                    for _ in range(1_000_000):
                        yield "x" * size

            @strawberry.subscription
            async def silence(self) -> AsyncGenerator[str]:
                with sources.run():
                    await asyncio.Event().wait()
                    yield "never"

            @strawberry.subscription
            async def stubborn(self) -> AsyncGenerator[str]:
                """It does not take its end for an answer."""
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()
                yield "after the end"

            @strawberry.subscription
            async def broken(self) -> AsyncGenerator[str]:
                yield "one"
                raise BadUserInput("two", "is too much")

        return LoquentSchema(query=Query, subscription=Subscription, limits=DocumentLimits(), introspection=False)


@pytest.fixture
async def sources(server: RunningServer) -> AsyncIterator[Sources]:
    """Makes the server's subscriptions for one test."""
    sources, endpoint = Sources(), endpoint_of(server)
    own = endpoint.schema
    endpoint.schema = sources.schema()
    yield sources
    endpoint.schema = own
