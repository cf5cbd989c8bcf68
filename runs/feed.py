"""The short way of text: from its writer to its readers in one go, without a task, a timer or a queue for each.

A reply comes as hundreds of small pieces of text, with something else now and then. A reader that has caught up lets
the feed of its log hand it the pieces, each by a plain call; for whatever is not text, or when it cannot take more at
the moment, it leaves the feed and goes on by itself.
"""

import asyncio
import itertools
import logging
from typing import Any, Protocol, TypeAlias

from agent.load import Load
from runs.log import LogReader, ReasoningDelta, TextDelta

logger = logging.getLogger(__name__)

TextPiece: TypeAlias = TextDelta | ReasoningDelta
# A union is made anew each time that it is written, and checked more slowly.
TEXT_PIECES = (TextDelta, ReasoningDelta)

#: Seconds in which each reader gets one piece under full load. That is less than the window in which a busy node reads
#: its models' sockets: what has waited there does not wait again, but what comes from other nodes does.
LONGEST_WAIT = 0.03
#: Seconds that a piece waits for each further reader of its reply, and at most: handing it out to all takes a
#: twentieth of that, or a quarter with a thousand.
READER_WAIT, CROWD_WAIT = 0.0005, 0.1
#: Seconds between two looks at what is due.
SLOT = 0.005


class Listener(Protocol):
    """A reader that has caught up with a log."""

    def take(self, piece: TextPiece, shared: dict[Any, Any]) -> bool:
        """Pass a piece on at once; False if that cannot be done now: then nothing of it was.

        `shared` is for what other listeners can use of the work for this piece.
        """

    def dismiss(self) -> None:
        """Read on by yourself, from the last piece that you took."""


class Feed:
    """Hands the text of one live log to its listeners."""

    __slots__ = ("_listeners", "_log", "_offset", "_pace", "_reader", "due", "waits")

    def __init__(self, log: bytearray, pace: "Pace") -> None:
        self._log = log
        self._pace = pace
        self._listeners: list[Listener] = []
        self._reader = LogReader()
        #: How far it has read, in bytes.
        self._offset = 0
        #: When the next piece may go out, by the clock of the loop; whether it waits for that.
        self.due, self.waits = 0.0, False

    def join(self, offset: int, listener: Listener) -> bool:
        """Let a reader listen that has read `offset` bytes; False if that is not all there is."""
        if offset != len(self._log):
            return False
        if self._offset != offset:
            # Those who listen already have not been given all of it yet.
            self.flush()
        self._listeners.append(listener)
        return True

    @property
    def readers(self) -> int:
        return len(self._listeners)

    def leave(self, listener: Listener) -> None:
        if listener in self._listeners:
            self._listeners.remove(listener)

    def dismiss(self) -> None:
        """Something else than text has happened."""
        if self._listeners and self._offset != len(self._log):
            self.flush()
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener.dismiss()

    def grow(self) -> None:
        """The log has grown."""
        if self._listeners:
            self._pace.hand_out(self, self.readers)

    def flush(self) -> None:
        """Hand out all that is new."""
        piece = bytes(self._log[self._offset :])
        self._offset = len(self._log)
        for event in self._reader.read(piece):
            if not isinstance(event, TEXT_PIECES):
                self.dismiss()
            elif self._listeners:
                self._hand_out(event)

    def _hand_out(self, piece: TextPiece) -> None:
        shared: dict[Any, Any] = {}
        for listener in tuple(self._listeners):
            try:
                if listener.take(piece, shared):
                    continue
            except Exception:
                # A reader's trouble is not the writer's, who is calling here.
                logger.exception("a reader failed, it goes on by itself")
            self.leave(listener)
            listener.dismiss()


class Pace:
    """How long text waits for more of it: not at all while little is to do, up to 30 ms under load, 100 for a crowd.

    One timer serves all feeds.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        #: Of pieces handed to readers.
        self._load = Load(LONGEST_WAIT)
        self._slots: dict[int, list[Feed]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def hand_out(self, feed: Feed, readers: int) -> None:
        """Have a feed flushed: now, or when its wait is over."""
        if self._loop is None:
            # Asking for it costs a system call, and this is called for every token.
            self._loop = asyncio.get_running_loop()
        loop = self._loop
        now = loop.time()
        self._load.count += readers
        self._load.measure(now)
        if feed.waits:
            return
        if now >= feed.due:
            feed.due = now + self._wait_of(readers)
            feed.flush()
            return
        feed.waits = True
        self._slots.setdefault(int(feed.due / SLOT) + 1, []).append(feed)
        if self._timer is None:
            self._timer = loop.call_later(SLOT, self._flush_due)

    def _wait_of(self, readers: int) -> float:
        return max(self._load.wait, min(CROWD_WAIT, READER_WAIT * (readers - 1)))

    def _flush_due(self) -> None:
        loop = self._loop
        assert loop is not None
        now = loop.time()
        current = int(now / SLOT)
        due = [self._slots.pop(slot) for slot in sorted(slot for slot in self._slots if slot <= current)]
        # Before anything can fail.
        self._timer = loop.call_later(SLOT, self._flush_due) if self._slots else None
        for feed in itertools.chain.from_iterable(due):
            feed.waits = False
            feed.due = now + self._wait_of(feed.readers)
            feed.flush()
