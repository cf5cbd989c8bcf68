"""What goes over one WebSocket, and how much of it; how many sockets and HTTP streams a user has open."""

import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect
from strawberry.asgi import ASGIWebSocketAdapter
from strawberry.http.exceptions import NonJsonMessageReceived, NonTextMessageReceived, WebSocketDisconnected

from server.transport.graphql_request import find_wrong_type, parse_json
from server.transport.graphql_response import encode_json
from server.transport.trusted_documents import find_document_id

#: The bytes of a close frame that are left for its reason (RFC 6455, 5.5).
REASON_BYTES = 123
#: Messages of any kind that a socket may send for each operation that it may begin.
MESSAGES_PER_OPERATION = 10
#: A longer message counts as several: reading its JSON takes as long.
MESSAGE_CHARACTERS = 4096

#: An id stands in every result: a long one would be a cheap way to a lot of traffic.
ID_CHARACTERS = 128

TOO_MANY_REQUESTS = 4429

#: Seconds that a client has for reading what is still to be sent, once its socket or stream is to be closed.
CLOSE_TIMEOUT = 5.0

#: The extension of the ASGI scope by which a message is sent without waiting (`WebSocketProtocol.send_at_once`).
SEND_AT_ONCE = "loquent.send_at_once"


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """How much is too much, of this process alone."""

    #: WebSockets and HTTP streams together.
    sockets_per_user: int = 100
    #: That run at the same time.
    operations_per_socket: int = 100
    #: That begin. After a pause as many may begin as may run: who comes back has all of them to begin again.
    operations_per_second: int = 50


class OpenSockets:
    """The open WebSockets and HTTP streams of each user: who is let in by `enter` must `leave` once."""

    def __init__(self, per_user: int) -> None:
        self._per_user = per_user
        self._open: Counter[str] = Counter()

    def enter(self, owner_id: str) -> bool:
        """Count one more; False, and nothing counted, where it is one too many."""
        if self._open[owner_id] >= self._per_user:
            return False
        self._open[owner_id] += 1
        return True

    def leave(self, owner_id: str) -> None:
        self._open[owner_id] -= 1
        if not self._open[owner_id]:
            del self._open[owner_id]

    def count(self, owner_id: str) -> int:
        return self._open.get(owner_id, 0)

    @property
    def total(self) -> int:
        return self._open.total()


class TokenBucket:
    """So many a second, and after a pause `burst` at once (default: as many)."""

    __slots__ = ("_burst", "_filled_at", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float | None = None) -> None:
        self._rate = rate
        self._burst = self._tokens = burst or rate
        self._filled_at = time.monotonic()

    def take(self, amount: int = 1) -> float:
        """0 where it is granted, else the seconds to wait; what takes more than there is, is paid for afterwards."""
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate
        self._tokens -= amount
        return 0


class WebSocketAdapter(ASGIWebSocketAdapter):
    """The messages of one socket: counted before they are read, and none once its close has begun.

    The view has `socket_limits: SocketLimits`.
    """

    def __init__(self, view: Any, request: WebSocket, response: WebSocket) -> None:
        super().__init__(view, request, response)
        self.closed = False
        #: The code that the server closed it with, if it did.
        self.close_code: int | None = None
        #: Called once, when a close begins: it may take long with a client that does not read.
        self.on_close: Callable[[], None] = lambda: None
        self._send_at_once: Callable[..., bool] = response.scope.get("extensions", {}).get(SEND_AT_ONCE, _never)
        self._traffic = TokenBucket(MESSAGES_PER_OPERATION * view.socket_limits.operations_per_second)

    async def iter_json(self, *, ignore_parsing_errors: bool = False) -> AsyncGenerator[object, None]:
        while True:
            try:
                received = await self.ws.receive()
            except RuntimeError:
                # It had ended already.
                return
            if self.closed or received["type"] == "websocket.disconnect":
                return
            text = received.get("text")
            if text is None:
                raise NonTextMessageReceived
            if self._traffic.take(1 + len(text) // MESSAGE_CHARACTERS):
                # No client does this on purpose, so it is told not to come back by itself: graphql-ws takes this
                # code as final.
                await self.close(TOO_MANY_REQUESTS, "Too many messages")
                return
            try:
                message = parse_json(text)
            except ValueError:
                raise NonJsonMessageReceived from None
            # The next may be long in coming.
            del received, text
            yield message

    async def send_json(self, message: Mapping[str, object]) -> None:
        """Raises `WebSocketDisconnected` where the socket is closed or closing."""
        if self.closed:
            raise WebSocketDisconnected
        text = encode_json(message)
        if self._send_at_once(text):
            return
        try:
            await self.ws.send_text(text.decode())
        except (WebSocketDisconnect, RuntimeError):
            # The client has left, or uvicorn has given it up because it answers no pings; then nothing else would
            # tell us until the system gives it up too, which takes minutes.
            self._begin_to_close()
            raise WebSocketDisconnected from None

    def send_at_once(self, *messages: bytes) -> bool:
        """Send messages, text in UTF-8, if that needs no waiting for the client; else False, and nothing is sent."""
        return not self.closed and self._send_at_once(*messages)

    async def close(self, code: int, reason: str) -> None:
        """Close it unless that has begun; a client that has left already is no failure."""
        if self.closed:
            return
        self._begin_to_close()
        self.close_code = code
        with suppress(WebSocketDisconnect, RuntimeError):
            await super().close(code, fit_reason(reason))

    def _begin_to_close(self) -> None:
        if not self.closed:
            self.closed = True
            self.on_close()


def _never(*messages: bytes) -> bool:
    """Another server than ours has no such way."""
    return False


def fit_reason(reason: str) -> str:
    """The reason as a close frame can carry it: printable, and cut at 123 bytes."""
    printable = "".join(character if character.isprintable() else "\ufffd" for character in reason)
    return printable.encode()[:REASON_BYTES].decode(errors="ignore")


def find_problem(message: Any) -> str | None:
    """What is wrong with a message, in words for a close frame; None where it is well-formed."""
    if not isinstance(message, dict):
        return "A message must be an object"
    match message.get("type"):
        case "connection_init" | "ping" | "pong":
            return None if _is_optional(message.get("payload"), dict) else "payload must be an object"
        case "subscribe":
            return _find_problem_of_id(message.get("id")) or _find_problem_of_payload(message.get("payload"))
        case "complete":
            return _find_problem_of_id(message.get("id"))
        case _:
            return "Unknown message type"


def _find_problem_of_id(id: Any) -> str | None:
    if not isinstance(id, str) or not 0 < len(id) <= ID_CHARACTERS:
        return f"id must be a text of 1 to {ID_CHARACTERS} characters"
    try:
        id.encode()
    except UnicodeEncodeError:
        return "id must be Unicode: it has half a surrogate pair"
    return None


def _find_problem_of_payload(payload: Any) -> str | None:
    if not isinstance(payload, dict):
        return "payload must be an object"
    if problem := find_wrong_type(payload):
        return problem
    has_document = isinstance(payload.get("query"), str) or find_document_id(payload) is not None
    return None if has_document else "query is missing"


def _is_optional(value: Any, type: type) -> bool:
    return value is None or isinstance(value, type)
