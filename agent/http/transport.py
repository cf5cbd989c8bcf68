"""HTTP/1.1 for an HTTP client of httpx2, with as little as possible between the socket and who reads an answer.

Everything else (keys, headers, redirects, time-outs, errors) is the client's.
"""

import asyncio
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import httpx2

from agent.http.connection import Connection, Take
from agent.http.happy_eyeballs import open_socket
from agent.http.socket_channel import Channel, TlsChannel
from agent.http.socket_poller import make_poller

#: Seconds that a connection is kept for the next request, and how many to one server are.
KEEP_ALIVE, MOST_IDLE = 30.0, 200

#: Scheme, host, port, and the name that its certificate must have.
Origin: TypeAlias = tuple[str, str, int, str]


class StreamingTransport(httpx2.AsyncBaseTransport):
    """Connections to servers, kept and used again; there may be any number at a time.

    Its responses have their `AnswerBody` in `extensions["answer_body"]`.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        if tls is None:
            tls = httpx2.create_ssl_context()
            tls.set_alpn_protocols(["http/1.1"])
        self._tls = tls
        self._idle: defaultdict[Origin, dict[Connection, asyncio.TimerHandle]] = defaultdict(dict)
        self._closed = False
        self._poller = make_poller()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; gives the response once its head has come. Raises `httpx2.TransportError`."""
        return await PreparedRequest(self, request).send(await request.aread())

    async def connect(self, origin: Origin, timeout: float | None) -> Connection:
        """A connection for one request, new within `timeout` seconds or kept. Raises `httpx2.TransportError`."""
        return self._take_idle(origin) or await self._open_connection(origin, timeout)

    async def aclose(self) -> None:
        """Close the connections that no answer is read from; the others close when theirs has ended."""
        self._closed = True
        for idle in self._idle.values():
            for connection in list(idle):
                connection.close()

    def keep(self, origin: Origin, connection: Connection) -> None:
        """Take back a connection whose answer has ended."""
        idle = self._idle[origin]
        if self._closed or len(idle) >= MOST_IDLE:
            connection.close()
        else:
            idle[connection] = asyncio.get_running_loop().call_later(KEEP_ALIVE, connection.close)

    def _take_idle(self, origin: Origin) -> Connection | None:
        idle = self._idle.get(origin)
        while idle:
            connection, expiry = idle.popitem()
            expiry.cancel()
            if connection.is_usable():
                return connection
        return None

    async def _open_connection(self, origin: Origin, timeout: float | None) -> Connection:
        try:
            async with asyncio.timeout(timeout):
                channel = await self._open(origin)
            try:
                return Connection(channel, self._forget)
            except OSError:
                channel.close()
                raise
        except TimeoutError as error:
            raise httpx2.ConnectTimeout("Connecting took too long.") from error
        except OSError as error:
            raise httpx2.ConnectError(str(error)) from error

    async def _open(self, origin: Origin) -> Channel:
        scheme, host, port, name = origin
        connected = await open_socket(host, port)
        if scheme != "https":
            return Channel(connected, self._poller)
        try:
            channel = TlsChannel(connected, self._poller, self._tls, name)
            await channel.shake_hands()
        except BaseException:
            connected.close()
            raise
        return channel

    def _forget(self, connection: Connection) -> None:
        for idle in self._idle.values():
            if expiry := idle.pop(connection, None):
                expiry.cancel()


class PreparedRequest:
    """A request that may be sent any number of times, each time with another body."""

    __slots__ = ("_head", "_origin", "_timeouts", "_transport")

    def __init__(self, transport: StreamingTransport, request: httpx2.Request) -> None:
        """All of `request` but its body and its length. Raises `httpx2.TransportError`."""
        self._transport = transport
        self._origin = _origin(request)
        self._head = _write_head(request)
        self._timeouts: dict[str, float | None] = request.extensions.get("timeout", {})

    async def send(self, body: bytes) -> httpx2.Response:
        """As `StreamingTransport.handle_async_request`."""
        connection = await self._transport.connect(self._origin, self._timeouts.get("connect"))
        try:
            message = self._head % len(body) + body
            status, headers = await connection.send(message, self._timeouts.get("read"))
        except BaseException:
            connection.close()
            connection.finish()
            raise
        answer = AnswerBody(self._transport, self._origin, connection)
        extensions: dict[str, Any] = {"http_version": b"HTTP/1.1", "answer_body": answer}
        return httpx2.Response(status, headers=headers, stream=answer, extensions=extensions)


class AnswerBody(httpx2.AsyncByteStream):
    """The body of a response, as it comes."""

    def __init__(self, pool: StreamingTransport, origin: Origin, connection: Connection) -> None:
        self._pool, self._origin = pool, origin
        self._connection: Connection | None = connection

    async def feed(self, take: Take) -> bool:
        """As `Connection.feed`."""
        if self._connection is None:
            raise httpx2.StreamClosed
        return await self._connection.feed(take)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces: list[bytes] = []

        def take(piece: bytes) -> bool:
            pieces.append(piece)
            return False

        while await self.feed(take):
            yield pieces.pop()

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and connection.finish():
            self._pool.keep(self._origin, connection)


def _origin(request: httpx2.Request) -> Origin:
    url = request.url
    if url.scheme not in ("http", "https"):
        raise httpx2.UnsupportedProtocol(f"{url.scheme!r} is not HTTP.")
    host = url.raw_host.decode()
    port = url.port or (443 if url.scheme == "https" else 80)
    return url.scheme, host, port, request.extensions.get("sni_hostname", host)


def _write_head(request: httpx2.Request) -> bytes:
    """The head of a request, as a format with the length of its body."""
    lines = [b"%b %b HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [b"%b: %b" % header for header in request.headers.raw if header[0].lower() != b"content-length"]
    if any(b"\n" in line or b"\r" in line or b"\0" in line for line in lines):
        # A key with a line feed at its end would write headers of its own.
        raise httpx2.LocalProtocolError("A header must be one line.")
    if "transfer-encoding" in request.headers:
        raise httpx2.LocalProtocolError("The body of a request must have a known length.")
    return b"\r\n".join(lines).replace(b"%", b"%%") + b"\r\nContent-Length: %d\r\n\r\n"
