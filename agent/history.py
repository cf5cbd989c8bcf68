"""What the model is told of the conversation: its last messages, in the shape of the Messages API."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

import orjson

from agent.parts import Part, ReasoningPart, TextPart, ToolCallPart, join_text

#: Everything up to a block with this mark may be served from the API's cache for the next minutes.
CACHE_MARK = {"type": "ephemeral"}

#: What a tool's name must not have.
UNFIT = re.compile(r"[^a-zA-Z0-9_-]")

Content = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class PastMessage:
    """A message of the branch, oldest first. `cut` says why a reply is not whole."""

    role: Literal["USER", "ASSISTANT"]
    parts: Sequence[Part]
    cut: Literal["stopped", "failed"] | None = None


CUT_NOTES = {
    "stopped": "<note>The user stopped your previous reply before it was finished.</note>",
    "failed": "<note>Your previous reply was cut off by an error.</note>",
}


def build_history(window: Iterable[PastMessage]) -> list[dict[str, Any]]:
    """The window as messages of the API, the last one marked for the cache.

    Begins with a question, as the API wants: a reply whose question lies before the window is left out.
    """
    messages: list[dict[str, Any]] = []
    note: str | None = None
    for past in window:
        if past.role == "USER":
            content: Content = [{"type": "text", "text": note}] if note else []
            messages.append({"role": "user", "content": [*content, _text(join_text(past.parts))]})
            note = None
        elif messages:
            messages.extend(_reply(_without_reasoning(past.parts)))
            note = past.cut and CUT_NOTES[past.cut]
    if messages:
        messages[-1]["content"][-1]["cache_control"] = CACHE_MARK
    return messages


def continue_history(
    history: Sequence[Mapping[str, Any]], parts: Sequence[Part], earlier: int = 0
) -> list[Mapping[str, Any]]:
    """The history, and what the reply in the making has done so far: its finished steps.

    The first `earlier` parts are an earlier attempt's.
    """
    if not parts:
        return list(history)
    written = _reply([*_without_reasoning(parts[:earlier]), *parts[earlier:]])
    if written and written[-1]["role"] == "user":
        written[-1]["content"][-1]["cache_control"] = CACHE_MARK
    return [*history, *written]


# The API takes reasoning back only by the model that it fits, and only while nothing before it has changed: system
# prompt, tools, messages. That is sure within one attempt at a reply; later the window, day or model may be another.
def _without_reasoning(parts: Iterable[Part]) -> list[Part]:
    return [part for part in parts if not isinstance(part, ReasoningPart)]


def _reply(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """A reply as the API saw it: per step what the model said and called, then what its tools gave back."""
    messages: list[dict[str, Any]] = []
    for _, step in groupby(parts, key=lambda part: part.step):
        said = list(step)
        calls = [part for part in said if isinstance(part, ToolCallPart)]
        content = [block for part in said for block in _said(part)]
        # Reasoning that led to nothing, as before a cut, is no message and ends none.
        while content and content[-1]["type"] not in ("text", "tool_use"):
            content.pop()
        if content:
            messages.append({"role": "assistant", "content": content})
        if calls:
            messages.append({"role": "user", "content": [_result(call) for call in calls]})
    return messages


def _said(part: Part) -> Content:
    match part:
        case TextPart(text):
            return [_text(text)] if text.strip() else []
        case ReasoningPart(data=str(data)):
            return [{"type": "redacted_thinking", "data": data}]
        case ReasoningPart(text, signature):
            # Without its signature, as after a cut, the API would refuse it.
            return [{"type": "thinking", "thinking": text, "signature": signature}] if signature else []
        case ToolCallPart(id, tool, parameters):
            given = parameters if isinstance(parameters, dict) else {"malformed": parameters}
            # The API refuses to read back some names that a model may make up.
            name = UNFIT.sub("_", tool)[:128] or "_"
            return [{"type": "tool_use", "id": id, "name": name, "input": given}]


def _result(call: ToolCallPart) -> dict[str, Any]:
    match call.status:
        case "AWAITING_APPROVAL":
            text = "Not done: the user has not agreed to it yet."
        case "INTERRUPTED" if not call.begun:
            text = "Not done: the reply was cut off before it ran."
        case "RUNNING" | "INTERRUPTED":
            text = "Interrupted: it is not known whether this was done."
        case _:
            text = orjson.dumps(call.result).decode()
    return {
        "type": "tool_result",
        "tool_use_id": call.id,
        "content": text,
        "is_error": call.status != "SUCCEEDED",
    }


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}
