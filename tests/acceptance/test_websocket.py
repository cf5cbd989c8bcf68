"""graphql-transport-ws to the letter, and how much of it one user may have.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

import asyncio
import contextlib
import gc
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

import pytest
import strawberry
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from strawberry.http.exceptions import WebSocketDisconnected
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from resolvers.errors import BadUserInput
from schema.limits import DocumentLimits
from schema.root import LoquentSchema
from server.transport import graphql_ws, sockets
from server.transport.graphql_ws import TransportWSHandler
from server.transport.sockets import SocketLimits, WebSocketAdapter, fit_reason
from tests.client import Client
from tests.conftest import PATIENCE, Clock, ConnectClient, RunningServer, StartServer, until

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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time by which messages are too many: for a client that is slow to send them they would not be."""
    clock = Clock()
    monkeypatch.setattr(sockets, "time", clock)
    return clock


@asynccontextmanager
async def knock(url: str, *protocols: str, **more: Any) -> AsyncIterator[Peer]:
    """A socket on which nothing is said yet."""
    address = f"{url.replace('http', 'ws', 1)}/graphql"
    names: Any = protocols or ("graphql-transport-ws",)
    async with connect(address, subprotocols=names, **more) as connection:
        yield Peer(connection)


@asynccontextmanager
async def signed_in(client: Client, **more: Any) -> AsyncIterator[Peer]:
    async with knock(client.url, **more) as peer:
        await peer.sign_in(client)
        yield peer


def endpoint_of(server: RunningServer) -> Any:
    return next(route.endpoint for route in server.app.routes if isinstance(route, WebSocketRoute))


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


@pytest.fixture
async def slow_verification(server: RunningServer) -> AsyncIterator[asyncio.Event]:
    """Tokens are verified only once this is set."""
    endpoint, ready = endpoint_of(server), asyncio.Event()
    verify = endpoint.on_ws_connect

    async def on_ws_connect(context: Any) -> Any:
        await ready.wait()
        return await verify(context)

    endpoint.on_ws_connect = on_ws_connect
    yield ready
    del endpoint.on_ws_connect


@pytest.mark.parametrize("protocols", [("graphql-ws",), ("graphql-sse", "mqtt"), ("GRAPHQL-TRANSPORT-WS",)])
async def test_a_socket_with_another_protocol_is_closed(server: RunningServer, protocols: tuple[str, ...]) -> None:
    async with knock(server.url, *protocols) as peer:
        assert await peer.close_code() == 4406


async def test_a_socket_without_a_protocol_is_closed(server: RunningServer) -> None:
    async with connect(f"{server.url.replace('http', 'ws', 1)}/graphql") as connection:
        assert await Peer(connection).close_code() == 4406


async def test_of_several_protocols_the_right_one_is_chosen(server: RunningServer, ann: Client) -> None:
    async with knock(server.url, "graphql-ws", "graphql-transport-ws") as peer:
        assert peer.connection.subprotocol == "graphql-transport-ws"
        await peer.sign_in(ann)


async def test_who_does_not_sign_in_within_time_is_closed(start_server: StartServer) -> None:
    async with start_server() as server:
        wait = endpoint_of(server).connection_init_wait_timeout
        endpoint_of(server).connection_init_wait_timeout = 0.03 * wait
        began = time.monotonic()
        async with knock(server.url) as peer:
            # Talking is not signing in.
            await peer.send({"type": "ping"})
            assert await peer.close_code() == 4408
            assert 0.2 < time.monotonic() - began < 0.8 * wait.total_seconds()
            assert peer.connection.close_reason == "Connection initialisation timeout"


async def test_a_token_that_cannot_be_verified_in_time_is_to_be_tried_again(
    server: RunningServer, ann: Client, slow_verification: asyncio.Event, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint = endpoint_of(server)
    wait, endpoint.connection_init_wait_timeout = (
        endpoint.connection_init_wait_timeout,
        0.02 * (endpoint.connection_init_wait_timeout),
    )

    async def sign_in() -> int | None:
        async with knock(server.url) as peer:
            await peer.send({"type": "connection_init", "payload": ann.headers})
            return await peer.close_code()

    try:
        # On a busy machine the sign-in itself may come too late.
        codes = [await sign_in()]
        while codes[-1] == 4408 and len(codes) < 5:
            codes.append(await sign_in())
        assert codes[-1] == 1013
    finally:
        endpoint.connection_init_wait_timeout = wait
    assert "could not be verified" in caplog.text
    caplog.clear()


async def test_an_operation_while_the_token_is_verified_closes_the_socket(
    server: RunningServer, ann: Client, slow_verification: asyncio.Event
) -> None:
    async with knock(server.url) as peer:
        await peer.send({"type": "connection_init", "payload": ann.headers})
        await peer.subscribe("1")
        assert await peer.close_code() == 4401


async def test_a_second_sign_in_while_the_first_is_verified_closes_the_socket(
    server: RunningServer, ann: Client, slow_verification: asyncio.Event
) -> None:
    async with knock(server.url) as peer:
        init = {"type": "connection_init", "payload": ann.headers}
        await peer.send(init, init)
        assert await peer.close_code() == 4429
        assert peer.connection.close_reason == "Too many initialisation requests"


async def test_a_ping_is_answered_while_the_token_is_verified(
    server: RunningServer, ann: Client, slow_verification: asyncio.Event
) -> None:
    async with knock(server.url) as peer:
        await peer.send({"type": "connection_init", "payload": ann.headers}, {"type": "ping"})
        assert await peer.receive() == {"type": "pong"}
        slow_verification.set()
        assert await peer.receive() == {"type": "connection_ack"}
        assert await peer.is_served()


async def test_nothing_is_handled_once_the_close_has_begun(ann: Client, sources: Sources) -> None:
    async with signed_in(ann) as peer:
        # In one piece, so that they are all there when the first is read.
        await peer.send({"type": "nonsense"}, {"type": "ping"})
        await peer.subscribe("1", "subscription { silence }")
        with pytest.raises(ConnectionClosed):
            await peer.receive()
        assert peer.connection.close_code == 4400
        assert sources.running == 0


@pytest.mark.parametrize("payload", [{}, {"payload": None}, {"payload": {"at": [1, "é\u2028"]}}])
async def test_a_ping_is_answered_with_its_payload(server: RunningServer, payload: dict[str, Any]) -> None:
    async with knock(server.url) as peer:
        await peer.send({"type": "ping", **payload})
        answer = await peer.receive()
    assert answer == {"type": "pong", **({} if payload.get("payload") is None else payload)}


@pytest.mark.parametrize("payload", ['{"a": "\\ud800"}', '{"a": 1e999, "b": 99999999999999999999}'])
async def test_a_ping_whose_payload_cannot_be_repeated_is_answered(server: RunningServer, payload: str) -> None:
    async with knock(server.url) as peer:
        await peer.send(f'{{"type": "ping", "payload": {payload}}}')
        assert (await peer.receive())["type"] == "pong"


async def test_a_pong_that_nobody_asked_for_is_no_mistake(ann: Client) -> None:
    async with signed_in(ann) as peer:
        await peer.send({"type": "pong"}, {"type": "pong", "payload": {"a": 1}})
        assert await peer.is_served()


async def test_two_operations_of_one_id_close_the_socket(ann: Client, sources: Sources) -> None:
    async with signed_in(ann) as peer:
        for _ in range(2):
            await peer.subscribe("one", "subscription { silence }")
        assert await peer.close_code() == 4409
        assert peer.connection.close_reason == "Subscriber for one already exists"
    await until(lambda: sources.running == 0)


async def test_an_id_that_does_not_fit_into_a_close_frame_is_cut(ann: Client, sources: Sources) -> None:
    async with signed_in(ann) as peer:
        for _ in range(2):
            await peer.subscribe("\n" + "🦔" * 120, "subscription { silence }")
        assert await peer.close_code() == 4409
        reason = peer.connection.close_reason or ""
    assert reason.startswith("Subscriber for \ufffd🦔")
    assert len(reason.encode()) <= 123


def test_a_reason_is_cut_between_characters() -> None:
    assert fit_reason("é" * 100) == "é" * 61
    assert fit_reason("\ud800\x00a") == "\ufffd\ufffda"


#: Payloads whose document cannot be run, by what is wrong with them.
BAD_DOCUMENTS: dict[str, dict[str, Any]] = {
    "a syntax error": {"query": "{ viewer {"},
    "an empty text": {"query": ""},
    "only a comment": {"query": "# nothing"},
    "an unknown field": {"query": "{ nothing }"},
    "an unknown operation": {"query": VIEWER, "operationName": "Other"},
    "several operations and no name": {"query": "query A { viewer { id } } query B { viewer { id } }"},
    "only a fragment": {"query": "fragment F on Viewer { id }"},
    "a type": {"query": "type T { id: ID }"},
    "a missing variable": {"query": "query ($id: ID!) { message(id: $id) { id } }"},
    "an infinite variable": {
        "query": "query ($n: Int) { conversations(first: $n) { __typename } }",
        "variables": {"n": float("inf")},
    },
    "half a surrogate pair": {"query": '{ message(id: "\ud800") { id } }'},
    "half a surrogate pair outside of a text": {"query": "{ \ud800 }"},
    "no text but an id": {"documentId": "sha256:nothing"},
    "no text but a hash": {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "0" * 64}}},
}


@pytest.mark.parametrize("reason", BAD_DOCUMENTS)
async def test_a_document_that_cannot_be_run_ends_its_operation_alone(ann: Client, reason: str) -> None:
    message = json.dumps({"type": "subscribe", "id": "bad", "payload": BAD_DOCUMENTS[reason]})
    async with signed_in(ann) as peer:
        # A number beyond all numbers is JSON; the word for it is not.
        await peer.send(message.replace("Infinity", "1e999"))
        answer = await peer.receive()
        assert (answer["type"], answer["id"]) == ("error", "bad")
        assert answer["payload"]
        for error in answer["payload"]:
            assert error["message"]
            assert error["extensions"]["code"] in ("BAD_USER_INPUT", "PERSISTED_QUERY_NOT_SUPPORTED")
        # No `complete` follows an `error`, and the id is free.
        await peer.subscribe("bad")
        assert [(await peer.receive())["type"] for _ in range(2)] == ["next", "complete"]


async def test_an_empty_operation_name_is_none(ann: Client) -> None:
    async with signed_in(ann) as peer:
        await peer.subscribe("1", operationName="", variables=None, extensions=None)
        assert (await peer.receive())["payload"] == {"data": {"viewer": {"id": "ann"}}}


async def test_a_document_may_be_asked_for_by_its_id(server: RunningServer, ann: Client) -> None:
    asked: list[dict[str, Any]] = []

    def find_document(payload: dict[str, Any]) -> str:
        asked.append(payload)
        return VIEWER

    endpoint = endpoint_of(server)
    endpoint.find_document = find_document
    persisted = {"persistedQuery": {"version": 1, "sha256Hash": "abc"}}
    try:
        async with signed_in(ann) as peer:
            for payload in ({"documentId": "abc"}, {"extensions": persisted}, {"query": None, "documentId": "abc"}):
                await peer.send({"type": "subscribe", "id": "1", "payload": payload})
                assert (await peer.receive())["payload"] == {"data": {"viewer": {"id": "ann"}}}
                assert (await peer.receive())["type"] == "complete"
    finally:
        del endpoint.find_document
    assert [(payload.get("documentId"), payload.get("extensions")) for payload in asked] == [
        ("abc", None),
        (None, persisted),
        ("abc", None),
    ]


async def test_what_fails_in_the_middle_has_a_code(ann: Client, sources: Sources) -> None:
    async with signed_in(ann) as peer:
        await peer.subscribe("1", "subscription { broken }")
        assert (await peer.receive())["payload"] == {"data": {"broken": "one"}}
        answer = await peer.receive()
        assert answer["type"] == "error"
        assert await peer.is_alive()
    [error] = answer["payload"]
    assert (error["message"], error["extensions"]) == ("two: is too much", {"code": "BAD_USER_INPUT"})


async def test_a_result_that_cannot_be_written_is_an_error_of_its_operation(
    ann: Client, sources: Sources, caplog: pytest.LogCaptureFixture
) -> None:
    async with signed_in(ann) as peer:
        await peer.subscribe("1", "{ unwritable }")
        answer = await peer.receive()
        assert (answer["type"], answer["id"]) == ("error", "1")
        assert [error["extensions"]["code"] for error in answer["payload"]] == ["INTERNAL_SERVER_ERROR"]
        assert await peer.is_alive()
    assert answer["payload"][0]["extensions"]["id"] in caplog.text
    caplog.clear()


async def test_complete_ends_an_operation_that_waits(ann: Client, sources: Sources) -> None:
    async with signed_in(ann) as peer:
        await peer.subscribe("1", "subscription { silence }")
        await until(lambda: sources.running == 1)
        await peer.send({"type": "complete", "id": "1"})
        await until(lambda: sources.running == 0)
        # Nothing is said to it, and its id is free.
        assert await peer.is_alive()
        await peer.subscribe("1", "subscription { broken }")
        assert (await peer.receive())["id"] == "1"


async def test_complete_ends_a_replay_in_the_middle(ann: Client, sources: Sources) -> None:
    async with signed_in(ann) as peer:
        await peer.subscribe("1", "subscription { replay }")
        for _ in range(100):
            assert (await peer.receive())["type"] == "next"
        await peer.send({"type": "complete", "id": "1"}, {"type": "ping"})
        seen = 0
        while (await peer.receive())["type"] == "next":
            seen += 1
        # What was already under way, and the rest of a million not.
        assert seen < 100_000
        await until(lambda: sources.running == 0)


async def test_two_replays_do_not_wait_for_each_other(ann: Client, bob: Client, sources: Sources) -> None:
    async with signed_in(ann) as first, signed_in(bob) as second:
        await first.subscribe("1", "subscription { replay }")
        await first.receive()
        await second.send({"type": "ping"})
        assert (await second.receive())["type"] == "pong"
        await first.send({"type": "complete", "id": "1"})


async def test_a_client_that_leaves_ends_its_operations(ann: Client, sources: Sources) -> None:
    async with signed_in(ann) as peer:
        for id in "abc":
            await peer.subscribe(id, "subscription { silence }")
        await peer.subscribe("d", "subscription { replay }")
        await until(lambda: sources.running == 4)
        peer.connection.transport.abort()
    await until(lambda: sources.running == 0)


async def test_who_leaves_at_any_moment_is_no_failure(ann: Client, sources: Sources) -> None:
    for moment in range(30):
        async with knock(ann.url) as peer:
            await peer.send({"type": "connection_init", "payload": ann.headers})
            if moment >= 10:
                await peer.receive()
                await peer.subscribe("1", "subscription { replay(size: 1000) }")
                await peer.subscribe("2", "subscription { silence }")
            if moment >= 20:
                await peer.send("nonsense")
            await asyncio.sleep(0.001 * (moment % 10))
            peer.connection.transport.abort()
    await until(lambda: sources.running == 0)


async def test_nothing_is_sent_after_complete_whatever_the_operation_does(ann: Client, sources: Sources) -> None:
    async with signed_in(ann) as peer:
        await peer.subscribe("1", "subscription { stubborn }")
        assert await peer.is_alive()
        await peer.send({"type": "complete", "id": "1"})
        # The new one of the same id is not ended by the old one either.
        await peer.subscribe("1", "subscription { silence }")
        await until(lambda: sources.running == 1)
        assert await peer.is_alive()
        assert sources.running == 1


async def test_completing_what_is_unknown_or_over_is_no_mistake(ann: Client) -> None:
    async with signed_in(ann) as peer:
        await peer.send({"type": "complete", "id": "never"})
        assert await peer.is_served()
        await peer.send({"type": "complete", "id": "served"})
        assert await peer.is_served()


async def test_a_client_that_reads_nothing_loses_its_operations_with_its_token(
    server: RunningServer, connect_client: ConnectClient, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphql_ws, "CLOSE_TIMEOUT", 0.6)
    # Long enough for a busy machine to sign in.
    guest, open_sockets = connect_client("guest", lifetime=5), endpoint_of(server).sockets
    expires_at = int(time.time()) + 5
    async with signed_in(guest) as peer:
        peer.connection.transport.pause_reading()
        await peer.subscribe("1", "subscription { replay(size: 100000) }")
        await until(lambda: sources.running == 1)
        assert open_sockets.count("guest") == 1
        await asyncio.sleep(expires_at + 0.2 - time.time())
        # The close cannot be said to it, but it has begun.
        await peer.subscribe("2", "subscription { silence }")
        await until(lambda: sources.running == 0)
        assert sources.begun == 1
        await until(lambda: open_sockets.count("guest") == 0)
        peer.connection.transport.abort()


async def test_who_answers_no_pings_is_given_up_and_that_is_no_failure(
    start_server: StartServer, connect_client: ConnectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphql_ws, "CLOSE_TIMEOUT", 0.3)
    sources = Sources()
    async with start_server() as server:
        config, endpoint = server.uvicorn.config, endpoint_of(server)
        # It asks without being told to.
        assert config.ws_ping_interval == config.ws_ping_timeout == 20
        config.ws_ping_interval = config.ws_ping_timeout = 0.5
        endpoint.schema = sources.schema()
        async with signed_in(connect_client("ann", url=server.url)) as peer:
            await peer.subscribe("1", "subscription { replay(size: 100000) }")
            await until(lambda: sources.running == 1)
            peer.connection.transport.pause_reading()
            await asyncio.sleep(1.2)
            # It comes back, and reads what was still on its way.
            peer.connection.transport.resume_reading()
            assert await peer.close_code() == 1011
        await until(lambda: sources.running == 0)
        await until(lambda: endpoint.sockets.total == 0)


async def test_a_client_that_the_server_has_given_up_is_one_that_has_left() -> None:
    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        if message["type"] != "websocket.accept":
            # So says uvicorn, from when pings are not answered until the system gives the connection up.
            raise RuntimeError("Unexpected ASGI message 'websocket.send', after sending 'websocket.close'.")

    socket = WebSocket({"type": "websocket"}, receive, send)
    await socket.accept()
    adapter = WebSocketAdapter(SimpleNamespace(socket_limits=SocketLimits(), encode_json=json.dumps), socket, socket)
    closes: list[bool] = []
    adapter.on_close = lambda: closes.append(adapter.closed)
    for _ in range(2):
        with pytest.raises(WebSocketDisconnected):
            await adapter.send_json({"type": "pong"})
        await adapter.close(4403, "Forbidden")
    assert closes == [True]


async def test_a_socket_leaves_nothing_behind(server: RunningServer, ann: Client) -> None:
    for _ in range(3):
        async with signed_in(ann) as peer:
            assert await peer.is_served()

    def is_forgotten() -> bool:
        gc.collect()
        return not any(isinstance(thing, TransportWSHandler) for thing in gc.get_objects())

    await until(is_forgotten)
    assert endpoint_of(server).sockets.count("ann") == 0


async def test_a_user_has_so_many_sockets_and_no_more(start_server: StartServer, connect_client: ConnectClient) -> None:
    async with start_server(sockets_per_user=2) as server:
        ann, bob = connect_client("ann", url=server.url), connect_client("bob", url=server.url)
        async with signed_in(ann) as first, signed_in(ann):
            async with knock(server.url) as third:
                await third.send({"type": "connection_init", "payload": ann.headers})
                # A code after which clients try again, later each time.
                assert await third.close_code() == 1013
                assert third.connection.close_reason == "Too many sockets"
            async with signed_in(bob) as other:
                assert await other.is_served()
            await first.connection.close()
            await until(lambda: endpoint_of(server).sockets.count("ann") == 1)
            async with signed_in(ann) as again:
                assert await again.is_served()
        await until(lambda: endpoint_of(server).sockets.total == 0)


async def test_a_socket_has_so_many_operations_at_a_time_and_no_more(
    start_server: StartServer, connect_client: ConnectClient
) -> None:
    sources = Sources()
    async with start_server(operations_per_socket=3) as server:
        endpoint_of(server).schema = sources.schema()
        async with signed_in(connect_client("ann", url=server.url)) as peer:
            for id in "abcd":
                await peer.subscribe(id, "subscription { silence }")
            refused = await peer.receive()
            assert (refused["type"], refused["id"]) == ("error", "d")
            assert [error["extensions"] for error in refused["payload"]] == [{"code": "RATE_LIMITED"}]
            await until(lambda: sources.running == 3)
            await peer.send({"type": "complete", "id": "a"})
            await peer.subscribe("e", "subscription { silence }")
            await until(lambda: sources.running == 3)


async def test_a_socket_begins_so_many_operations_in_a_second_and_no_more(
    start_server: StartServer, connect_client: ConnectClient, clock: Clock
) -> None:
    async with (
        start_server(operations_per_second=5, operations_per_socket=5) as server,
        signed_in(connect_client("ann", url=server.url)) as peer,
    ):
        for number in range(8):
            # Counted before it is read.
            await peer.subscribe(str(number), "{" if number > 5 else VIEWER)
        await peer.send({"type": "ping"})
        refused = []
        while (message := await peer.receive())["type"] != "pong":
            if message["type"] == "error":
                refused.append(message["id"])
                [error] = message["payload"]
                assert error["extensions"] == {"code": "RATE_LIMITED", "retryAfter": 1}
        assert refused == ["5", "6", "7"]
        clock.now += 1
        assert await peer.is_served()


@pytest.mark.parametrize("message", [{"type": "ping"}, {"type": "pong"}, {"type": "complete", "id": "1"}])
async def test_who_floods_is_closed_for_good(
    start_server: StartServer, connect_client: ConnectClient, clock: Clock, message: dict[str, Any]
) -> None:
    async with start_server(operations_per_second=5) as server:
        ann = connect_client("ann", url=server.url)
        async with signed_in(ann) as peer:
            # One was the sign-in.
            await peer.send(*[message] * 45)
            assert await peer.is_served()
            with contextlib.suppress(ConnectionClosed):
                await peer.send(*[message] * 100)
            assert await peer.close_code() == 4429
            assert peer.connection.close_reason == "Too many messages"


async def test_long_messages_flood_sooner(start_server: StartServer, clock: Clock) -> None:
    async with start_server(operations_per_second=5) as server, knock(server.url) as peer:
        for _ in range(3):
            await peer.send({"type": "pong", "payload": {"a": "x" * 100_000}})
        assert await peer.close_code() == 4429


@pytest.mark.parametrize("is_signed_in", [False, True])
async def test_a_message_of_too_many_bytes_closes_the_socket(
    start_server: StartServer, connect_client: ConnectClient, is_signed_in: bool
) -> None:
    async with start_server(socket_message_bytes=10_000) as server:
        ann = connect_client("ann", url=server.url)
        fits, too_long = ({"type": "pong", "payload": {"a": "x" * size}} for size in (9_000, 10_000))
        async with knock(server.url) as peer:
            if is_signed_in:
                await peer.sign_in(ann)
            await peer.send(fits, {"type": "ping"})
            assert (await peer.receive())["type"] == "pong"
            await peer.send(too_long)
            assert await peer.close_code() == 1009
        async with signed_in(ann) as after:
            assert await after.is_served()


async def test_pages_of_other_origins_are_refused_but_for_those_that_are_allowed(
    start_server: StartServer, connect_client: ConnectClient
) -> None:
    async with start_server(cors_origins=("https://app.example.org",)) as server:
        ann = connect_client("ann", url=server.url)
        foreign = [
            "https://evil.example.org",
            "http://app.example.org",
            "https://app.example.org.evil.org",
            "null",
            "x",
        ]
        for origin in [*foreign, server.url.replace("127.0.0.1", "localhost"), "http://127.0.0.1:1"]:
            with pytest.raises(InvalidStatus) as refused:
                async with knock(server.url, origin=origin):
                    pass
            assert refused.value.response.status_code == 403, origin
        for allowed in (server.url, "https://app.example.org", None):
            async with signed_in(ann, origin=allowed) as peer:
                assert await peer.is_served()
