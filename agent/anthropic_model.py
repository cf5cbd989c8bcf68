"""A model behind the Anthropic Messages API, by its SDK."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any
from urllib.request import getproxies

import httpx2
import orjson
from anthropic import APIConnectionError, APIError, APIStatusError, AsyncAnthropic, AsyncStream

from agent.http_connection import Take
from agent.http_transport import AnswerBody, StreamingTransport
from agent.model import (
    BlockEnded,
    ModelEnded,
    ModelError,
    ModelEvent,
    ModelRequest,
    ModelStarted,
    Piece,
    ReasoningPiece,
    TellPiece,
    TextPiece,
    ToolUse,
    Usage,
)
from agent.sse import EventDecoder

#: Seconds to connect, and of silence in an answer: the API sends a ping every few seconds.
CONNECT_TIMEOUT, READ_TIMEOUT = 5.0, 60.0
#: The kinds of delta that are told when they come, and where their text is.
PIECES: dict[str, tuple[type[Piece], str]] = {
    "text_delta": (TextPiece, "text"),
    "thinking_delta": (ReasoningPiece, "thinking"),
}
IGNORED = {"type": "ping"}
MESSAGES_PATH = "/v1/messages"


class AnthropicModel:
    """One model of the API. Retries are the loop's: it knows whether a reader has seen a token."""

    def __init__(self, *, api_key: str, base_url: str | None, name: str, max_output_tokens: int) -> None:
        self.name = name
        self.max_output_tokens = max_output_tokens
        self._client = AsyncAnthropic(
            api_key=api_key,
            base_url=base_url,
            max_retries=0,
            timeout=httpx2.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT),
            http_client=_connect_client(),
        )

    async def stream(self, request: ModelRequest, usage: Usage, tell: TellPiece) -> AsyncIterator[ModelEvent]:
        """The events of the answer, as `agent.model.Model` says."""
        answer = _Answer(tell)
        try:
            body = _body_of(await self._ask(request))
            # All that was said before may be long, and the answer takes its time.
            del request
            async with aclosing(body):
                while await body.feed(answer.take):
                    for event in answer.read_events():
                        yield event
        except APIError as error:
            raise _model_error(error) from error
        except httpx2.HTTPError as error:
            raise _unavailable("The connection to the model broke.") from error
        finally:
            usage.add(answer.usage)
        if not answer.ended:
            raise _unavailable("The model's answer ended too early.")

    async def _ask(self, request: ModelRequest) -> httpx2.Response:
        """Send the request; raises `APIError`."""
        body = {
            "model": self.name,
            "max_tokens": self.max_output_tokens,
            "messages": request.messages,
            "system": request.system,
            "tools": request.tools,
            "stream": True,
        }
        # Not `messages.create`: it walks through the whole request, and builds an object for each event of the answer.
        response: Any = await self._client.post(
            MESSAGES_PATH,
            content=_write_json(body),
            cast_to=httpx2.Response,
            options={"headers": {"Accept-Encoding": "identity"}},
            stream=True,
            stream_cls=AsyncStream[Any],
        )
        assert isinstance(response, httpx2.Response)
        return response

    async def close(self) -> None:
        await self._client.close()


def _connect_client() -> httpx2.AsyncClient:
    # A transport of our own would silence the proxies of the environment: where there are some, the library's is used.
    proxied = {"http", "https", "all"} & getproxies().keys()
    return httpx2.AsyncClient(
        transport=None if proxied else StreamingTransport(),
        # By default the library's pool ends at 100 connections; a reply holds one for its whole length.
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=100),
        timeout=httpx2.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT),
        follow_redirects=True,
    )


def _write_json(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        # It writes no deeper than 254 levels; the parameters of a tool call may be nested as deep as that.
        return json.dumps(value).encode()


def _body_of(response: httpx2.Response) -> "AnswerBody | _OtherBody":
    """The body, which needs nothing else of the response: that has all of the request."""
    body = response.extensions.get("answer_body")
    if isinstance(body, AnswerBody) and "content-encoding" not in response.headers:
        return body
    return _OtherBody(response)


class _OtherBody:
    """As `AnswerBody`, of a response that came by a proxy, or compressed."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self._pieces = response.aiter_bytes()

    async def feed(self, take: Take) -> bool:
        async for piece in self._pieces:
            if not take(piece):
                return True
        return False

    async def aclose(self) -> None:
        await self._response.aclose()


class _Answer:
    """One answer: its text is told as soon as it comes, its events wait until they are read."""

    __slots__ = ("_block", "_decoder", "_raw", "_reason", "_signature", "_tell", "_waiting", "ended", "usage")

    def __init__(self, tell: TellPiece) -> None:
        self.usage = Usage()
        self.ended = False
        self._tell = tell
        self._decoder = EventDecoder()
        #: What has come and was not told or read; None stands for an event that is no JSON.
        self._waiting: list[Any] = []
        self._reason = ""
        self._block: Any = None
        self._raw: list[str] = []
        self._signature = ""

    def take(self, piece: bytes) -> bool:
        """Take a piece of the body; gives whether no event waits."""
        self._waiting += [_parse(name, data) for name, data in self._decoder.decode(piece)]
        self._tell_text()
        return not self._waiting

    def read_events(self) -> Iterator[ModelEvent]:
        """The events that wait, with the text between them told. Raises `APIStatusError`, `ModelError`."""
        while self._waiting:
            event = self._waiting.pop(0)
            try:
                read = self._read(event)
            except (ValueError, ArithmeticError, LookupError, TypeError, AttributeError) as error:
                # Nothing has checked it: a malformed event fails where it is used.
                raise _unavailable("The model's answer could not be read.") from error
            if read is not None:
                yield read
            self._tell_text()

    def _tell_text(self) -> None:
        """Tell the text at the head of what waits, that of one kind at once."""
        waiting = self._waiting
        while waiting and (found := _find_text(waiting[0])):
            kind, text = found
            told = 1
            while told < len(waiting) and (found := _find_text(waiting[told])) and found[0] is kind:
                text += found[1]
                told += 1
            del waiting[:told]
            self._tell(kind(text))

    def _read(self, event: Any) -> ModelEvent | None:
        match event["type"]:
            case "content_block_delta":
                self._read_delta(event["delta"])
            case "content_block_start":
                self._block, self._raw, self._signature = event["content_block"], [], ""
            case "content_block_stop":
                return self._end_block()
            case "message_start":
                self._count(event["message"]["usage"])
                return ModelStarted(event["message"]["model"])
            case "message_delta":
                self._reason = event["delta"]["stop_reason"] or ""
                self._count(event["usage"])
            case "message_stop":
                self.ended = True
                return ModelEnded(self._reason)
            case "error":
                body = event.get("body", event)
                # The answer had begun well.
                response = httpx2.Response(200, request=httpx2.Request("POST", MESSAGES_PATH))
                raise APIStatusError(str(body), response=response, body=body)
        return None

    def _read_delta(self, delta: Any) -> None:
        match delta["type"]:
            case "input_json_delta":
                self._raw.append(delta["partial_json"])
            case "signature_delta":
                self._signature += delta["signature"]

    def _end_block(self) -> ModelEvent:
        block, self._block = self._block, None
        match block["type"]:
            case "tool_use":
                return ToolUse(block["id"], block["name"], "".join(self._raw))
            case "redacted_thinking":
                return BlockEnded(redacted=block["data"])
            case _:
                return BlockEnded(signature=self._signature)

    def _count(self, usage: Any) -> None:
        # Counts of later events are totals of the call, and not every event has all of them.
        self.usage.input_tokens = _latest(usage, "input_tokens", self.usage.input_tokens)
        self.usage.output_tokens = _latest(usage, "output_tokens", self.usage.output_tokens)
        self.usage.cache_read_tokens = _latest(usage, "cache_read_input_tokens", self.usage.cache_read_tokens)
        self.usage.cache_write_tokens = _latest(usage, "cache_creation_input_tokens", self.usage.cache_write_tokens)


def _parse(name: bytes, data: bytes) -> Any:
    """The event as JSON; None where it is none, which whoever reads it will find."""
    try:
        event = orjson.loads(data)
    except orjson.JSONDecodeError:
        event = _parse_with_care(data) if data and name != b"ping" else IGNORED
    return event if name != b"error" else {"type": "error", "body": event}


def _parse_with_care(data: bytes) -> Any:
    try:
        # Only this one reads half of a surrogate pair, which a token may end with.
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _find_text(event: Any) -> tuple[type[Piece], str] | None:
    """The text or reasoning of an event that has nothing else."""
    try:
        if event["type"] == "content_block_delta":
            kind, key = PIECES[event["delta"]["type"]]
            text = event["delta"][key]
            return (kind, text) if isinstance(text, str) else None
    except (LookupError, TypeError):
        pass
    return None


def _latest(usage: Any, name: str, before: int) -> int:
    value = usage.get(name)
    return before if value is None else int(value)


def _unavailable(message: str, retry_after: float | None = None) -> ModelError:
    return ModelError("MODEL_UNAVAILABLE", message, retryable=True, retry_after=retry_after)


def _model_error(error: APIError) -> ModelError:
    """What an error of the SDK means to a user. The API's own words stay in the log: they may name the account."""
    if isinstance(error, APIConnectionError):
        return _unavailable("The model could not be reached.")
    if not isinstance(error, APIStatusError):
        return _unavailable("The model's answer could not be read.")
    # An error in the middle of a stream comes with status 200: its type tells what it is.
    kind = error.type or ""
    status = error.status_code
    retry_after = _retry_after(error)
    if kind == "rate_limit_error" or status == 429:
        return ModelError(
            "MODEL_RATE_LIMITED",
            "The model is used too much right now.",
            retryable=True,
            retry_after=retry_after,
        )
    if kind in ("overloaded_error", "api_error", "timeout_error") or status >= 500:
        return _unavailable("The model is not available right now.", retry_after)
    if status == 413 or (status == 400 and "prompt is too long" in str(error.message)):
        return ModelError("CONTEXT_TOO_LONG", "The conversation is too long for the model.", retryable=False)
    return ModelError("MODEL_REJECTED_REQUEST", "The model rejected the request.", retryable=False)


def _retry_after(error: APIStatusError) -> float | None:
    try:
        return float(error.response.headers.get("retry-after", ""))
    except ValueError:
        return None
