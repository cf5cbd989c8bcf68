"""A reply while it is written: its parts so far, whole at every moment."""

from dataclasses import replace
from typing import Any, TypeAlias

from agent.model import Usage
from agent.parts import Part, ReasoningPart, TextPart, ToolCallPart, ToolCallStatus, next_order
from agent.text import Cleaner, clean

#: What is written piece by piece.
TextKind: TypeAlias = type[TextPart] | type[ReasoningPart]


class Draft:
    """What a reply consists of so far. `parts` may be read at any time, also when its writing was cut short."""

    __slots__ = ("_cleaner", "_open", "_parts", "_text", "model", "step", "usage")

    def __init__(self, parts: list[Part] | None = None) -> None:
        self._parts: list[Part] = list(parts or ())
        self._open: TextKind | None = None
        #: That of the open part, in UTF-8: each piece kept as a string of its own takes ten times its size.
        self._text = bytearray()
        self._cleaner = Cleaner()
        last_step = max((part.step for part in self._parts), default=-1)
        self.step = last_step if self.open_calls() else last_step + 1
        self.usage = Usage()
        self.model: str | None = None

    @property
    def parts(self) -> list[Part]:
        if self._open is None or not self._text:
            return self._parts
        return [*self._parts, self._open(self._text.decode(), step=self.step)]

    def add(self, kind: TextKind, piece: str) -> tuple[int, str]:
        """Append a piece of text or reasoning; gives the part's index and what of it is whole and clean."""
        if self._open is not kind:
            self.close()
            self._open = kind
        piece = self._cleaner.feed(piece)
        self._text += piece.encode()
        return len(self._parts), piece

    def close(self, signature: str = "", redacted: str | None = None) -> bool:
        """The text or reasoning that came last is whole; tells whether it left a part that nobody was told of."""
        self._cleaner = Cleaner()
        text, kind = self._text.decode(), self._open
        self._text, self._open = bytearray(), None
        if redacted is not None or (signature and not text):
            self._parts.append(ReasoningPart("", signature, redacted, step=self.step))
            return True
        if text and kind is ReasoningPart:
            self._parts.append(ReasoningPart(text, signature, step=self.step))
        elif text:
            self._parts.append(TextPart(text, step=self.step))
        return False

    def start_call(self, id: str, tool: str, parameters: object) -> tuple[int, ToolCallPart]:
        self.close()
        call = ToolCallPart(clean(id), clean(tool), parameters, step=self.step)
        self._parts.append(call)
        return len(self._parts) - 1, call

    def park_call(self, index: int) -> ToolCallPart:
        """The call waits for the user's word."""
        return self._replace(index, status="AWAITING_APPROVAL", parked=True)

    def begin_call(self, index: int) -> ToolCallPart:
        """The call is about to run: from now on it is not known whether it has."""
        return self._replace(index, begun=True)

    def end_call(self, index: int, status: ToolCallStatus, result: object) -> ToolCallPart:
        return self._replace(index, status=status, result=result, order=next_order(self._parts))

    def open_calls(self) -> list[tuple[int, ToolCallPart]]:
        """The tool calls that have not ended, with their index."""
        return [
            (index, part)
            for index, part in enumerate(self._parts)
            if isinstance(part, ToolCallPart) and part.order is None
        ]

    def _replace(self, index: int, **changes: Any) -> ToolCallPart:
        call = self._parts[index]
        assert isinstance(call, ToolCallPart)
        self._parts[index] = changed = replace(call, **changes)
        return changed
