"""The Anthropic Messages API on the wire, answered by a script.

Development without a key and all tests talk to it in place of the real API, through the real SDK.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import orjson
import uvicorn
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from agent.messages_rules import JSON, find_complaint

logger = logging.getLogger(__name__)

SHORTEST_PAUSE = 0.005
"""Seconds. A stream faster than this per token sends several tokens per write."""

LARGEST_WRITE = 32
"""Events. After so many the stream lets others run and looks whether its client is still there."""

TOKEN = re.compile(r"\s*\S{1,20}|\s+")


@dataclass(frozen=True, slots=True)
class Text:
    """A text block; `tokens` are the exact deltas to send, otherwise the text is cut into words."""

    text: str
    tokens: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Thinking:
    """A thinking block: its deltas, then its signature."""

    text: str
    signature: str = "cmVoZWFyc2Fs"


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call of a tool; `raw` is streamed in place of the parameters, to send malformed arguments."""

    tool: str
    parameters: Mapping[str, Any]
    id: str | None = None
    raw: str | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong in a stream once `after_tokens` deltas are out, or before its end if it has fewer.

    `cut` drops the connection; `malformed_json` and `unknown_event` send one such event and go on;
    `overloaded` and `api_error` end with an error event; `stall` sends nothing more; `no_stop` ends the body
    as if all were said. Without streaming `cut` and `stall` give no answer, `overloaded` and `api_error` a
    refusal, `malformed_json` a body that is no JSON, and the other two mean nothing.
    """

    after_tokens: int
    kind: Literal["cut", "malformed_json", "unknown_event", "overloaded", "api_error", "stall", "no_stop"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP error in place of an answer; `retry_after` in seconds."""

    status: int
    type: str
    message: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says.

    `stop_reason` defaults to `tool_use` when a tool is called, else `end_turn`; `first_token_delay` is in
    seconds; a rate of None is the server's. Token counts default to the number of deltas sent, four
    characters of the request a token, and nothing cached.
    """

    blocks: Sequence[Text | Thinking | ToolUse]
    stop_reason: str | None = None
    first_token_delay: float = 0.0
    tokens_per_second: float | None = None
    fault: Fault | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None


Respond: TypeAlias = Callable[[JSON], Answer | Refusal]
"""From the request's JSON body to what the model does."""

FAILURES = {
    "overloaded": Refusal(529, "overloaded_error", "Overloaded"),
    "api_error": Refusal(500, "api_error", "Internal server error"),
}


# The events of a stream


class _Event(NamedTuple):
    data: bytes
    is_token: bool = False
    then: Literal["cut", "stall"] | None = None


def _event(name: str, **payload: Any) -> _Event:
    # All in ASCII: half of a surrogate pair, which a token may end with, has no other way onto the wire.
    data = json.dumps({"type": name, **payload}, separators=(",", ":")).encode()
    is_token = name == "content_block_delta" and payload["delta"]["type"] != "signature_delta"
    return _Event(b"event: %b\ndata: %b\n\n" % (name.encode(), data), is_token)


def _content(block: Text | Thinking | ToolUse) -> JSON:
    match block:
        case Text():
            return {"type": "text", "text": block.text}
        case Thinking():
            return {"type": "thinking", "thinking": block.text, "signature": block.signature}
        case ToolUse():
            id = block.id or f"toolu_{secrets.token_hex(12)}"
            return {"type": "tool_use", "id": id, "name": block.tool, "input": dict(block.parameters)}


def _tokens(block: Text | Thinking | ToolUse) -> Sequence[str]:
    if isinstance(block, ToolUse):
        text = orjson.dumps(dict(block.parameters)).decode() if block.raw is None else block.raw
        return [text[start : start + 12] for start in range(0, len(text), 12)]
    if isinstance(block, Text) and block.tokens is not None:
        return block.tokens
    return TOKEN.findall(block.text)


def _message(request: JSON, answer: Answer) -> JSON:
    """The whole answer as the API gives it without streaming."""
    calls_tool = any(isinstance(block, ToolUse) for block in answer.blocks)
    return {
        "id": f"msg_{secrets.token_hex(12)}",
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": [_content(block) for block in answer.blocks],
        "stop_reason": answer.stop_reason or ("tool_use" if calls_tool else "end_turn"),
        "stop_sequence": None,
        "usage": _usage(request, answer),
    }


def _usage(request: JSON, answer: Answer) -> dict[str, int]:
    read = len(orjson.dumps([request.get("system"), request["messages"], request.get("tools")])) // 4
    sent = max(1, sum(len(_tokens(block)) for block in answer.blocks))
    return {
        "input_tokens": read if answer.input_tokens is None else answer.input_tokens,
        "cache_creation_input_tokens": answer.cache_write_tokens or 0,
        "cache_read_input_tokens": answer.cache_read_tokens or 0,
        "output_tokens": sent if answer.output_tokens is None else answer.output_tokens,
    }


class _Kind(NamedTuple):
    """How the blocks of one type are streamed: what is empty at their start, and what a delta is called."""

    empty: JSON
    delta: str
    key: str


KINDS = {
    "text": _Kind({"text": ""}, "text_delta", "text"),
    "thinking": _Kind({"thinking": "", "signature": ""}, "thinking_delta", "thinking"),
    "tool_use": _Kind({"input": {}}, "input_json_delta", "partial_json"),
}


def _events(message: JSON, answer: Answer) -> Iterator[_Event]:
    start: JSON = {"content": [], "stop_reason": None, "usage": {**message["usage"], "output_tokens": 1}}
    yield _event("message_start", message=message | start)
    for index, (block, content) in enumerate(zip(answer.blocks, message["content"], strict=True)):
        kind = KINDS[content["type"]]
        yield _event("content_block_start", index=index, content_block=content | kind.empty)
        if index == 0:
            yield _event("ping")
        for token in _tokens(block):
            yield _event("content_block_delta", index=index, delta={"type": kind.delta, kind.key: token})
        if isinstance(block, Thinking):
            signature = {"type": "signature_delta", "signature": block.signature}
            yield _event("content_block_delta", index=index, delta=signature)
        yield _event("content_block_stop", index=index)
    stop = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield _event("message_delta", delta=stop, usage=message["usage"])
    yield _event("message_stop")


def _spoil(events: Sequence[_Event], fault: Fault) -> list[_Event]:
    tokens = [index for index, event in enumerate(events) if event.is_token]
    before_end = len(events) - 2
    place = tokens[fault.after_tokens] if fault.after_tokens < len(tokens) else before_end
    sent, rest = list(events[:place]), list(events[place:])
    match fault.kind:
        case "cut" | "stall":
            return [*sent, _Event(b"", then=fault.kind)]
        case "malformed_json":
            return [*sent, _Event(b'event: content_block_delta\ndata: {"type":"content_block_de\n\n'), *rest]
        case "unknown_event":
            return [*sent, _event("content_block_dream", index=0, dream="electric sheep"), *rest]
        case "overloaded" | "api_error":
            failure = FAILURES[fault.kind]
            return [*sent, _event("error", error={"type": failure.type, "message": failure.message})]
        case "no_stop":
            return sent


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
            await self._stream(exchange, answer, _message(request, answer))
        else:
            await self._tell(exchange, answer, _message(request, answer))

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
        events: Iterable[_Event] = _events(message, answer)
        if answer.fault:
            events = _spoil(list(events), answer.fault)
        self.open_streams += 1
        try:
            await exchange.start(200, "text/event-stream; charset=utf-8", {"cache-control": "no-cache"})
            await _write_events(exchange, events, answer.first_token_delay, self._seconds_per_token(answer))
        finally:
            self.open_streams -= 1

    async def _tell(self, exchange: _Exchange, answer: Answer, message: JSON) -> None:
        fault = answer.fault.kind if answer.fault else None
        tokens = sum(len(_tokens(block)) for block in answer.blocks)
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


async def _write_events(exchange: _Exchange, events: Iterable[_Event], delay: float, interval: float) -> None:
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
