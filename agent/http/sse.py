"""Server-sent events, read from bytes that come in pieces."""

from typing import TypeAlias

BOM = b"\xef\xbb\xbf"

#: Its name, `message` where none was given, and its data.
ServerSentEvent: TypeAlias = tuple[bytes, bytes]


class EventDecoder:
    """Finds the events of one stream, cut at any byte, as the HTML standard describes them.

    What serves reconnection only (`id`, `retry`) is left out.
    """

    __slots__ = ("_after_cr", "_begun", "_data", "_line", "_name")

    def __init__(self) -> None:
        #: The beginning of a line whose end has not come.
        self._line = b""
        self._name = b""
        self._data: list[bytes] = []
        self._begun = self._after_cr = False

    def decode(self, piece: bytes) -> list[ServerSentEvent]:
        """The events that this piece completes."""
        if self._after_cr or b"\r" in piece:
            piece = self._unify_line_ends(piece)
        lines = piece.split(b"\n")
        if self._line:
            lines[0] = self._line + lines[0]
        self._line = lines.pop()
        if not self._begun and lines:
            self._begun = True
            lines[0] = lines[0].removeprefix(BOM)
        events = []
        for line in lines:
            if not line:
                if self._data:
                    events.append((self._name or b"message", b"\n".join(self._data)))
                    self._data = []
                self._name = b""
                continue
            # A comment is a field without a name.
            field, _, value = line.partition(b":")
            if field == b"data":
                self._data.append(value.removeprefix(b" "))
            elif field == b"event":
                self._name = value.removeprefix(b" ")
        return events

    def _unify_line_ends(self, piece: bytes) -> bytes:
        """The piece with every line ended by LF alone."""
        if not piece:
            return piece
        # The CR before it has ended the line already.
        if self._after_cr and piece.startswith(b"\n"):
            piece = piece[1:]
            self._after_cr = False
        if piece:
            self._after_cr = piece.endswith(b"\r")
        return piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
