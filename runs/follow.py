"""Reading a reply, whatever its state: waiting, being written, or finished long ago."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias
from uuid import UUID

from agent.parts import Part
from persistence.database import is_unreachable
from persistence.tables import Message
from runs.feed import TEXT_PIECES, TextPiece
from runs.live import LiveReplies, LiveSlice
from runs.log import LogEvent, LogReader, StreamRestarted, events_after, write_log

#: Seconds after which a reader looks at the rows although nobody woke it.
POLL_INTERVAL = 1.0
#: So many looks in vain, and a reader asks the row whether the live state is still the newest.
QUIET_POLLS = 5
#: Seconds between two pieces for one reader: the first token goes out at once, later ones together.
PACE = 0.025


class InvalidCursor(Exception):
    """The cursor is of no place in this reply."""


class _NotYet(InvalidCursor):
    """The cursor is ahead of what this node knows: another may have shown the reader more."""


# One is made for each token, and to freeze it would take three times as long.
@dataclass(slots=True)
class Cursor:
    """A place in a reply: a position in the log of one attempt."""

    attempt: int = 0
    position: int = 0


@dataclass(frozen=True, slots=True)
class SavedReply:
    """A reply as its row has it."""

    running: bool
    attempt: int
    restarts: Sequence[int]
    parts: Sequence[Part]


@dataclass(frozen=True, slots=True)
class ReplyFinished:
    """The reply is saved for good; `position` is the place after its log."""

    position: int
    #: As it was saved, without what was done with it since, for a reader that was there; None where its row is to be
    #: asked.
    reply: Message | None = None


@dataclass(frozen=True, slots=True)
class News:
    """What has happened since the last, and the attempt whose log the positions are of."""

    attempt: int
    restarts: Sequence[int]
    events: Sequence[LogEvent | StreamRestarted | ReplyFinished]

    def cursor(self, event: LogEvent | StreamRestarted | ReplyFinished) -> Cursor:
        """The place after an event, in the first attempt that told it: the same live and ever after."""
        for attempt in range(1, self.attempt):
            # An attempt that has not said yet where it goes on keeps all that is saved.
            if min(self.restarts[attempt - 1 : self.attempt - 1], default=event.position) >= event.position:
                return Cursor(attempt, event.position)
        return Cursor(self.attempt, event.position)


#: Sends a piece of text to a reader at once, with the cursor after it; False if that cannot be done at the moment.
#: What other readers of the piece can use is kept in the last argument.
Deliver: TypeAlias = Callable[[TextPiece, Cursor, dict[Any, Any]], bool]


class _Reader:
    """How far one reader has got, through all attempts."""

    __slots__ = ("_log", "_position", "attempt", "offset")

    def __init__(self, cursor: Cursor) -> None:
        self.attempt = cursor.attempt
        #: Bytes read of the attempt's log: none until its first slice.
        self.offset = 0
        self._position = cursor.position
        self._log: LogReader | None = None

    def take(self, slice: LiveSlice) -> News:
        """Take a slice in; gives what is new in it. Raises `InvalidCursor`."""
        events: list[LogEvent | StreamRestarted | ReplyFinished] = []
        if self._log is None or slice.attempt != self.attempt:
            self._log = log = LogReader()
            events.extend(self._enter(slice, log))
        else:
            log = self._log
            events.extend(self._unread(log.read(slice.data)))
            self.offset += len(slice.data)
        if slice.ended and self._position > log.position + 1:
            raise InvalidCursor
        self._position = max(self._position, log.position)
        if slice.ended and self._position == log.position:
            self._position += 1
            events.append(ReplyFinished(self._position, slice.reply))
        return News(slice.attempt, slice.restarts, events)

    def take_saved(self, saved: SavedReply) -> News:
        """As `take`, from the row: of a reply that still runs, it may have less than was read live."""
        whole = LiveSlice(saved.attempt, saved.restarts, write_log(saved.parts), ended=not saved.running)
        if saved.running:
            log = LogReader()
            log.read(whole.data)
            if saved.attempt < self.attempt or self._position > log.position:
                return News(self.attempt, (), ())
        self._log = None
        news = self.take(whole)
        if saved.running:
            # A live log has the same positions, but not the same bytes: it is entered anew.
            self._log, self.offset = None, 0
        return news

    def skip_to(self, position: int) -> None:
        """It was given what lies before; the log is still to be read from where it had got to."""
        self._position = position

    def _enter(self, slice: LiveSlice, log: LogReader) -> list[LogEvent | StreamRestarted]:
        """Find the place in a log that is new to this reader."""
        told = log.read(slice.data)
        same = slice.attempt == self.attempt
        if slice.attempt < self.attempt:
            raise InvalidCursor
        restarted: list[LogEvent | StreamRestarted] = []
        if not same:
            # What both attempts have in common; `restarts` begins with the second attempt.
            passed = slice.restarts[max(self.attempt - 1, 0) : slice.attempt - 1]
            common = min(passed, default=self._position)
            if self._position > common:
                self._position = common
                restarted = [StreamRestarted(common, log.part_at(common))]
        self.attempt, self.offset = slice.attempt, len(slice.data)
        unread = self._unread(told)
        if self._position > log.position + slice.ended:
            raise InvalidCursor if slice.ended else _NotYet
        return [*restarted, *unread]

    def _unread(self, told: Sequence[LogEvent]) -> list[LogEvent]:
        try:
            return events_after(told, self._position)
        except ValueError as error:
            raise InvalidCursor from error


class _Listener:
    """A reader that has caught up, and is handed text as it comes; dismissed also when none comes for a while."""

    __slots__ = ("_deliver", "_loop", "_news", "_reader", "_seen", "_timer", "dismissed", "taken")

    def __init__(self, reader: _Reader, restarts: Sequence[int], deliver: Deliver) -> None:
        self._reader = reader
        self._news = News(reader.attempt, restarts, ())
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self.dismissed = self._loop.create_future()
        #: Pieces taken, and how many of them at the last look.
        self.taken = self._seen = 0
        self._timer = self._loop.call_later(POLL_INTERVAL, self._look)

    def take(self, piece: TextPiece, shared: dict[Any, Any]) -> bool:
        if not self._deliver(piece, self._news.cursor(piece), shared):
            return False
        self._reader.skip_to(piece.position)
        self.taken += 1
        return True

    def dismiss(self) -> None:
        self._timer.cancel()
        if not self.dismissed.done():
            self.dismissed.set_result(None)

    def _look(self) -> None:
        if self.taken == self._seen:
            self.dismiss()
        else:
            self._seen = self.taken
            self._timer = self._loop.call_later(POLL_INTERVAL, self._look)


async def follow_reply(
    live: LiveReplies,
    message_id: UUID,
    cursor: Cursor,
    load: Callable[[], Awaitable[SavedReply]],
    deliver: Deliver | None = None,
) -> AsyncGenerator[News]:
    """Everything of a reply after `cursor`, as it comes; the last event is ReplyFinished.

    `load` gives the saved reply, or raises where the reader may not see it (any more). With `deliver`, text that comes
    while the reader has caught up is given to that, and is not in the news. Raises `InvalidCursor`.
    """
    reader = _Reader(cursor)
    quiet = 0
    was_live = False
    with live.watch(message_id) as watch:
        saved = await load()
        if cursor.attempt > saved.attempt:
            raise InvalidCursor
        while True:
            slice = await live.read(message_id, reader.attempt, reader.offset) if saved.running else None
            if slice is not None and slice.attempt < max(saved.attempt, reader.attempt):
                # Left behind by a writer that died.
                slice = None
            # What was live and is not any more was parked or given up: the row knows.
            is_gone, was_live = was_live and slice is None, slice is not None
            # No live state: finished, parked, between two writers, or written where this node cannot see it.
            try:
                news = reader.take_saved(saved) if slice is None else reader.take(slice)
            except _NotYet:
                news = News(reader.attempt, (), ())
            quiet = 0 if news.events else quiet + 1
            # Executed for each piece, a crowd that comes to a running reply would never catch up.
            rest = news if deliver is None else _deliver_text(news, deliver)
            if rest.events:
                yield rest
            if not saved.running or (slice is not None and slice.ended):
                return
            if slice is not None and slice.more:
                # Soon: it was the reader that took its time, not the writer.
                await asyncio.sleep(0)
                continue
            if slice is not None and deliver is not None:
                if not rest.events and await _listen(live, message_id, reader, slice.restarts, deliver):
                    quiet = 0
            elif not is_gone:
                await (asyncio.sleep(PACE) if news.events else watch.changed(POLL_INTERVAL))
            if slice is None or quiet >= QUIET_POLLS:
                saved, quiet = await _reload(load, saved), 0


def _deliver_text(news: News, deliver: Deliver) -> News:
    """Deliver the text that the news begin with, as far as that can be done at once; gives what is left of them."""
    for index, event in enumerate(news.events):
        if not isinstance(event, TEXT_PIECES) or not deliver(event, news.cursor(event), {}):
            return replace(news, events=news.events[index:])
    return replace(news, events=())


async def _listen(
    live: LiveReplies, message_id: UUID, reader: _Reader, restarts: Sequence[int], deliver: Deliver
) -> bool:
    """Have text delivered until something else happens, or nothing does; whether there was any."""
    listener = _Listener(reader, restarts, deliver)
    feed = live.listen(message_id, reader.attempt, reader.offset, listener)
    try:
        if feed is None:
            # More has come, or it has ended.
            return True
        await listener.dismissed
        return listener.taken > 0
    finally:
        listener.dismiss()
        if feed is not None:
            feed.leave(listener)


async def _reload(load: Callable[[], Awaitable[SavedReply]], known: SavedReply) -> SavedReply:
    """The reply as its row has it now, or as it was while PostgreSQL is away: a reader only waits longer then."""
    try:
        return await load()
    except Exception as error:
        if not is_unreachable(error):
            raise
        return known


async def wait_for_end(
    live: LiveReplies, message_id: UUID, load: Callable[[], Awaitable[SavedReply]], timeout: float
) -> bool:
    """Wait until a reply is saved for good; False if it is not after `timeout` seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    attempt = offset = quiet = 0
    with live.watch(message_id) as watch:
        while True:
            if slice := await live.read(message_id, attempt, offset):
                offset = len(slice.data) + (offset if slice.attempt == attempt else 0)
                attempt = slice.attempt
            quiet = 0 if slice and slice.data else quiet + 1
            # While tokens come the row need not be asked.
            if slice is None or slice.ended or quiet >= QUIET_POLLS:
                quiet = 0
                if not (await load()).running:
                    return True
            remaining = deadline - loop.time()
            if remaining <= 0:
                return False
            await watch.changed(min(POLL_INTERVAL, remaining))
