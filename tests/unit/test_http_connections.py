"""Connections: made to the address that answers, used again while they may be, and none of them lost."""

import asyncio
import contextlib
import gc
import socket
import ssl
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from agent.http import happy_eyeballs, transport
from agent.http.connection import READ_AHEAD, Connection
from tests.conftest import until
from tests.http_server import (
    CHUNKED,
    CHUNKED_HELLO,
    HELLO,
    Visit,
    address_of,
    body_of,
    client,
    over_each_poller,
    saying,
    serve,
)

# To a server that may not be there


async def test_a_server_that_is_not_there_is_an_error() -> None:
    async with serve(saying(HELLO)) as server:
        pass
    async with client() as http:
        with pytest.raises(httpx2.ConnectError):
            await http.get(server.url)
        with pytest.raises(httpx2.ConnectError):
            await http.get("http://no.such.host.invalid/")


@pytest.fixture
def deaf() -> Iterator[tuple[str, int]]:
    """An address that answers nothing: nobody takes what already waits there."""
    with socket.create_server(("127.0.0.2", 0), backlog=0) as listener, contextlib.ExitStack() as waiting:
        for _ in range(4):
            visitor = waiting.enter_context(socket.socket())
            visitor.setblocking(False)
            visitor.connect_ex(listener.getsockname())
        yield listener.getsockname()


#: A host whose addresses a test chooses.
HOST = "http://model.test/"


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
    loop = asyncio.get_running_loop()
    resolve = loop.getaddrinfo

    async def getaddrinfo(host: str, port: int, **more: Any) -> Any:
        if host != "model.test":
            return await resolve(host, port, **more)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)


async def test_an_address_that_answers_nothing_does_not_hold_up_the_next(
    deaf: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(saying(HELLO)) as server, client(connect=30) as http:
        resolve_to(monkeypatch, deaf, address_of(server))
        assert (await http.get(HOST)).text == "hello"


async def test_an_address_that_refuses_is_passed_over_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(saying(HELLO)) as gone:
        pass
    monkeypatch.setattr(happy_eyeballs, "HEAD_START", 600)
    async with serve(saying(HELLO)) as server, client(connect=30) as http:
        resolve_to(monkeypatch, address_of(gone), address_of(server))
        assert (await http.get(HOST)).text == "hello"


@pytest.mark.parametrize("addresses", [0, 2])
async def test_a_host_without_an_address_that_answers_is_an_error(
    addresses: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(saying(HELLO)) as gone:
        pass
    async with client() as http:
        resolve_to(monkeypatch, *[address_of(gone)] * addresses)
        with pytest.raises(httpx2.ConnectError):
            await http.get(HOST)


async def test_addresses_that_all_answer_nothing_take_no_longer_than_one(
    deaf: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client(connect=0.4) as http:
        resolve_to(monkeypatch, deaf, deaf)
        with pytest.raises(httpx2.ConnectTimeout):
            await http.get(HOST)


async def test_connecting_may_not_take_for_ever() -> None:
    async def say_nothing(visit: Visit) -> None:
        await visit.hung_up()

    async with serve(say_nothing) as server, client(connect=0.1) as http:
        with pytest.raises(httpx2.ConnectTimeout):
            # It waits for the other side of TLS.
            await http.get(server.url.replace("http:", "https:"))
        await until(lambda: server.open == 0)


# From one answer to the next


@over_each_poller
async def test_a_connection_is_used_again() -> None:
    async with serve(saying(CHUNKED_HELLO)) as server, client() as http:
        for _ in range(3):
            assert (await http.get(server.url)).text == "hello"
    assert len(server.visits) == 1


async def test_a_connection_that_the_server_wants_closed_is_not_used_again() -> None:
    async with serve(saying(HELLO.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))) as server, client() as http:
        for _ in range(2):
            assert (await http.get(server.url)).text == "hello"
    assert len(server.visits) == 2


@over_each_poller
async def test_a_connection_that_the_server_closed_meanwhile_is_not_used_again() -> None:
    async with serve(saying(HELLO, hang_up=True)) as server, client() as http:
        for _ in range(3):
            assert (await http.get(server.url)).text == "hello"
            await until(lambda: server.open == 0)
            await asyncio.sleep(0.02)
    assert len(server.visits) == 3


@pytest.mark.parametrize("more", [HELLO, b"HTTP/1.1 200 OK\r\n", b"noise"])
async def test_what_was_not_asked_for_is_no_answer_to_the_next_request(more: bytes) -> None:
    evil = HELLO.replace(b"hello", b"evil!")
    for pieces in ((HELLO + more.replace(HELLO, evil),), (HELLO, more.replace(HELLO, evil))):

        def has_said_all(length: int = len(b"".join(pieces))) -> bool:
            return server.visits[-1].written == length

        async with serve(saying(*pieces)) as server, client() as http:
            for _ in range(2):
                assert (await http.get(server.url)).text == "hello"
                await until(has_said_all)
                await asyncio.sleep(0.02)
        assert len(server.visits) == 2


async def test_a_kept_connection_that_the_server_has_just_closed_is_not_asked_again() -> None:
    asked: list[Visit] = []

    async def converse(visit: Visit) -> None:
        while await visit.read_request():
            asked.append(visit)
            await visit.write(HELLO)

    async with serve(converse) as server, client() as http:
        await http.get(server.url)
        # Nothing comes between this and the next request: no poller could look.
        server.visits[0].cut_off()
        with contextlib.suppress(httpx2.RemoteProtocolError):
            await http.get(server.url)
        assert (await http.get(server.url)).text == "hello"
    assert asked.count(server.visits[0]) == 1


async def test_a_kept_connection_that_the_server_has_just_closed_costs_the_next_request_nothing() -> None:
    async with serve(saying(HELLO)) as server, client() as http:
        await http.get(server.url)
        server.visits[0].cut_off()
        assert (await http.get(server.url)).text == "hello"
    assert len(server.visits) == 2


async def test_a_connection_that_breaks_when_it_is_asked_again_is_a_clean_error() -> None:
    async def converse(visit: Visit) -> None:
        await visit.read_request()
        await visit.write(HELLO)
        await visit.read_request()

    async with serve(converse) as server, client() as http:
        await http.get(server.url)
        with pytest.raises(httpx2.RemoteProtocolError):
            await http.get(server.url)
        assert (await http.get(server.url)).text == "hello"


async def test_a_server_that_hangs_up_at_once_is_a_clean_error() -> None:
    async def converse(visit: Visit) -> None:
        visit.hang_up()

    async with serve(converse) as server, client(read=600) as http, asyncio.timeout(60):
        for _ in range(20):
            with pytest.raises(httpx2.TransportError):
                await http.get(server.url)


async def test_a_connection_whose_answer_ends_after_its_client_is_not_kept() -> None:
    async with serve(saying(CHUNKED_HELLO)) as server, client() as http:
        async with http.stream("GET", server.url) as response:
            await http.aclose()
            assert b"".join([piece async for piece in response.aiter_raw()]) == b"hello"
        await until(lambda: server.open == 0)


async def test_any_number_of_answers_may_be_read_at_a_time_and_some_connections_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport, "MOST_IDLE", 7)
    all_asked = asyncio.Event()

    async def converse(visit: Visit) -> None:
        while await visit.read_request():
            if server.open == 150:
                all_asked.set()
            await all_asked.wait()
            await visit.write(HELLO)

    async with serve(converse) as server:
        async with client() as http:
            await asyncio.gather(*(http.get(server.url) for _ in range(150)))
            await until(lambda: server.open == 7)
        await until(lambda: server.open == 0)


@over_each_poller
async def test_a_connection_that_nobody_uses_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "KEEP_ALIVE", 0.05)
    async with serve(saying(HELLO)) as server, client() as http:
        await http.get(server.url)
        assert server.open == 1
        await until(lambda: server.open == 0)


async def test_a_connection_that_is_used_again_is_not_closed_for_its_idleness_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport, "KEEP_ALIVE", 0.05)

    async def converse(visit: Visit) -> None:
        for pause in (0.0, 0.15):
            await visit.read_request()
            await asyncio.sleep(pause)
            await visit.write(HELLO)

    async with serve(converse) as server, client() as http:
        for _ in range(2):
            assert (await http.get(server.url)).text == "hello"
    assert len(server.visits) == 1


@over_each_poller
@pytest.mark.parametrize("before", [b"", CHUNKED + b"5\r\nhello\r\n"])
async def test_who_is_cancelled_hangs_up(before: bytes) -> None:
    async def converse(visit: Visit) -> None:
        await visit.read_request()
        await visit.write(before)
        await visit.hung_up()

    async with serve(converse) as server, client() as http:
        asking = asyncio.create_task(http.get(server.url))
        await until(lambda: server.open == 1)
        await asyncio.sleep(0.02)
        asking.cancel()
        await until(lambda: server.open == 0)
        assert asking.cancelled()


@over_each_poller
async def test_who_leaves_an_answer_early_hangs_up() -> None:
    async def converse(visit: Visit) -> None:
        await visit.read_request()
        await visit.write(CHUNKED + b"5\r\nhello\r\n")
        await visit.hung_up()

    async with serve(converse) as server, client() as http:
        async with http.stream("GET", server.url) as response:
            assert await anext(response.aiter_raw()) == b"hello"
        await until(lambda: server.open == 0)
        with pytest.raises(httpx2.StreamClosed):
            await body_of(response).feed(lambda piece: True)


@over_each_poller
async def test_who_leaves_an_answer_that_has_come_whole_is_answered_the_next_time() -> None:
    # Its last piece is the one that is too much.
    length = READ_AHEAD
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + b"x" * length
    async with serve(saying(answer)) as server, client(read=10) as http:
        for _ in range(3):
            async with http.stream("GET", server.url) as response:
                await asyncio.sleep(0.02)
                assert response.status_code == 200
            assert len((await http.get(server.url)).content) == length


# Gone


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> "list[weakref.ref[Connection]]":
    """The connections that a transport has made, as long as they are there."""
    made: list[weakref.ref[Connection]] = []

    def make(*arguments: Any) -> Connection:
        connection = Connection(*arguments)
        made.append(weakref.ref(connection))
        return connection

    monkeypatch.setattr(transport, "Connection", make)
    return made


@pytest.mark.parametrize(
    "answer",
    [
        HELLO.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        CHUNKED,
        CHUNKED + b"2\r\nhe",
        b"no HTTP",
        b"",
    ],
    ids=["ended", "cut before its body", "cut in its body", "not HTTP", "none"],
)
@pytest.mark.parametrize("secure", [False, True], ids=["in the clear", "by TLS"])
async def test_a_connection_that_ends_is_gone_without_a_search_for_garbage(
    answer: bytes,
    secure: bool,
    made: "list[weakref.ref[Connection]]",
    tls_server: tuple[ssl.SSLContext, Path],
    trusting: ssl.SSLContext,
) -> None:
    gc.disable()
    try:
        converse = saying(*[answer] if answer else [], hang_up=True)
        async with serve(converse, tls=tls_server[0] if secure else None) as server, client(tls=trusting) as http:
            with contextlib.suppress(httpx2.TransportError):
                await http.get(server.url)
        await until(lambda: [connection() for connection in made] == [None])
    finally:
        gc.enable()
