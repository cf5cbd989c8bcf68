"""Many results in one HTTP response: server-sent events, and multipart as Apollo has it."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from server.transport.sockets import CLOSE_TIMEOUT


class Framing(Protocol):
    """How results follow each other in one response body."""

    content_type: str
    #: Seconds of silence after which the client, and whoever stands between, is told that the stream lives.
    heartbeat_interval: float
    opening: bytes
    heartbeat: bytes
    closing: bytes

    def frame(self, result: bytes) -> bytes:
        """One result, in JSON without line breaks."""

    def frame_failure(self, errors: bytes) -> bytes:
        """The end of a stream that the server breaks off; `errors` is a JSON list."""


class EventFraming:
    """https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md#distinct-connections-mode"""

    content_type = "text/event-stream; charset=utf-8"
    heartbeat_interval = 12.0
    opening = heartbeat = b":\n\n"
    # Browsers drop an event that has no data.
    closing = b"event: complete\ndata: \n\n"

    def frame(self, result: bytes) -> bytes:
        return b"event: next\ndata: %b\n\n" % result

    def frame_failure(self, errors: bytes) -> bytes:
        return self.frame(b'{"errors":%b}' % errors) + self.closing


class MultipartFraming:
    """https://www.apollographql.com/docs/graphos/routing/operations/subscriptions/multipart-protocol"""

    content_type = 'multipart/mixed; boundary="graphql"; subscriptionSpec="1.0"'
    heartbeat_interval = 5.0
    closing = b"--\r\n"

    def __init__(self) -> None:
        self.heartbeat = self._part(b"{}")
        self.opening = b"\r\n--graphql" + self.heartbeat

    def frame(self, result: bytes) -> bytes:
        return self._part(b'{"payload":%b}' % result)

    def frame_failure(self, errors: bytes) -> bytes:
        return self._part(b'{"payload":null,"errors":%b}' % errors) + self.closing

    def _part(self, body: bytes) -> bytes:
        # The boundary stands behind each part, so that it is read at once and not with the next.
        return b"\r\nContent-Type: application/json\r\n\r\n%b\r\n--graphql" % body


class StreamResponse(Response):
    """Sends results as they come, until they end, the client leaves, its token ends or the server does.

    Results are closed in every case before the response is over. A server that stops breaks the connection off,
    which tells the client to come again; the ordinary end would tell it that all is said.
    """

    def __init__(
        self,
        results: AsyncGenerator[bytes],
        framing: Framing,
        *,
        expires_at: float,
        expiry: bytes,
        on_close: Callable[[], None],
    ) -> None:
        """`expires_at` in seconds since 1970; `expiry` is the list of errors, in JSON, that the client is then told."""
        self.status_code = 200
        self.background = None
        self.init_headers({**_HEADERS, "Content-Type": framing.content_type})
        self._results = results
        self._framing = framing
        self._expires_at = expires_at
        self._expiry = expiry
        self._on_close = on_close
        self._sending: asyncio.Task[None] | None = None
        self._broken_off = False
        self._last_sent = 0.0
        self._writing = asyncio.Lock()

    def break_off(self) -> None:
        """End the connection in the middle, also if it has not begun yet."""
        self._broken_off = True
        if self._sending is not None:
            self._sending.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            self._sending = asyncio.create_task(self._send_all(send))
            if self._broken_off:
                self._sending.cancel()
            beside = [asyncio.create_task(self._watch(receive)), asyncio.create_task(self._keep_alive(send))]
            try:
                # Not awaited by itself: its cancellation is an end, ours is not.
                await asyncio.wait([self._sending])
            finally:
                for task in (self._sending, *beside):
                    task.cancel()
                await asyncio.gather(self._sending, *beside, return_exceptions=True)
            if not self._sending.cancelled():
                self._sending.result()
        finally:
            self._on_close()
            await self._results.aclose()

    async def _send_all(self, send: Send) -> None:
        framing = self._framing
        await self._write(send, framing.opening)
        ending = framing.closing
        async with aclosing(self._results) as results:
            try:
                async with asyncio.timeout(max(0, self._expires_at - time.time())):
                    async for result in results:
                        await self._write(send, framing.frame(result))
            except TimeoutError:
                ending = framing.frame_failure(self._expiry)
        with suppress(TimeoutError):
            # A client that reads nothing would have its stream for ever.
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._write(send, ending, more=False)

    async def _write(self, send: Send, data: bytes, *, more: bool = True) -> None:
        async with self._writing:
            self._last_sent = asyncio.get_running_loop().time()
            await send({"type": "http.response.body", "body": data, "more_body": more})
        # A replay that is all there never waits: without this its reader could not leave in the middle.
        await asyncio.sleep(0)

    async def _keep_alive(self, send: Send) -> None:
        loop, interval = asyncio.get_running_loop(), self._framing.heartbeat_interval
        while True:
            await asyncio.sleep(max(0.01, self._last_sent + interval - loop.time()))
            if loop.time() - self._last_sent >= interval:
                await self._write(send, self._framing.heartbeat)

    async def _watch(self, receive: Receive) -> None:
        with suppress(OSError):
            await until_disconnect(receive)
        self.break_off()


async def until_disconnect(receive: Receive) -> None:
    """Wait until a client whose request was read has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


_HEADERS = {
    "Cache-Control": "no-store, no-transform",
    # A proxy must not gather what is to be seen at once.
    "X-Accel-Buffering": "no",
}
