"""What a message consists of, and how it is written down."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

ToolCallStatus = Literal["RUNNING", "AWAITING_APPROVAL", "SUCCEEDED", "FAILED", "DENIED", "INTERRUPTED"]


@dataclass(frozen=True, slots=True)
class TextPart:
    """What is said."""

    text: str
    #: The call of the model that gave it, from 0.
    step: int = 0


@dataclass(frozen=True, slots=True)
class ReasoningPart:
    """What the model thinks, which it wants back unchanged: hence the signature, or the redacted `data`."""

    text: str
    signature: str = ""
    data: str | None = None
    step: int = 0


@dataclass(frozen=True, slots=True)
class ToolCallPart:
    """A tool that the model called."""

    id: str
    tool: str
    parameters: Any
    status: ToolCallStatus = "RUNNING"
    #: What the tool gave back, JSON; None until it has ended.
    result: Any = None
    #: The how manieth call of the message to end, from 0; None until then.
    order: int | None = None
    #: Whether the user was asked to agree to it.
    parked: bool = False
    #: Whether it may have run: set, and saved, right before it does.
    begun: bool = False
    step: int = 0


Part = TextPart | ReasoningPart | ToolCallPart


def join_text(parts: Iterable[Part]) -> str:
    """The text parts, joined."""
    return "".join(part.text for part in parts if isinstance(part, TextPart))


def next_order(parts: Iterable[Part]) -> int:
    """The `order` of the tool call that ends next."""
    return sum(isinstance(part, ToolCallPart) and part.order is not None for part in parts)


def parts_to_json(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """The parts as they are saved: one object each, tagged by `type`."""
    return [_to_json(part) for part in parts]


def parts_from_json(saved: Sequence[Mapping[str, Any]]) -> list[Part]:
    """The parts that `parts_to_json` wrote."""
    return [_from_json(part) for part in saved]


def _to_json(part: Part) -> dict[str, Any]:
    match part:
        case TextPart(text, step):
            return {"type": "text", "text": text, "step": step}
        case ReasoningPart(text, signature, data, step):
            return {"type": "reasoning", "text": text, "signature": signature, "data": data, "step": step}
        case ToolCallPart():
            return {"type": "tool_call", **{name: getattr(part, name) for name in ToolCallPart.__slots__}}


_TYPES: dict[str, type[Part]] = {"text": TextPart, "reasoning": ReasoningPart, "tool_call": ToolCallPart}


def _from_json(saved: Mapping[str, Any]) -> Part:
    return _TYPES[saved["type"]](**{name: value for name, value in saved.items() if name != "type"})
