"""Answers over real sockets: whole however they come, and with a clean error where they do not."""

import asyncio
import ssl
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
    WITH_TRAILER,
    Visit,
    body_of,
    client,
    one_of_some_tries,
    over_each_poller,
    saying,
    serve,
)


@pytest.fixture(params=[False, True], ids=["in the clear", "by TLS"])
def server_tls(request: pytest.FixtureRequest, tls_server: tuple[ssl.SSLContext, Path]) -> ssl.SSLContext | None:
    """What a server needs for each of the schemes."""
    return tls_server[0] if request.param else None


# Whole answers


@over_each_poller
@pytest.mark.parametrize("answer", [HELLO, CHUNKED_HELLO, UNTIL_CLOSE, WITH_TRAILER])
@pytest.mark.parametrize("cut", [1, 7, 1000])
async def test_an_answer_is_whole_however_its_length_is_told_and_its_bytes_are_cut(answer: bytes, cut: int) -> None:
    pieces = [answer[start : start + cut] for start in range(0, len(answer), cut)]
    async with serve(saying(*pieces, hang_up=answer == UNTIL_CLOSE)) as server, client() as http:
        response = await http.post(server.url, content=b"question")
        assert (response.status_code, response.content) == (200, b"hello")


async def test_a_request_comes_as_it_was_made() -> None:
    asked: list[bytes] = []

    async def converse(visit: Visit) -> None:
        asked.append(await visit.read_request())
        await visit.write(HELLO)

    async with serve(converse) as server, client() as http:
        await http.post(server.url + "a?b=c", content=b"question", headers={"X-Key": "secret"})
    head, _, body = asked[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /a?b=c HTTP/1.1\r\n") and body == b"question"
    assert b"x-key: secret" in head.lower() and b"host: 127.0.0.1" in head.lower()


@pytest.mark.parametrize("first", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"])
async def test_an_answer_that_goes_before_the_answer_is_passed_over(first: bytes) -> None:
    async with serve(saying(first, HELLO)) as server, client() as http:
        for _ in range(2):
            response = await http.get(server.url)
            assert response.text == "hello" and "link" not in response.headers
    assert len(server.visits) == 1


async def test_an_answer_without_a_body_ends_with_its_head() -> None:
    async with serve(saying(b"HTTP/1.1 204 No Content\r\n\r\n")) as server, client() as http:
        assert [(await http.get(server.url)).status_code for _ in range(2)] == [204, 204]
    assert len(server.visits) == 1


async def test_a_redirect_is_followed() -> None:
    async def converse(visit: Visit) -> None:
        while request := await visit.read_request():
            found = b"HTTP/1.1 307 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n"
            await visit.write(HELLO if b"/there" in request else found)

    async with serve(converse) as server, client() as http:
        response = await http.post(server.url, content=b"question", follow_redirects=True)
    assert response.text == "hello" and len(server.visits) == 1


# Answers that fail


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200", CHUNKED, CHUNKED + b"5\r\nhello\r\n", HELLO[:-1]],
    ids=["nothing", "part of the head", "head", "no last chunk", "too short"],
)
async def test_an_answer_that_is_cut_is_an_error(answer: bytes) -> None:
    async with serve(saying(answer, hang_up=True)) as server, client() as http:
        with pytest.raises(httpx2.RemoteProtocolError):
            await http.get(server.url)


@over_each_poller
async def test_what_came_before_a_cut_is_read() -> None:
    answer = saying(CHUNKED + b"5\r\nhello\r\n", hang_up=True)
    async with serve(answer) as server, client() as http, http.stream("GET", server.url) as response:
        await asyncio.sleep(0.05)
        pieces = response.aiter_bytes()
        assert await anext(pieces) == b"hello"
        with pytest.raises(httpx2.RemoteProtocolError):
            await anext(pieces)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        CHUNKED + b"not a length\r\n",
    ],
)
async def test_an_answer_that_is_not_http_is_an_error(answer: bytes) -> None:
    async with serve(saying(answer)) as server, client() as http:
        with pytest.raises(httpx2.RemoteProtocolError):
            await http.get(server.url)
        await until(lambda: server.open == 0)


@pytest.mark.parametrize("before", [b"", CHUNKED, CHUNKED + b"5\r\nhello\r\n"])
async def test_a_server_may_not_be_silent_for_ever(before: bytes) -> None:
    async def converse(visit: Visit) -> None:
        await visit.read_request()
        await visit.write(before)
        await visit.hung_up()

    async with serve(converse) as server, client(read=0.2) as http:
        with pytest.raises(httpx2.ReadTimeout):
            await http.get(server.url)
        await until(lambda: server.open == 0)


async def test_an_answer_may_take_longer_than_any_silence_in_it() -> None:
    async def converse(visit: Visit) -> None:
        await visit.read_request()
        await visit.write(CHUNKED)
        for _ in range(8):
            await asyncio.sleep(0.1)
            await visit.write(b"1\r\nx\r\n")
        await visit.write(b"0\r\n\r\n")

    async def ask() -> None:
        async with client(read=0.5) as http:
            assert (await http.get(server.url)).text == "x" * 8

    async with serve(converse) as server:
        await one_of_some_tries(ask)


@pytest.mark.parametrize("key", ["secret\n", "secret\r\nX-Other: 1"])
async def test_a_header_cannot_write_other_headers(key: str) -> None:
    async with serve(saying(HELLO)) as server, client() as http:
        with pytest.raises(httpx2.LocalProtocolError):
            await http.get(server.url, headers={"X-Key": key})
    assert server.visits == []


# Requests that a socket does not take at once


@over_each_poller
async def test_a_long_request_comes_whole_to_a_server_that_is_slow(
    server_tls: ssl.SSLContext | None, trusting: ssl.SSLContext
) -> None:
    async def converse(visit: Visit) -> None:
        await asyncio.sleep(0.1)
        while request := await visit.read_request():
            await visit.write(HELLO if request.endswith(b"\r\n\r\n" + LONG) else HELLO.replace(b"hello", b"wrong"))

    async with serve(converse, tls=server_tls) as server, client(tls=trusting) as http:
        for _ in range(2):
            assert (await http.post(server.url, content=LONG)).text == "hello"
    assert len(server.visits) == 1


async def test_a_server_that_closes_while_a_long_request_is_written_is_a_clean_error(
    server_tls: ssl.SSLContext | None, trusting: ssl.SSLContext
) -> None:
    async def converse(visit: Visit) -> None:
        await visit.read_some(50_000)

    async with serve(converse, tls=server_tls) as server, client(tls=trusting) as http:
        with pytest.raises(httpx2.RemoteProtocolError):
            await http.post(server.url, content=LONG)


async def test_a_server_that_answers_and_closes_before_it_has_the_whole_request_is_heard(
    server_tls: ssl.SSLContext | None, trusting: ssl.SSLContext
) -> None:
    async def converse(visit: Visit) -> None:
        await visit.read_some(50_000)
        await visit.write(HELLO.replace(b"200 OK", b"413 Content Too Large"))

    async with serve(converse, tls=server_tls) as server, client(tls=trusting) as http:
        response = await http.post(server.url, content=LONG)
        assert (response.status_code, response.text) == (413, "hello")


# A reader and its answer


@over_each_poller
async def test_a_server_waits_for_a_reader_that_is_slow_and_is_not_blamed_for_the_silence() -> None:
    total = 64 * 1024 * 1024

    async def converse(visit: Visit) -> None:
        await visit.read_request()
        await visit.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        for _ in range(total // 65536):
            await visit.write(b"x" * 65536)
        await visit.hung_up()

    async def ask() -> None:
        async with client(read=0.2) as http, http.stream("GET", server.url) as response:
            await asyncio.sleep(0.6)
            # What the sockets hold comes on top.
            assert server.visits[-1].written < READ_AHEAD + 24 * 1024 * 1024
            assert sum([len(piece) async for piece in response.aiter_raw()]) == total

    async with serve(converse) as server:
        await one_of_some_tries(ask)


@over_each_poller
async def test_pieces_are_taken_at_once_and_in_order_until_one_is_refused() -> None:
    said, said_so_far = asyncio.Event(), bytearray()

    async def converse(visit: Visit) -> None:
        await visit.read_request()
        await visit.write(CHUNKED)
        for letter in b"abcdef":
            # Each that is wanted is taken before the next is said.
            await until(lambda: b"".join(taken) in (said_so_far, b"abc"))
            said_so_far.append(letter)
            await visit.write(b"1\r\n%c\r\n" % letter)
            await asyncio.sleep(0.005)
        said.set()
        await visit.write(b"0\r\n\r\n")
        await visit.hung_up()

    taken: list[bytes] = []

    def take(piece: bytes) -> bool:
        taken.append(piece)
        return b"c" not in piece

    async with serve(converse) as server, client() as http, http.stream("GET", server.url) as response:
        body = body_of(response)
        assert await body.feed(take)
        assert b"".join(taken) == b"abc"
        await said.wait()
        await asyncio.sleep(0.02)
        assert b"".join(taken) == b"abc"
        assert not await body.feed(take)
        assert b"".join(taken) == b"abcdef" and taken[-1] == b"def"


async def test_what_goes_wrong_in_taking_a_piece_is_the_readers_and_no_more_is_taken() -> None:
    async def converse(visit: Visit) -> None:
        await visit.read_request()
        await visit.write(CHUNKED)
        for _ in range(5):
            await asyncio.sleep(0.005)
            await visit.write(b"1\r\nx\r\n")
            await until(lambda: taken != [])
        await visit.hung_up()

    taken: list[bytes] = []

    def take(piece: bytes) -> bool:
        taken.append(piece)
        raise ZeroDivisionError

    async with serve(converse) as server, client() as http:
        async with http.stream("GET", server.url) as response:
            with pytest.raises(ZeroDivisionError):
                await body_of(response).feed(take)
            await asyncio.sleep(0.05)
            assert taken == [b"x"]
        await until(lambda: server.open == 0)
        async with http.stream("GET", server.url) as response:
            assert (await anext(response.aiter_raw())).startswith(b"x")


async def test_a_reader_that_fails_at_the_last_piece_leaves_the_connection_to_the_next() -> None:
    def take(piece: bytes) -> bool:
        raise ZeroDivisionError

    async with serve(saying(CHUNKED, CHUNKED_HELLO[len(CHUNKED) :])) as server, client() as http:
        async with http.stream("GET", server.url) as response:
            with pytest.raises(ZeroDivisionError):
                await body_of(response).feed(take)
        assert (await http.get(server.url)).text == "hello"
    assert len(server.visits) == 1
