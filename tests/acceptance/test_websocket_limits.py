"""How much of WebSockets one user may have: sockets, operations, messages and bytes."""

import contextlib
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.acceptance.peer import VIEWER, Sources, clock, endpoint_of, knock, no_traceback, signed_in, sources
from tests.client import Client
from tests.conftest import Clock, ConnectClient, StartServer, until

__all__ = ["clock", "no_traceback", "sources"]


async def test_two_replays_do_not_wait_for_each_other(ann: Client, bob: Client, sources: Sources) -> None:
    async with signed_in(ann) as first, signed_in(bob) as second:
        await first.subscribe("1", "subscription { replay }")
        await first.receive()
        await second.send({"type": "ping"})
        assert (await second.receive())["type"] == "pong"
        await first.send({"type": "complete", "id": "1"})


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


async def test_results_that_wait_for_a_slow_client_are_operations_too(
    start_server: StartServer, connect_client: ConnectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = Sources()
    refused: list[Any] = []
    async with start_server(operations_per_socket=3) as server:
        endpoint = endpoint_of(server)
        endpoint.schema = sources.schema()
        monkeypatch.setattr(
            endpoint.observer, "end_operation", lambda each: refused.append(each) if each.code else None
        )
        async with signed_in(connect_client("ann", url=server.url)) as peer:
            peer.connection.transport.pause_reading()
            for number in range(1, 31):
                await peer.subscribe(str(number), "{ text(size: 1000000) }")
                await until(lambda: bool(refused) or sources.begun >= number)  # noqa: B023
            peer.connection.transport.abort()
    assert [each.code for each in refused] == ["RATE_LIMITED"]


async def test_an_id_is_free_again_although_a_result_of_it_waits_for_a_slow_client(
    ann: Client, sources: Sources
) -> None:
    async with signed_in(ann) as peer:
        peer.connection.transport.pause_reading()
        for number in range(20):
            await peer.subscribe(f"long {number}", "{ text(size: 1000000) }")
        await peer.subscribe("1", "{ old: text }")
        await until(lambda: sources.begun == 21)
        await peer.send({"type": "complete", "id": "1"})
        await peer.subscribe("1", "{ new: text }")
        await until(lambda: sources.begun == 22)
        peer.connection.transport.resume_reading()
        messages = [await peer.receive() for _ in range(42)]
        assert [message for message in messages if message["id"] == "1"] == [
            {"type": "next", "id": "1", "payload": {"data": {"new": "x"}}},
            {"type": "complete", "id": "1"},
        ]
        assert await peer.is_alive()


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
