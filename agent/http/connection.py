"""One HTTP/1.1 connection to a server whose answers are streams: one request at a time, no task for each piece."""

import asyncio
from collections.abc import Callable
from typing import TypeAlias

import httptools
import httpx2

from agent.http.socket_channel import Channel

#: Bytes that are read ahead of a reader that is slower than the server.
READ_AHEAD = 256 * 1024
CLOSED_HERE = "The connection was closed on this side."

#: Is given a piece of the body, right when it has come; tells whether it wants the next one in the same way.
Take: TypeAlias = Callable[[bytes], bool]
Headers: TypeAlias = list[tuple[bytes, bytes]]


class Connection:
    """Sends a request and hands on its answer. Errors are `httpx2.TransportError`."""

    __slots__ = (
        "__weakref__",
        "_body",
        "_channel",
        "_ended",
        "_ends_by_closing",
        "_failure",
        "_head_came",
        "_headers",
        "_held",
        "_last_byte",
        "_loop",
        "_on_closed",
        "_parser",
        "_paused",
        "_read_timeout",
        "_refusal",
        "_reusable",
        "_silence",
        "_status",
        "_take",
        "_waiter",
        "closed",
    )

    _parser: httptools.HttpResponseParser

    def __init__(self, channel: Channel, on_closed: "Callable[[Connection], None]") -> None:
        self.closed = False
        self._channel = channel
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self._status = 0
        self._headers: Headers = []
        #: What has come of the body and was not taken, and about how many bytes that is.
        self._body: list[bytes] = []
        self._held = 0
        self._paused = False
        #: Nothing is asked for before the first request, and no more than was asked for after the end.
        self._head_came = self._ended = True
        self._reusable = self._ends_by_closing = False
        self._take: Take | None = None
        #: What has happened to the connection, and what its reader has raised.
        self._failure: Exception | None = None
        self._refusal: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._read_timeout: float | None = None
        self._last_byte = 0.0
        self._silence: asyncio.TimerHandle | None = None
        channel.listen(self._receive, self._break)

    # For who asks.

    def is_usable(self) -> bool:
        """Look whether the server has ended it since the last answer."""
        self._channel.read()
        return not self.closed

    async def send(self, request: bytes, read_timeout: float | None) -> tuple[int, Headers]:
        """Send a whole request; gives status and headers of the answer. No byte may take `read_timeout` seconds."""
        if self.closed:
            self._raise_failure()
        self._parser = httptools.HttpResponseParser(self)
        self._headers, self._body, self._held, self._failure = [], [], 0, None
        self._head_came = self._ended = self._reusable = self._ends_by_closing = False
        self._read_timeout, self._last_byte = read_timeout, self._loop.time()
        self._watch_silence()
        try:
            self._channel.write(request)
        except OSError as error:
            self._break(error)
        while not self._head_came:
            self._raise_failure()
            await self._wait()
        headers, self._headers = self._headers, []
        return self._status, headers

    async def feed(self, take: Take) -> bool:
        """Hand each piece of the body to `take` when it comes, until it refuses the next or the body ends.

        Gives whether more may come. `take` runs outside of any task; what it raises is raised here.
        """
        while True:
            if self._body:
                if not take(self._release_body()):
                    return True
            elif self._ended:
                return False
            else:
                self._raise_failure()
                self._take = take
                try:
                    await self._wait()
                finally:
                    refused, self._take = self._take is None, None
                if self._refusal is not None:
                    raise self._refusal
                if refused:
                    return True

    def finish(self) -> bool:
        """The answer is read, or not wanted any more; gives whether the connection may be used again."""
        self._stop_watching()
        self._body = []
        # One that is paused would not notice the next answer.
        if not self._ended or not self._reusable or self._paused or self._channel.is_sending:
            self.close()
        # The parser holds this object, and an error that was raised holds it by its traceback.
        self._parser = self._refusal = None  # type: ignore[assignment]
        self._failure = httpx2.ReadError(CLOSED_HERE) if self.closed else None
        return not self.closed

    def close(self) -> None:
        """Close it at once. Who still reads gets an error."""
        if not self.closed:
            self._lose(httpx2.ReadError(CLOSED_HERE))

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _release_body(self) -> bytes:
        data = b"".join(self._body)
        self._body, self._held = [], 0
        if self._paused:
            self._paused = False
            # The silence was this side's.
            self._last_byte = self._loop.time()
            try:
                self._channel.resume()
            except OSError as error:
                self._break(error)
        return data

    # Time-outs: one timer for the whole answer, that looks when the last byte came.

    def _watch_silence(self) -> None:
        if self._read_timeout is None:
            return
        left = self._read_timeout - (self._loop.time() - self._last_byte)
        if self._paused:
            left = self._read_timeout
        if left > 0:
            self._silence = self._loop.call_later(left, self._watch_silence)
        else:
            self._fail(httpx2.ReadTimeout("The server was silent for too long."))

    def _stop_watching(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def _fail(self, failure: Exception) -> None:
        self._failure = self._failure or failure
        self._wake()

    def _lose(self, failure: Exception) -> None:
        """The connection is of no more use."""
        if not self.closed:
            self.closed = True
            self._channel.close()
            self._stop_watching()
            self._on_closed(self)
        self._fail(failure)

    # What the channel tells.

    def _receive(self, data: bytes) -> None:
        if not data:
            if self._ends_by_closing and not self._ended:
                self._ended = True
            self._lose(httpx2.RemoteProtocolError("The connection broke."))
            return
        if self._ended:
            # Nobody asked: what follows can not be told from the next answer.
            self.close()
            return
        self._last_byte = self._loop.time()
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._lose(httpx2.RemoteProtocolError("The answer is not HTTP/1.1."))
            return
        if self._take is not None and self._body:
            self._hand_on(self._take)
        elif self._waiter is not None:
            self._wake()
        if self._body:
            self._hold(len(data))

    def _hand_on(self, take: Take) -> None:
        self._channel.count(len(self._body))
        data, self._body = b"".join(self._body), []
        try:
            wants_more = take(data)
        except Exception as failure:
            # It would end here unseen: it is the reader's.
            self._take, self._refusal = None, failure
            self._wake()
        else:
            if not wants_more:
                self._take = None
            if not wants_more or self._ended:
                self._wake()

    def _hold(self, size: int) -> None:
        self._held += size
        if self._held > READ_AHEAD and not self._paused:
            self._paused = True
            self._channel.pause()

    def _break(self, error: OSError) -> None:
        self._lose(httpx2.RemoteProtocolError(f"The connection broke: {error}"))

    # What the parser tells.

    def on_message_begin(self) -> None:
        if self._ended:
            # Another answer right behind: nobody asked for it.
            self._reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._ended:
            return
        self._status = self._parser.get_status_code()
        if self._status < 200:
            # One that goes before the answer.
            self._headers = []
            return
        self._head_came = True
        headers = {name.lower(): value.lower() for name, value in self._headers}
        self._ends_by_closing = b"content-length" not in headers and b"chunked" not in headers.get(
            b"transfer-encoding", b""
        )

    def on_body(self, data: bytes) -> None:
        if not self._ended:
            self._body.append(data)

    def on_message_complete(self) -> None:
        if self._head_came and not self._ended:
            self._ended = True
            self._reusable = self._parser.should_keep_alive()
