"""The live state of a reply, written down: an append-only log of bytes, the same from memory, Valkey or rows.

Text stands as it is, in UTF-8. Everything else is a record: the byte 0xFF, which no text has, a JSON array, a line
feed. A record begins a part (its text follows) or tells of a tool call. A place in the log is a *position*: UTF-16
code units of text, plus one for each record; unlike a place in the bytes it does not depend on how JSON was written.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import orjson

from agent.parts import Part, ReasoningPart, TextPart, ToolCallPart, parts_from_json, parts_to_json

MARK = b"\xff"


# One is made for each token, and to freeze it would take three times as long.
@dataclass(slots=True)
class TextDelta:
    """Text to put at `offset` (UTF-16 code units) of part `part`; `position` is the place after it."""

    position: int
    part: int
    offset: int
    text: str


@dataclass(slots=True)
class ReasoningDelta:
    """As TextDelta, for what the model thinks."""

    position: int
    part: int
    offset: int
    text: str


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    position: int
    part: int
    call: ToolCallPart


@dataclass(frozen=True, slots=True)
class ToolCallAwaitingApproval:
    position: int
    part: int
    call: ToolCallPart


@dataclass(frozen=True, slots=True)
class ToolCallFinished:
    position: int
    part: int
    call: ToolCallPart


@dataclass(frozen=True, slots=True)
class StreamRestarted:
    """What was read of part `part` and after it is void."""

    position: int
    part: int


LogEvent = TextDelta | ReasoningDelta | ToolCallStarted | ToolCallAwaitingApproval | ToolCallFinished


def utf16_length(text: str) -> int:
    """How long JavaScript finds the text."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


def begin_text() -> bytes:
    return _record(["text"])


def begin_reasoning() -> bytes:
    return _record(["reasoning"])


def start_call(call: ToolCallPart) -> bytes:
    return _record(["call", *parts_to_json([call])])


def park_call(part: int, call: ToolCallPart) -> bytes:
    return _record(["parked", part, *parts_to_json([call])])


def finish_call(part: int, call: ToolCallPart) -> bytes:
    return _record(["result", part, *parts_to_json([call])])


def _record(fields: list[Any]) -> bytes:
    return MARK + orjson.dumps(fields) + b"\n"


def write_log(parts: Sequence[Part]) -> bytes:
    """The log of a saved reply: byte for byte as long in positions as the one that was read live."""
    chunks: list[bytes] = []
    index = 0
    for _, group in groupby(parts, key=lambda part: part.step):
        step = list(enumerate(group, index))
        index += len(step)
        chunks += [_begin(part) for _, part in step]
        calls = [(i, part) for i, part in step if isinstance(part, ToolCallPart)]
        ended = sorted(((i, call) for i, call in calls if call.order is not None), key=lambda pair: pair[1].order or 0)
        # The user is asked once the other calls of the step have ended.
        chunks += [finish_call(i, call) for i, call in ended if not call.parked]
        chunks += [park_call(i, _as_parked(call)) for i, call in calls if call.parked]
        chunks += [finish_call(i, call) for i, call in ended if call.parked]
    return b"".join(chunks)


def _begin(part: Part) -> bytes:
    match part:
        case TextPart(text):
            return begin_text() + text.encode()
        case ReasoningPart(text):
            return begin_reasoning() + text.encode()
        case ToolCallPart():
            return start_call(replace(part, status="RUNNING", result=None, order=None, parked=False, begun=False))


def _as_parked(call: ToolCallPart) -> ToolCallPart:
    return replace(call, status="AWAITING_APPROVAL", result=None, order=None, begun=False)


def cut_log(log: bytes | bytearray, start: int, most: int) -> int:
    """Where a piece that begins at `start` may end: after `most` bytes or less, between characters and records.

    A single record may be longer.
    """
    end = start + most
    if end >= len(log):
        return len(log)
    mark = log.rfind(MARK, start, end)
    if mark >= 0 and (line := log.find(b"\n", mark)) >= end:
        # It lies within a record.
        return mark if mark > start else line + 1
    # Not before the second byte of a character, or a later one.
    while log[end] & 0xC0 == 0x80:
        end -= 1
    return end


class LogReader:
    """Reads a log piece by piece, as it grows; each piece must end where the writer ended one."""

    __slots__ = ("_offset", "_part_starts", "_reasoning", "position")

    def __init__(self) -> None:
        #: How far it has read.
        self.position = 0
        #: Where each part begins.
        self._part_starts: list[int] = []
        self._offset = 0
        self._reasoning = False

    def read(self, piece: bytes) -> list[LogEvent]:
        """What the piece tells, text that lies together as one event."""
        text, *records = piece.split(MARK)
        events = [self._read_text(text)] if text else []
        for chunk in records:
            record, _, text = chunk.partition(b"\n")
            event = self._read_record(orjson.loads(record))
            if event is not None:
                events.append(event)
            if text:
                events.append(self._read_text(text))
        return events

    def part_at(self, position: int) -> int:
        """How many parts begin before a position that was read."""
        return bisect_left(self._part_starts, position)

    def _read_text(self, encoded: bytes) -> LogEvent:
        text = encoded.decode()
        offset, length = self._offset, utf16_length(text)
        self._offset += length
        self.position += length
        kind = ReasoningDelta if self._reasoning else TextDelta
        return kind(self.position, len(self._part_starts) - 1, offset, text)

    def _read_record(self, record: list[Any]) -> LogEvent | None:
        before = self.position
        self.position += 1
        kind = record[0]
        if kind == "parked":
            return ToolCallAwaitingApproval(self.position, record[1], _call(record[2]))
        if kind == "result":
            return ToolCallFinished(self.position, record[1], _call(record[2]))
        self._part_starts.append(before)
        self._offset, self._reasoning = 0, kind == "reasoning"
        if kind == "call":
            return ToolCallStarted(self.position, len(self._part_starts) - 1, _call(record[1]))
        return None


def _call(saved: dict[str, Any]) -> ToolCallPart:
    [call] = parts_from_json([saved])
    assert isinstance(call, ToolCallPart)
    return call


def events_after(events: Iterable[LogEvent], position: int) -> list[LogEvent]:
    """Those events that lie after a position; text across it is cut there.

    Raises ValueError where the position would cut a character.
    """
    kept: list[LogEvent] = []
    for event in events:
        if event.position <= position:
            continue
        if isinstance(event, TextDelta | ReasoningDelta):
            begin = event.position - utf16_length(event.text)
            if begin < position:
                rest = event.text.encode("utf-16-le")[(position - begin) * 2 :].decode("utf-16-le")
                event = type(event)(event.position, event.part, event.offset + position - begin, rest)
        kept.append(event)
    return kept


def read_parts(log: bytes) -> tuple[list[Part], int]:
    """The parts that a log tells of, and the position at its end."""
    reader = LogReader()
    found: dict[int, Part] = {}
    for event in reader.read(log):
        match event:
            case TextDelta(part=part, text=text):
                found[part] = TextPart(text)
            case ReasoningDelta(part=part, text=text):
                found[part] = ReasoningPart(text)
            case (
                ToolCallStarted(part=part, call=call)
                | ToolCallAwaitingApproval(part=part, call=call)
                | ToolCallFinished(part=part, call=call)
            ):
                found[part] = call
    # Reasoning that the model keeps to itself is a part without text.
    count = reader.part_at(reader.position)
    return [found.get(index, ReasoningPart("")) for index in range(count)], reader.position
