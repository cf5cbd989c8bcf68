"""Abuse below ASGI: it is stopped, nobody else waits for it, and honest clients notice nothing of the limits."""

import asyncio
import contextlib
import gc
import json
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.transport import graphql_ws, http_protocol, websocket_protocol, wire
from server.transport.websocket_protocol import WebSocketProtocol
from tests.acceptance.peer import VIEWER, clock, knock, signed_in
from tests.client import Client
from tests.conftest import PATIENCE, RunningServer, StartServer, until
from tests.frames import HANDSHAKE, write_frame

__all__ = ["clock"]

TEXT, CONTINUATION, CLOSE, PING, PONG = 1, 0, 8, 9, 10

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /graphql HTTP/1.1\r\nHost: x\r\n"


def frame(opcode: int, data: bytes = b"", *, fin: bool = True) -> bytes:
    """A frame as a client sends it."""
    return write_frame(opcode | fin << 7, data)


class Line:
    """A connection on which anything can be said."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, data: bytes) -> None:
        """Send it; a connection that ends meanwhile is no failure."""
        with contextlib.suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def hear(self) -> bytes:
        """Everything until the server ends the connection, which it must before it would lose its patience."""
        heard = b""
        async with asyncio.timeout(25):
            with contextlib.suppress(ConnectionError):
                while data := await self.reader.read(65536):
                    heard += data
        return heard

    async def answer(self) -> tuple[int, bytes]:
        """Status and body of the next answer."""
        async with asyncio.timeout(25):
            head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            return int(head.split()[1]), await self.reader.readexactly(length)


@asynccontextmanager
async def dial(url: str) -> AsyncIterator[Line]:
    address = urlsplit(url)
    line = Line(*await asyncio.open_connection(address.hostname, address.port, limit=2**26))
    try:
        yield line
    finally:
        line.writer.transport.abort()


@asynccontextmanager
async def upgraded(url: str) -> AsyncIterator[Line]:
    """A WebSocket on which nobody has signed in."""
    async with dial(url) as line:
        await line.say(HANDSHAKE + b"Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n")
        assert b" 101 " in await line.reader.readuntil(b"\r\n\r\n")
        yield line


async def flood(connection: Any, data: bytes) -> None:
    """Send all this at once, until the server has ended the connection."""
    async with connection as line:
        sending = asyncio.create_task(line.say(data))
        await line.hear()
        await sending


async def longest_wait(url: str, attack: Callable[[], Coroutine[Any, Any, Any]]) -> float:
    """Seconds of work for others that stand between the question and the answer of another client meanwhile.

    Of this thread, in which the server runs, and not by the clock: others use this machine.
    """
    # A search for garbage would look at all that other tests have left.
    gc.freeze()
    try:
        async with dial(url) as bystander:
            attacking = asyncio.create_task(attack())
            worst = 0.0
            while not attacking.done():
                begun = time.thread_time()
                await bystander.say(GET + b"\r\n")
                assert (await bystander.answer())[0] == 200
                worst = max(worst, time.thread_time() - begun)
            await attacking
    finally:
        gc.unfreeze()
    return worst


@pytest.fixture(autouse=True)
def no_fatal_error(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever comes over the wire, no protocol breaks."""
    yield
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


TINY_FRAMES = {
    "pings": frame(PING) * 300_000,
    "pongs": frame(PONG) * 300_000,
    "empty continuations": frame(TEXT, b"{", fin=False) + frame(CONTINUATION, fin=False) * 300_000,
    "texts": frame(TEXT, b"{}") * 300_000,
}


@pytest.mark.parametrize("data", TINY_FRAMES.values(), ids=TINY_FRAMES.keys())
async def test_nobody_waits_for_a_flood_of_tiny_frames(server: RunningServer, data: bytes) -> None:
    assert await longest_wait(server.url, lambda: flood(upgraded(server.url), data)) < 0.25


@pytest.mark.usefixtures("clock")
async def test_too_many_frames_close_the_socket_with_4429(server: RunningServer) -> None:
    async with upgraded(server.url) as line:
        await line.say(frame(PONG) * (websocket_protocol.FRAMES_AT_ONCE + wire.PIECE))
        assert await line.hear() == struct.pack("!BBH", 0x80 | CLOSE, 17, 4429) + b"Too many frames"


def protocols(server: RunningServer) -> list[WebSocketProtocol]:
    return [other for other in server.uvicorn.server_state.connections if isinstance(other, WebSocketProtocol)]


async def test_pongs_for_a_client_that_does_not_read_are_bounded(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket_protocol, "FRAMES_AT_ONCE", 10**9)
    async with start_server() as server, upgraded(server.url) as line:
        [protocol] = protocols(server)
        # The system would take a lot before anything is left with the server.
        protocol.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        line.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for number in range(100_000):
            line.writer.write(frame(PING, b"%0125d" % number))
            if number % 1000 == 0:
                await line.writer.drain()
                assert protocol.transport.get_write_buffer_size() < 1_000_000
        line.writer.transport.resume_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(PATIENCE):
            await line.reader.readuntil(b"%0125d" % 99_999)
        await line.say(frame(PING, b"still there?"))
        async with asyncio.timeout(PATIENCE):
            await line.reader.readuntil(b"still there?")


async def test_empty_fragments_need_no_memory(start_server: StartServer) -> None:
    async with start_server() as server, upgraded(server.url) as line:
        [protocol] = protocols(server)
        begin, end = b'{"type":', b'"ping"}'
        await line.say(frame(TEXT, begin, fin=False) + frame(CONTINUATION, fin=False) * 3000)
        await until(lambda: len(protocol.frames) > 0)
        await line.say(frame(PING, b"read?"))
        await line.reader.readuntil(b"read?")
        assert len(protocol.frames) <= websocket_protocol.FRAGMENTS + 1
        await line.say(frame(CONTINUATION, end))
        async with asyncio.timeout(PATIENCE):
            await line.reader.readuntil(b'{"type":"pong"}')


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("fault", [frame(PONG) * (websocket_protocol.FRAMES_AT_ONCE + wire.PIECE), frame(TEXT, b"{}")])
async def test_a_socket_that_is_given_up_ends_although_its_client_never_reads(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch, fault: bytes
) -> None:
    monkeypatch.setattr(wire, "CLOSE_TIMEOUT", 0.3)
    monkeypatch.setattr(websocket_protocol, "CLOSE_TIMEOUT", 0.3)
    monkeypatch.setattr(graphql_ws, "CLOSE_TIMEOUT", 0.3)
    async with start_server() as server, upgraded(server.url) as line:
        [protocol] = protocols(server)
        protocol.close_timeout = 0.1
        # More than the system takes.
        protocol.transport.write(b"x" * 20_000_000)
        line.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await line.say(fault)
        await until(lambda: not protocols(server))


async def test_a_text_that_is_no_utf8_before_a_close_frame_breaks_nothing(server: RunningServer) -> None:
    async with upgraded(server.url) as line:
        await line.say(frame(TEXT, b"\xff") + frame(CLOSE, b"\x03\xe8"))
        assert await line.hear() == struct.pack("!BBH", 0x80 | CLOSE, 2, 1000)


LONG = 10_000_000
HEADS = {
    "a long address": b"GET /" + b"a" * LONG,
    "a long header": GET + b"X: " + b"a" * LONG,
    "many headers": GET + b"a: b\r\n" * (LONG // 6),
    "empty lines": b"\r\n" * (LONG // 2),
    "trailers": POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * (LONG // 6),
    "requests": (GET + b"\r\n") * (LONG // 30),
}


@pytest.mark.parametrize("data", HEADS.values(), ids=HEADS.keys())
async def test_nobody_waits_for_a_head_without_end(server: RunningServer, data: bytes) -> None:
    assert await longest_wait(server.url, lambda: flood(dial(server.url), data)) < 0.25


def refusal(heard: bytes) -> tuple[int, list[str]]:
    """Status and codes of an answer in our form."""
    head, _, body = heard.partition(b"\r\n\r\n")
    assert b"Connection: close" in head
    assert b"X-Content-Type-Options: nosniff" in head
    return int(head.split()[1]), [error["extensions"]["code"] for error in json.loads(body)["errors"]]


@pytest.mark.parametrize("header", [b"X: " + b"a" * 50_000, b"a: b\r\n" * 10_000])
async def test_a_head_that_is_too_long_is_431(server: RunningServer, header: bytes) -> None:
    async with dial(server.url) as line:
        await line.say(GET + header)
        assert refusal(await line.hear()) == (431, ["BAD_USER_INPUT"])


HANDSHAKES = {
    "a header of 200 kB": (HANDSHAKE + b"Sec-WebSocket-Protocol: " + b"a," * 100_000 + b"x\r\n\r\n", 431),
    "a header of 9 kB": (HANDSHAKE + b"Sec-WebSocket-Protocol: " + b"a," * 4500 + b"x\r\n\r\n", 431),
    "200 headers": (HANDSHAKE + b"a: b\r\n" * 200 + b"\r\n", 431),
    "a body": (HANDSHAKE.replace(b"GET", b"POST") + b"Content-Length: 5\r\n\r\nabcde", 400),
    "half a body": (HANDSHAKE.replace(b"GET", b"POST") + b"Content-Length: 500\r\n\r\nabcde", 400),
    "another method": (HANDSHAKE.replace(b"GET", b"POST") + b"\r\n", 405),
}


@pytest.mark.parametrize(("data", "status"), HANDSHAKES.values(), ids=HANDSHAKES.keys())
async def test_a_handshake_that_cannot_be_is_answered_at_once(server: RunningServer, data: bytes, status: int) -> None:
    async with dial(server.url) as line:
        await line.say(data)
        assert int((await line.hear()).split()[1]) == status


async def test_frames_that_come_with_the_handshake_do_not_pass_for_a_request(server: RunningServer) -> None:
    async with dial(server.url) as line:
        handshake = HANDSHAKE + b"Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
        await line.say(handshake + frame(PONG) * wire.PIECE)
        await line.reader.readuntil(b"\r\n\r\n")
        await line.say(frame(PING, b"there?"))
        async with asyncio.timeout(PATIENCE):
            assert await line.reader.readexactly(8) == struct.pack("!BB", 0x80 | PONG, 6) + b"there?"


@pytest.fixture
def short_head_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_TIMEOUT", 0.5)


@pytest.mark.usefixtures("short_head_timeout")
class TestPatience:
    """With half a second instead of 30."""

    async def test_a_connection_without_a_byte_ends(self, server: RunningServer) -> None:
        async with dial(server.url) as line:
            assert await line.hear() == b""

    async def test_a_head_that_trickles_is_408(self, server: RunningServer) -> None:
        async with dial(server.url) as line:
            hearing = asyncio.create_task(line.hear())
            for byte in GET:
                await line.say(bytes([byte]))
                await asyncio.sleep(0.1)
                if hearing.done():
                    break
            assert refusal(await hearing) == (408, ["BAD_USER_INPUT"])

    @pytest.mark.parametrize(("begin", "trickle"), [(b"", b"\r\n"), (b"GET /", b"a")])
    async def test_a_connection_is_not_kept_by_what_is_no_request(
        self, server: RunningServer, begin: bytes, trickle: bytes
    ) -> None:
        async with dial(server.url) as line:
            await line.say(GET + b"\r\n")
            assert (await line.answer())[0] == 200
            hearing = asyncio.create_task(line.hear())
            async with asyncio.timeout(25):
                await line.say(begin)
                while not hearing.done():
                    await line.say(trickle)
                    await asyncio.sleep(0.1)

    async def test_neither_a_long_answer_nor_a_socket_nor_an_upload_is_cut(
        self, start_server: StartServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Long enough for a busy machine to send what must come in time.
        monkeypatch.setattr(http_protocol, "HEAD_TIMEOUT", 2.5)

        async def think(request: Request) -> Response:
            await asyncio.sleep(3.2)
            return Response("done")

        async with start_server() as server:
            server.app.router.routes.append(Route("/slow", think))
            async with dial(server.url) as line, upgraded(server.url) as other, dial(server.url) as upload:
                await line.say(b"GET /slow HTTP/1.1\r\n\r\n\r\n")
                await upload.say(POST + b"Content-Type: application/json\r\nContent-Length: 13\r\n\r\n")
                for byte in b'{"query": ""}':
                    await asyncio.sleep(0.25)
                    await upload.say(bytes([byte]))
                assert (await upload.answer())[0] in (400, 401)
                assert await line.answer() == (200, b"done")
                await other.say(frame(PING, b"there?"))
                async with asyncio.timeout(PATIENCE):
                    await other.reader.readuntil(b"there?")


async def test_a_hundred_operations_at_once_are_all_answered(ann: Client) -> None:
    async with signed_in(ann) as peer:
        for number in range(100):
            await peer.subscribe(str(number))
        answers = [await peer.receive() for _ in range(200)]
    assert {answer["id"] for answer in answers if answer["type"] == "complete"} == {str(n) for n in range(100)}


async def test_a_long_message_in_many_fragments_is_one_message(ann: Client) -> None:
    ping = {"type": "ping", "payload": {"text": "x" * 250_000}}
    text = json.dumps(ping)
    async with knock(ann.url) as peer:
        await peer.connection.send(text[start : start + 100] for start in range(0, len(text), 100))
        assert await peer.receive() == {**ping, "type": "pong"}


async def test_a_connection_is_kept_for_a_hundred_requests(server: RunningServer) -> None:
    async with dial(server.url) as line:
        for _ in range(100):
            await line.say(GET + b"\r\n")
            assert (await line.answer())[0] == 200


async def test_requests_that_come_together_are_answered_in_turn(server: RunningServer) -> None:
    async with dial(server.url) as line:
        await line.say((GET + b"\r\n" + GET.replace(b"healthz", b"nothing") + b"\r\n") * 10)
        assert [(await line.answer())[0] for _ in range(20)] == [200, 404] * 10


async def test_a_head_may_come_slowly(server: RunningServer) -> None:
    async with dial(server.url) as line:
        for byte in GET + b"\r\n":
            await line.say(bytes([byte]))
            await asyncio.sleep(0.03)
        assert (await line.answer())[0] == 200


async def test_a_head_of_30_kb_is_read_on_each_request(server: RunningServer) -> None:
    async with dial(server.url) as line:
        for _ in range(5):
            await line.say(GET + b"Cookie: " + b"a" * 30_000 + b"\r\n\r\n")
            assert (await line.answer())[0] == 200


@pytest.mark.parametrize("size", [10, 100_000])
async def test_a_body_may_come_in_chunks(ann: Client, size: int) -> None:
    body = json.dumps({"query": VIEWER}).encode().ljust(300_000)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    response = await ann.http.post("/graphql", content=chunks(), headers={"Content-Type": "application/json"})
    assert response.json() == {"data": {"viewer": {"id": "ann"}}}
