"""How a WebSocket begins: which protocol, who signs in by when, and from pages of which origins."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.acceptance.peer import Peer, endpoint_of, knock, no_traceback, signed_in
from tests.client import Client
from tests.conftest import ConnectClient, RunningServer, StartServer

__all__ = ["no_traceback"]


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
