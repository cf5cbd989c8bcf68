"""Reading an answer of the Messages API: from its bytes to what the model says."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import orjson
from anthropic import APIStatusError

from agent.anthropic.errors import unavailable
from agent.http.sse import EventDecoder
from agent.model import (
    BlockEnded,
    ModelEnded,
    ModelEvent,
    ModelStarted,
    Piece,
    ReasoningPiece,
    TellPiece,
    TextPiece,
    ToolUse,
    Usage,
)

MESSAGES_PATH = "/v1/messages"
#: What an error has for its request, where the SDK has not made one.
REQUEST = httpx2.Request("POST", MESSAGES_PATH)
#: The kinds of delta that are told when they come, and where their text is.
PIECES: dict[str, tuple[type[Piece], str]] = {
    "text_delta": (TextPiece, "text"),
    "thinking_delta": (ReasoningPiece, "thinking"),
}
IGNORED = {"type": "ping"}


class Answer:
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
                raise unavailable("The model's answer could not be read.", reason=type(error).__name__) from error
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
                response = httpx2.Response(200, request=REQUEST)
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
