"""What readers see of a reply: its log, event by event, and the screen that a front end builds from them."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from agent.parts import Part, ReasoningPart, TextPart, ToolCallPart
from runs.follow import ReplyFinished, SavedReply
from runs.live import LiveSlice
from runs.log import (
    LogEvent,
    LogReader,
    ReasoningDelta,
    StreamRestarted,
    TextDelta,
    ToolCallAwaitingApproval,
    ToolCallFinished,
    ToolCallStarted,
    utf16_length,
)


@dataclass
class Screen:
    """A reply as a front end builds it from events; nothing may come twice."""

    parts: dict[int, Any] = field(default_factory=dict)

    def copy(self) -> "Screen":
        return Screen(dict(self.parts))

    def take(self, event: LogEvent | StreamRestarted | ReplyFinished) -> None:
        match event:
            case TextDelta(_, part, offset, text) | ReasoningDelta(_, part, offset, text):
                kind, before = self.parts.get(part, (type(event), ""))
                assert kind is type(event)
                assert utf16_length(before) == offset, "something was lost or doubled"
                self.parts[part] = kind, before + text
            case ToolCallStarted(_, part, call):
                assert part not in self.parts
                self.parts[part] = call
            case ToolCallAwaitingApproval(_, part, call) | ToolCallFinished(_, part, call):
                assert self.parts[part].id == call.id
                self.parts[part] = call
            case StreamRestarted(_, part):
                self.parts = {known: shown for known, shown in self.parts.items() if known < part}


def shown(parts: Sequence[Part]) -> dict[int, Any]:
    """What a screen shows of a reply in the end."""
    whole: dict[int, Any] = {}
    for index, part in enumerate(parts):
        match part:
            case ToolCallPart():
                whole[index] = part
            case TextPart(text):
                whole[index] = TextDelta, text
            case ReasoningPart(text) if text:
                whole[index] = ReasoningDelta, text
    return whole


def read_log(log: bytes) -> tuple[list[LogEvent], int]:
    """All events of a log, and the position after the last."""
    reader = LogReader()
    events = reader.read(log)
    return events, reader.position


def visible(log: bytes) -> tuple[list[LogEvent], int]:
    """What a log tells, without what no client sees of a call."""
    events, end = read_log(log)
    calls = (ToolCallStarted, ToolCallAwaitingApproval, ToolCallFinished)
    return [
        replace(event, call=replace(event.call, parked=False, begun=False)) if isinstance(event, calls) else event
        for event in events
    ], end


def units(events: Sequence[LogEvent | StreamRestarted | ReplyFinished]) -> list[tuple[Any, ...]]:
    """Each code unit of text, and each record, with the position after it: the same however events are cut."""
    told: list[tuple[Any, ...]] = []
    for event in events:
        match event:
            case TextDelta(position, part, offset, text) | ReasoningDelta(position, part, offset, text):
                encoded = text.encode("utf-16-le")
                begin = position - len(encoded) // 2
                told += [
                    (begin + n + 1, type(event), part, offset + n, encoded[2 * n : 2 * n + 2])
                    for n in range(len(encoded) // 2)
                ]
            case _:
                told.append((event.position, event))
    return told


def inside_a_pair(log: bytes, position: int) -> bool:
    """Whether a position cuts a character."""
    return any(
        told[0] == position and len(told) == 5 and 0xD8 <= told[4][1] <= 0xDB for told in units(read_log(log)[0])
    )


Moment = TypeVar("Moment", bound=LiveSlice | SavedReply)


def some(moments: Sequence[Moment], choose: random.Random) -> list[Moment]:
    """The moments at which a reader happens to look."""
    return [moment for moment in moments if choose.random() < 0.4]
