"""The Anthropic Messages API on the wire, answered by a script.

Development without a key and all tests talk to it in place of the real API, through the real SDK.
"""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

import orjson
import uvicorn
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from agent.stand_in.answers import FAILURES, Answer, Refusal, Respond
from agent.stand_in.events import Event, make_events, make_message, split_tokens, spoil
from agent.stand_in.rules import JSON, find_complaint

logger = logging.getLogger(__name__)

SHORTEST_PAUSE = 0.005
"""Seconds. A stream faster than this per token sends several tokens per write."""

LARGEST_WRITE = 32
"""Events. After so many the stream lets others run and looks whether its client is still there."""


class _ClientLeft(Exception):
    pass


class _Exchange:
    """One HTTP request whose body is read; watches for the client's leaving while the answer is written."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.id = f"req_{secrets.token_hex(12)}"
        self._transport: asyncio.Transport = scope["state"]["transport"]
        self._send = send
        self._leaving: asyncio.Future[Message] = asyncio.ensure_future(receive())

    async def start(self, status: int, content_type: str, headers: Mapping[str, str] | None = None) -> None:
        named = {"content-type": content_type, "request-id": self.id, **(headers or {})}
        encoded = [(name.encode(), value.encode()) for name, value in named.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})

    async def write(self, body: bytes, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def pause(self, seconds: float | None) -> None:
        """Waits so long, or for ever; raises `_ClientLeft` as soon as the client does."""
        await asyncio.wait((self._leaving,), timeout=seconds)
        if self._leaving.done():
            raise _ClientLeft

    async def cut(self) -> None:
        """Closes the connection after what was written, as a server that died would."""
        self._transport.close()
        await self.pause(None)

    def end(self) -> None:
        self._leaving.cancel()


class ModelServer:
    """The scripted model: where it listens, what it was asked, and how many streams it is writing now."""

    def __init__(self, respond: Respond, tokens_per_second: float) -> None:
        self.base_url = ""
        self.requests: deque[JSON] = deque(maxlen=1000)
        self.open_streams = 0
        self._respond = respond
        self._rate = tokens_per_second

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read_body(receive)
        if body is None:
            return
        exchange = _Exchange(scope, receive, send)
        try:
            await self._converse(exchange, self._check(scope, body))
        except _ClientLeft:
            pass
        finally:
            exchange.end()

    def _check(self, scope: Scope, body: bytes) -> JSON | Refusal:
        if (scope["method"], scope["path"]) != ("POST", "/v1/messages"):
            return Refusal(404, "not_found_error", "Not found")
        if not {b"x-api-key", b"authorization"} & dict(scope["headers"]).keys():
            return Refusal(401, "authentication_error", "x-api-key header is required")
        try:
            request = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            return Refusal(400, "invalid_request_error", f"The request body is not valid JSON: {error}")
        if not isinstance(request, dict):
            return Refusal(400, "invalid_request_error", "The request body must be an object")
        self.requests.append(request)
        complaint = find_complaint(request)
        return Refusal(400, "invalid_request_error", complaint) if complaint else request

    async def _converse(self, exchange: _Exchange, request: JSON | Refusal) -> None:
        if isinstance(request, Refusal):
            await _refuse(exchange, request)
            return
        answer = self._ask(request)
        if isinstance(answer, Refusal):
            await _refuse(exchange, answer)
        elif request.get("stream"):
            await self._stream(exchange, answer, make_message(request, answer))
        else:
            await self._tell(exchange, answer, make_message(request, answer))

    def _ask(self, request: JSON) -> Answer | Refusal:
        try:
            return self._respond(request)
        except Exception:
            logger.exception("The script of the model failed")
            return FAILURES["api_error"]

    def _seconds_per_token(self, answer: Answer) -> float:
        rate = self._rate if answer.tokens_per_second is None else answer.tokens_per_second
        return 1 / rate if rate else 0.0

    async def _stream(self, exchange: _Exchange, answer: Answer, message: JSON) -> None:
        events: Iterable[Event] = make_events(message, answer)
        if answer.fault:
            events = spoil(list(events), answer.fault)
        self.open_streams += 1
        try:
            await exchange.start(200, "text/event-stream; charset=utf-8", {"cache-control": "no-cache"})
            await _write_events(exchange, events, answer.first_token_delay, self._seconds_per_token(answer))
        finally:
            self.open_streams -= 1

    async def _tell(self, exchange: _Exchange, answer: Answer, message: JSON) -> None:
        fault = answer.fault.kind if answer.fault else None
        tokens = sum(len(split_tokens(block)) for block in answer.blocks)
        await exchange.pause(answer.first_token_delay + tokens * self._seconds_per_token(answer))
        if fault == "stall":
            await exchange.pause(None)
        elif fault == "cut":
            await exchange.cut()
        elif fault in FAILURES:
            await _refuse(exchange, FAILURES[fault])
        else:
            body = orjson.dumps(message)
            await _answer(exchange, 200, body[:-1] if fault == "malformed_json" else body)


async def _write_events(exchange: _Exchange, events: Iterable[Event], delay: float, interval: float) -> None:
    """Writes events, their tokens `interval` seconds apart; a late token does not delay those after it."""
    now = asyncio.get_running_loop().time
    due = now() + delay
    unsent: list[bytes] = []
    for event in events:
        early = due - now() if event.is_token else 0
        if early > 0 or event.then or len(unsent) == LARGEST_WRITE:
            await exchange.write(b"".join(unsent))
            await exchange.pause(max(early, SHORTEST_PAUSE) if early > 0 else 0)
            unsent.clear()
        if event.then == "cut":
            await exchange.cut()
        elif event.then == "stall":
            await exchange.pause(None)
        if event.is_token:
            due += interval
        unsent.append(event.data)
    await exchange.write(b"".join(unsent), more=False)


async def _answer(exchange: _Exchange, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
    await exchange.start(status, "application/json", {"content-length": str(len(body)), **(headers or {})})
    await exchange.write(body, more=False)


async def _refuse(exchange: _Exchange, refusal: Refusal) -> None:
    error = {"type": refusal.type, "message": refusal.message}
    body = orjson.dumps({"type": "error", "error": error, "request_id": exchange.id})
    headers = {} if refusal.retry_after is None else {"retry-after": f"{refusal.retry_after:g}"}
    await _answer(exchange, refusal.status, body, headers)


async def _read_body(receive: Receive) -> bytes | None:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message["body"]
        if not message["more_body"]:
            return bytes(body)


class _Connection(HttpToolsProtocol):
    """uvicorn's HTTP, with the socket within the application's reach and no access log."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {"transport": transport}
        self.access_log = False


@asynccontextmanager
async def serve_model(
    respond: Respond, *, tokens_per_second: float = 0, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[ModelServer]:
    """Serves the script on an address (port 0: any that is free) in the running loop; leaving drops every connection.

    The rate is for answers that name none; 0 is as fast as possible. A script that raises is logged and
    answers 500.
    """
    model = ModelServer(respond, tokens_per_second)
    # Not uvicorn.Server: that one takes over the process's signals and needs two tenths of a second to stop.
    config = uvicorn.Config(model, log_config=None, ws="none", proxy_headers=False, timeout_keep_alive=600)
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: _Connection(config, state, {}), host, port, backlog=config.backlog)
    model.base_url = f"http://{host}:{listener.sockets[0].getsockname()[1]}"
    try:
        yield model
    finally:
        listener.close()
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.gather(*state.tasks, return_exceptions=True)
        await listener.wait_closed()
