"""Live state in the memory of one process."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from persistence.tables import Message
from runs.feed import Feed, Listener, Pace
from runs.live import LiveSlice, Signal
from runs.log import cut_log

#: Bytes that a reader takes at once, or one record.
MOST_AT_ONCE = 16 * 1024
#: Seconds that the live state of a saved reply stays for readers to finish; later ones read the saved reply.
LINGER = 10.0


@dataclass(slots=True)
class Log:
    """What is live of one reply."""

    attempt: int
    restarts: Sequence[int]
    data: bytearray
    ended: bool = False
    #: The row of the saved reply, where it was written here.
    reply: Message | None = None
    #: For readers that have caught up; None until there was one.
    feed: Feed | None = None

    def dismiss(self) -> None:
        """Something else than text has happened."""
        if self.feed is not None:
            self.feed.dismiss()


class MemoryWatch:
    """A reader's flag, raised by each change while the reader is within the block."""

    __slots__ = ("_changed", "_id", "_waiter", "_watches")

    def __init__(self, id: UUID, watches: "dict[UUID, set[MemoryWatch]]") -> None:
        self._id, self._watches = id, watches
        self._changed = False
        self._waiter: asyncio.Future[None] | None = None

    def __enter__(self) -> Self:
        self._watches.setdefault(self._id, set()).add(self)
        return self

    def __exit__(self, *error: object) -> None:
        watches = self._watches[self._id]
        watches.discard(self)
        if not watches:
            del self._watches[self._id]

    def wake(self) -> None:
        self._changed = True
        self._end_wait()

    async def changed(self, timeout: float) -> None:
        if not self._changed:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = loop.call_later(timeout, self._end_wait)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        self._changed = False

    def _end_wait(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class MemoryLiveReplies:
    """`LiveReplies` for one process."""

    def __init__(self) -> None:
        self._logs: dict[UUID, Log] = {}
        self._pace = Pace()
        self._watches: dict[UUID, set[MemoryWatch]] = {}

    def begin(self, message_id: UUID, attempt: int, restarts: Sequence[int], log: bytes) -> None:
        known = self._logs.get(message_id)
        if known is None or known.attempt < attempt:
            self.notify(message_id)
            self._logs[message_id] = Log(attempt, restarts, bytearray(log))
            self._wake(message_id)

    def append(self, message_id: UUID, attempt: int, data: bytes) -> None:
        log = self._logs.get(message_id)
        if log is not None and log.attempt == attempt:
            log.data += data
            if log.feed is not None:
                log.feed.grow()
            self._wake(message_id)

    def end(self, message_id: UUID, attempt: int, reply: Message | None = None) -> None:
        log = self._logs.get(message_id)
        if log is not None and log.attempt == attempt and not log.ended:
            log.ended, log.reply = True, reply
            asyncio.get_running_loop().call_later(LINGER, self._forget, message_id, log)
        self.notify(message_id)

    def _forget(self, message_id: UUID, log: Log) -> None:
        if self._logs.get(message_id) is log:
            del self._logs[message_id]

    def find_log(self, message_id: UUID) -> Log | None:
        return self._logs.get(message_id)

    def forget(self, message_id: UUID) -> None:
        """Let a log go that nobody reads here."""
        self._logs.pop(message_id, None)

    def drop(self, message_id: UUID, attempt: int) -> None:
        log = self._logs.get(message_id)
        if log is not None and log.attempt == attempt:
            log.dismiss()
            del self._logs[message_id]
        self.notify(message_id)

    def listen(self, message_id: UUID, attempt: int, offset: int, listener: Listener) -> Feed | None:
        log = self._logs.get(message_id)
        if log is None or log.attempt != attempt or log.ended:
            return None
        if log.feed is None:
            log.feed = Feed(log.data, self._pace)
        return log.feed if log.feed.join(offset, listener) else None

    def notify(self, id: UUID) -> None:
        if log := self._logs.get(id):
            log.dismiss()
        self._wake(id)

    def _wake(self, id: UUID) -> None:
        for watch in self._watches.get(id, ()):
            watch.wake()

    async def read(self, message_id: UUID, attempt: int, offset: int) -> LiveSlice | None:
        log = self._logs.get(message_id)
        if log is None:
            return None
        start = offset if log.attempt == attempt else 0
        # Who enters finds its place in the whole log; later a slow reader shall not hold all that it has not sent.
        end = cut_log(log.data, start, MOST_AT_ONCE) if start else len(log.data)
        more = end < len(log.data)
        data = bytes(memoryview(log.data)[start:end])
        ended = log.ended and not more
        return LiveSlice(log.attempt, log.restarts, data, ended, more, log.reply if ended else None)

    def watch(self, id: UUID) -> MemoryWatch:
        return MemoryWatch(id, self._watches)

    def is_watched(self, id: UUID) -> bool:
        return id in self._watches

    def watched(self) -> list[UUID]:
        return list(self._watches)

    def signal(self, signal: Signal, message_id: UUID) -> None:
        """There are no other nodes."""

    def on_signal(self, listener: Callable[[Signal, UUID], None]) -> None:
        """There are no other nodes."""

    @property
    def count(self) -> int:
        return len(self._logs)

    async def start(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """Nothing to disconnect from."""
