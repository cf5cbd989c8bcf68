"""HTTP in tests, from both sides: a server that a test scripts, and the client whose transport is tested."""

import asyncio
import contextlib
import random
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx2
import pytest

from agent.http.transport import AnswerBody, StreamingTransport
from tests.conftest import PATIENCE

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKED_HELLO = CHUNKED + b"2\r\nhe\r\n3;extension\r\nllo\r\n0\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhello"
WITH_TRAILER = CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
#: That many bytes no two sockets hold.
LONG = random.Random(7).randbytes(24 * 1024 * 1024)

#: For what must be so whatever this system's way of reading sockets is.
over_each_poller = pytest.mark.usefixtures("_each_poller")


class Visit:
    """One connection, from the server's side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.written = 0

    async def read_request(self) -> bytes:
        """Head and body; nothing once the client has hung up."""
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
        return head + await self._reader.readexactly(int(length.partition(b":")[2]))

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()
        self.written += len(data)

    async def hung_up(self) -> None:
        """Return once the client has closed the connection."""
        try:
            while await self._reader.read(1000):
                pass
        except ConnectionError:
            pass

    async def read_some(self, length: int) -> None:
        """A part of what the client says."""
        await self._reader.readexactly(length)

    def hang_up(self) -> None:
        self._writer.close()

    def cut_off(self) -> None:
        """End it at once, as far as the system is concerned, and without a word of TLS."""
        self._writer.get_extra_info("socket").shutdown(socket.SHUT_WR)


class Raw:
    """A server that says what a test wants, byte for byte."""

    def __init__(self, converse: Callable[[Visit], Awaitable[None]]) -> None:
        self.url = ""
        self.visits: list[Visit] = []
        self.open = 0
        self._converse = converse

    async def welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = Visit(reader, writer)
        self.visits.append(visit)
        self.open += 1
        try:
            await self._converse(visit)
        except ConnectionError:
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def serve(
    converse: Callable[[Visit], Awaitable[None]], *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Raw]:
    raw = Raw(converse)
    server = await asyncio.start_server(raw.welcome, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    raw.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/"
    try:
        yield raw
    finally:
        server.close()


def saying(*pieces: bytes, hang_up: bool = False) -> Callable[[Visit], Awaitable[None]]:
    """Answers every request so, a pause between two pieces."""

    async def converse(visit: Visit) -> None:
        while await visit.read_request():
            for piece in pieces:
                await visit.write(piece)
                await asyncio.sleep(0.001)
            if hang_up:
                return

    return converse


def client(
    *, read: float = PATIENCE, connect: float = PATIENCE, tls: ssl.SSLContext | None = None
) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        transport=StreamingTransport(tls), timeout=httpx2.Timeout(PATIENCE, read=read, connect=connect)
    )


async def one_of_some_tries(ask: Callable[[], Awaitable[None]]) -> None:
    """Ask until the answer is not too late: others use this machine, too, and pauses of theirs count as silence."""
    for _ in range(4):
        with contextlib.suppress(httpx2.ReadTimeout):
            return await ask()
    return await ask()


def body_of(response: httpx2.Response) -> AnswerBody:
    body = response.extensions["answer_body"]
    assert isinstance(body, AnswerBody)
    return body


def address_of(server: Raw) -> tuple[str, int]:
    url = httpx2.URL(server.url)
    return url.host, url.port or 0
