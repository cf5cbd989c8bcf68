"""uvicorn's WebSockets within limits: no application sees control frames, fragments and handshakes."""

import struct
from http import HTTPStatus
from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame, apply_mask  # type: ignore[attr-defined]
from websockets.protocol import State
from websockets.streams import StreamReader

from server.transport.sockets import CLOSE_TIMEOUT, SEND_AT_ONCE, TOO_MANY_REQUESTS, TokenBucket
from server.transport.waiting import Gate, Inbox
from server.transport.wire import PIECE, abort, close, format_refusal

#: The first byte of a frame that is a whole text; what the second adds to the length of a masked one, and the lengths
#: that say that the next bytes have it (RFC 6455, 5.2).
FINAL_TEXT, MASKED, TWO_BYTES, EIGHT_BYTES = 0x81, 0x80, 126, 127

#: Of one socket, control frames and fragments among them.
FRAMES_PER_SECOND = 2000
FRAMES_AT_ONCE = 4000
#: Fragments of one message that are kept apart: each of them costs more memory than its bytes.
FRAGMENTS = 256


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's, with a budget of frames; what it holds back for a client that does not read is bounded.

    Most sockets do nothing most of the time: they keep little.
    """

    # Python shares the names of up to 30 attributes between all objects of a class; with more, each object has a
    # dictionary of its own, of 1.5 kB. These are not counted.
    __slots__ = (
        "_frames",
        "_late_pongs",
        "app",
        "app_state",
        "asgi_version",
        "config",
        "connections",
        "default_headers",
        "logger",
        "loop",
        "root_path",
        "server",
        "tasks",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.queue = Inbox()  # type: ignore[assignment]
        self.writable = Gate()  # type: ignore[assignment]
        self._frames = TokenBucket(FRAMES_PER_SECOND, FRAMES_AT_ONCE)
        self._late_pongs: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        """Parse piece by piece: uvicorn would parse everything before it looks at the first frame."""
        if self._take_message(data):
            return
        for start in range(0, len(data), PIECE):
            if self.transport.is_closing():
                return
            super().data_received(data[start : start + PIECE])

    def _take_message(self, data: bytes) -> bool:
        """Take a short text message that has come as one frame, as nearly all do, without the parser.

        False, and nothing is taken, for anything else, and where the parser has to judge it (RFC 6455, 5.2).
        """
        if not 6 <= len(data) <= min(PIECE, self.config.ws_max_size) or data[0] != FINAL_TEXT:
            return False
        # Of a frame without a mask, which no client may send, it is less than nothing.
        mask_at, length = 2, data[1] - MASKED
        if length == TWO_BYTES:
            mask_at, length = 4, int.from_bytes(data[2:4], "big")
        elif length == EIGHT_BYTES:
            return False
        text_at = mask_at + 4
        if len(data) != text_at + length or self._is_amid() or self._frames.take():
            return False
        try:
            text = apply_mask(data[text_at:], data[mask_at:text_at]).decode()
        except UnicodeDecodeError:
            return False
        is_awaited = cast(Inbox, self.queue).is_awaited
        self.queue.put_nowait({"type": "websocket.receive", "text": text})
        if not is_awaited and not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()
        return True

    def _is_amid(self) -> bool:
        """Whether the parser is in the middle of a frame or a message, or the socket is not open."""
        if self.conn.state is not State.OPEN or self.conn.current_size is not None:
            return True
        waits: Any = self.conn.parser
        while waits.gi_yieldfrom is not None:
            waits = waits.gi_yieldfrom
        # For the first byte of a frame, or else for more of one.
        return waits.gi_code is not StreamReader.at_eof.__code__

    def handle_events(self) -> None:
        if not self.handshake_initiated and self.conn.handshake_exc is not None:
            self._refuse_handshake()
            return
        count = len(self.conn.events)
        if count and self._frames.take(count):
            self.conn.fail(TOO_MANY_REQUESTS, "Too many frames")
            self.handle_parser_exception()
            return
        try:
            super().handle_events()
        except InvalidState:
            # A text that is no UTF-8, and then a close frame: it has been answered, and uvicorn would close once more.
            self.handle_parser_exception()

    def _refuse_handshake(self) -> None:
        """Send the refusal: uvicorn knows only what can be read, and would leave the client without an answer."""
        refusal = b"".join(self.conn.data_to_send())
        self.transport.write(refusal or format_refusal(HTTPStatus.BAD_REQUEST, "This is no WebSocket handshake."))
        close(self)

    def start_keepalive(self) -> None:
        """Forget the handshake, which has been answered: that of a browser is longer than all that follows."""
        super().start_keepalive()
        # The parser holds the request too.
        self.request.headers.clear()
        del self.request, self.response
        cast(list[Any], self.scope["headers"]).clear()

    def handle_cont(self, event: Frame) -> None:
        super().handle_cont(event)
        if len(self.frames) > FRAGMENTS:
            # Their bytes are limited, their number is not: most may be empty.
            self.frames = [b"".join(self.frames)]

    def handle_ping(self) -> None:
        """Answer only the latest pings of a client that does not read, once it does (RFC 6455, 5.5.3)."""
        # Once there is a close frame, it stands behind the pongs.
        if self.writable.is_set() or self.conn.state is not State.OPEN:
            super().handle_ping()
        elif pongs := self.conn.data_to_send():
            self._late_pongs = pongs

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._late_pongs and not self.transport.is_closing():
            pongs, self._late_pongs = self._late_pongs, []
            self.transport.write(b"".join(pongs))

    def handle_parser_exception(self) -> None:
        if self.conn.close_sent is None:
            # Frames before the handshake was answered: no close frame can be sent yet, and uvicorn counts on one.
            self.transport.abort()
            return
        super().handle_parser_exception()
        close(self)

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        close(self)

    def send_at_once(self, message: bytes, *more: bytes) -> bool:
        """Send messages, text in UTF-8, unless the client is slow or the socket not open: then False, and no byte is.

        As an ASGI extension in the scope. What goes through ASGI's `send` costs three times as much, and most
        messages are small pieces of text.
        """
        if not self.writable.is_set() or self.conn.state is not State.OPEN or self.transport.is_closing():
            return False
        data = _text_frame_head(len(message)) + message
        for each in more:
            data += _text_frame_head(len(each)) + each
        self.transport.write(data)
        return True

    async def run_asgi(self) -> None:
        extensions: dict[str, Any] = self.scope.get("extensions") or {}
        self.scope["extensions"] = {**extensions, SEND_AT_ONCE: self.send_at_once}  # type: ignore[dict-item]
        try:
            await super().run_asgi()
        finally:
            # It holds this object, and this object the scope: neither would go before the next search for garbage.
            self.scope["extensions"] = extensions
            # uvicorn closes the socket now or in `close_timeout`, and then waits until everything has been read.
            self.loop.call_later(self.close_timeout + CLOSE_TIMEOUT, abort, self)


def _text_frame_head(length: int) -> bytes:
    """The head of a whole, unmasked text frame (RFC 6455, 5.2)."""
    if length < TWO_BYTES:
        return bytes((FINAL_TEXT, length))
    if length < 2**16:
        return struct.pack("!BBH", FINAL_TEXT, TWO_BYTES, length)
    return struct.pack("!BBQ", FINAL_TEXT, EIGHT_BYTES, length)
