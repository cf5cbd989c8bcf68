"""An answer as the API puts it: a whole message, or server-sent events, which a fault may spoil."""

import json
import re
import secrets
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import orjson

from agent.stand_in.answers import FAILURES, Answer, Fault, Text, Thinking, ToolUse
from agent.stand_in.rules import JSON

TOKEN = re.compile(r"\s*\S{1,20}|\s+")


class Event(NamedTuple):
    """A server-sent event, encoded; `is_token` marks those that the rate spaces, `then` what happens in its place."""

    data: bytes
    is_token: bool = False
    then: Literal["cut", "stall"] | None = None


def _event(name: str, **payload: Any) -> Event:
    # All in ASCII: half of a surrogate pair, which a token may end with, has no other way onto the wire.
    data = json.dumps({"type": name, **payload}, separators=(",", ":")).encode()
    is_token = name == "content_block_delta" and payload["delta"]["type"] != "signature_delta"
    return Event(b"event: %b\ndata: %b\n\n" % (name.encode(), data), is_token)


def _content(block: Text | Thinking | ToolUse) -> JSON:
    match block:
        case Text():
            return {"type": "text", "text": block.text}
        case Thinking():
            return {"type": "thinking", "thinking": block.text, "signature": block.signature}
        case ToolUse():
            id = block.id or f"toolu_{secrets.token_hex(12)}"
            return {"type": "tool_use", "id": id, "name": block.tool, "input": dict(block.parameters)}


def split_tokens(block: Text | Thinking | ToolUse) -> Sequence[str]:
    """The deltas in which a block is streamed: the tokens of a text, or words, or pieces of a call's JSON."""
    if isinstance(block, ToolUse):
        text = orjson.dumps(dict(block.parameters)).decode() if block.raw is None else block.raw
        return [text[start : start + 12] for start in range(0, len(text), 12)]
    if isinstance(block, Text) and block.tokens is not None:
        return block.tokens
    return TOKEN.findall(block.text)


def make_message(request: JSON, answer: Answer) -> JSON:
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
    sent = max(1, sum(len(split_tokens(block)) for block in answer.blocks))
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


def make_events(message: JSON, answer: Answer) -> Iterator[Event]:
    """The events in which `message`, made from the same answer, is streamed when nothing goes wrong."""
    start: JSON = {"content": [], "stop_reason": None, "usage": {**message["usage"], "output_tokens": 1}}
    yield _event("message_start", message=message | start)
    for index, (block, content) in enumerate(zip(answer.blocks, message["content"], strict=True)):
        kind = KINDS[content["type"]]
        yield _event("content_block_start", index=index, content_block=content | kind.empty)
        if index == 0:
            yield _event("ping")
        for token in split_tokens(block):
            yield _event("content_block_delta", index=index, delta={"type": kind.delta, kind.key: token})
        if isinstance(block, Thinking):
            signature = {"type": "signature_delta", "signature": block.signature}
            yield _event("content_block_delta", index=index, delta=signature)
        yield _event("content_block_stop", index=index)
    stop = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield _event("message_delta", delta=stop, usage=message["usage"])
    yield _event("message_stop")


def spoil(events: Sequence[Event], fault: Fault) -> list[Event]:
    """The events of a whole stream as `fault` leaves them."""
    tokens = [index for index, event in enumerate(events) if event.is_token]
    before_end = len(events) - 2
    place = tokens[fault.after_tokens] if fault.after_tokens < len(tokens) else before_end
    sent, rest = list(events[:place]), list(events[place:])
    match fault.kind:
        case "cut" | "stall":
            return [*sent, Event(b"", then=fault.kind)]
        case "malformed_json":
            return [*sent, Event(b'event: content_block_delta\ndata: {"type":"content_block_de\n\n'), *rest]
        case "unknown_event":
            return [*sent, _event("content_block_dream", index=0, dream="electric sheep"), *rest]
        case "overloaded" | "api_error":
            failure = FAILURES[fault.kind]
            return [*sent, _event("error", error={"type": failure.type, "message": failure.message})]
        case "no_stop":
            return sent
