"""Clients of a WebSocket that leave, stop reading or fall silent: their operations end, and nothing is left behind."""

import asyncio
import gc
import json
import time
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.websockets import WebSocket
from strawberry.http.exceptions import WebSocketDisconnected

from server.transport import graphql_ws
from server.transport.graphql_ws import TransportWSHandler
from server.transport.sockets import SocketLimits, WebSocketAdapter
from tests.acceptance.peer import Sources, endpoint_of, knock, no_traceback, signed_in, sources
from tests.client import Client
from tests.conftest import ConnectClient, RunningServer, StartServer, until

__all__ = ["no_traceback", "sources"]


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
