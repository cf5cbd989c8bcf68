"""Answers over TLS: only from who is vouched for, whole however the records are cut, and ended by a word of TLS."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from agent.http.connection import READ_AHEAD
from tests.conftest import until
from tests.http_server import (
    CHUNKED,
    CHUNKED_HELLO,
    HELLO,
    LONG,
    UNTIL_CLOSE,
    Raw,
    Visit,
    address_of,
    client,
    over_each_poller,
    saying,
    serve,
)


@over_each_poller
async def test_answers_come_over_tls(tls_server: tuple[ssl.SSLContext, Path], trusting: ssl.SSLContext) -> None:
    async with (
        serve(saying(CHUNKED, CHUNKED_HELLO[len(CHUNKED) :]), tls=tls_server[0]) as server,
        client(tls=trusting) as http,
    ):
        for _ in range(3):
            assert (await http.get(server.url)).text == "hello"
    assert len(server.visits) == 1


async def test_a_certificate_that_nobody_vouches_for_is_refused(tls_server: tuple[ssl.SSLContext, Path]) -> None:
    async with serve(saying(HELLO), tls=tls_server[0]) as server, client() as http:
        with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await http.get(server.url)


async def test_the_certificate_of_another_host_is_refused(
    tls_server: tuple[ssl.SSLContext, Path], trusting: ssl.SSLContext
) -> None:
    async with serve(saying(HELLO), tls=tls_server[0]) as server, client(tls=trusting) as http:
        with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await http.get(server.url.replace("127.0.0.1", "localhost"))


async def test_an_answer_over_tls_that_is_cut_is_an_error(
    tls_server: tuple[ssl.SSLContext, Path], trusting: ssl.SSLContext
) -> None:
    async with serve(saying(HELLO[:-1], hang_up=True), tls=tls_server[0]) as server, client(tls=trusting) as http:
        with pytest.raises(httpx2.RemoteProtocolError):
            await http.get(server.url)


async def test_an_answer_of_many_records_comes_whole(
    tls_server: tuple[ssl.SSLContext, Path], trusting: ssl.SSLContext
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LONG)
    async with serve(saying(head + LONG), tls=tls_server[0]) as server, client(tls=trusting) as http:
        assert (await http.get(server.url)).content == LONG


@asynccontextmanager
async def byte_by_byte(server: Raw) -> AsyncIterator[str]:
    """A URL of the server where each byte that it says comes by itself."""

    async def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, asks = await asyncio.open_connection(*address_of(server))

        async def ask() -> None:
            while request := await reader.read(65536):
                asks.write(request)

        asking = asyncio.create_task(ask())
        while answer := await answers.read(65536):
            for byte in answer:
                writer.write(bytes([byte]))
                await asyncio.sleep(0)
        writer.close()
        asking.cancel()
        asks.close()

    relay = await asyncio.start_server(visited, "127.0.0.1", 0)
    try:
        yield str(httpx2.URL(server.url).copy_with(port=relay.sockets[0].getsockname()[1]))
    finally:
        relay.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_records_may_be_cut_anywhere(
    tls_server: tuple[ssl.SSLContext, Path], trusting: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    trusting.maximum_version = version
    answer = saying(UNTIL_CLOSE[:9], UNTIL_CLOSE[9:-3], UNTIL_CLOSE[-3:], hang_up=True)
    async with serve(answer, tls=tls_server[0]) as server, byte_by_byte(server) as url, client(tls=trusting) as http:
        assert (await http.get(url)).text == "hello"


async def test_the_end_of_an_answer_that_ends_by_closing_must_be_told_by_tls(
    tls_server: tuple[ssl.SSLContext, Path], trusting: ssl.SSLContext
) -> None:
    async def converse(visit: Visit) -> None:
        request = await visit.read_request()
        await visit.write(UNTIL_CLOSE)
        if b"/cut" in request:
            visit.cut_off()

    async with serve(converse, tls=tls_server[0]) as server, client(tls=trusting) as http:
        assert (await http.get(server.url)).text == "hello"
        with pytest.raises(httpx2.RemoteProtocolError, match="without the end of TLS"):
            await http.get(server.url + "cut")


async def test_an_answer_whose_end_comes_with_more_than_is_read_ahead_is_whole(
    tls_server: tuple[ssl.SSLContext, Path], trusting: ssl.SSLContext
) -> None:
    ended = asyncio.Event()

    async def converse(visit: Visit) -> None:
        await visit.read_request()
        await visit.write(UNTIL_CLOSE + bytes(READ_AHEAD - 10_000))
        await asyncio.sleep(0.1)
        # At once, so that it is read at once.
        await visit.write(bytes(20_000))
        visit.hang_up()
        ended.set()

    async with (
        serve(converse, tls=tls_server[0]) as server,
        client(tls=trusting) as http,
        http.stream("GET", server.url) as response,
    ):
        await ended.wait()
        await asyncio.sleep(0.1)
        assert sum([len(piece) async for piece in response.aiter_raw()]) == len(b"hello") + READ_AHEAD + 10_000


@pytest.mark.parametrize(
    "said",
    [b"", b"\x16\x03\x03\x00\x7a\x02\x00", b"\x15\x03\x03\x00\x02\x02\x28", b"HTTP/1.1 400 Bad Request\r\n\r\n"],
    ids=["nothing", "part of a record", "a refusal", "no TLS"],
)
async def test_a_handshake_that_the_server_breaks_off_is_an_error(said: bytes, trusting: ssl.SSLContext) -> None:
    async def converse(visit: Visit) -> None:
        await visit.read_some(100)
        await visit.write(said)

    async with serve(converse) as server, client(tls=trusting) as http:
        with pytest.raises(httpx2.ConnectError):
            await http.get(server.url.replace("http:", "https:"))
        await until(lambda: server.open == 0)


@asynccontextmanager
async def speaking_tls_itself(context: ssl.SSLContext, *steps: Callable[[ssl.SSLObject], object]) -> AsyncIterator[str]:
    """The URL of a server that sends what each step says as one, a pause between two, once it was asked something."""

    async def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        for listen in (tls.do_handshake, lambda: tls.read(65536)):
            while True:
                try:
                    listen()
                    break
                except ssl.SSLWantReadError:
                    writer.write(outgoing.read())
                    incoming.write(await reader.read(65536))
            writer.write(outgoing.read())
        for step in steps:
            step(tls)
            writer.write(outgoing.read())
            await asyncio.sleep(0.05)
        writer.close()

    server = await asyncio.start_server(welcome, "127.0.0.1", 0)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


def say_goodbye(tls: ssl.SSLObject) -> None:
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.unwrap()


@pytest.mark.parametrize("head", [CHUNKED, CHUNKED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")])
async def test_the_end_of_an_answer_may_come_with_the_end_of_tls(
    tls_server: tuple[ssl.SSLContext, Path], trusting: ssl.SSLContext, head: bytes
) -> None:
    def end(tls: ssl.SSLObject) -> None:
        tls.write(b"3\r\nllo\r\n0\r\n\r\n")
        say_goodbye(tls)

    async with (
        speaking_tls_itself(tls_server[0], lambda tls: tls.write(head + b"2\r\nhe\r\n"), end) as url,
        client(tls=trusting) as http,
        http.stream("GET", url) as response,
    ):
        assert [piece async for piece in response.aiter_raw()] == [b"he", b"llo"]
