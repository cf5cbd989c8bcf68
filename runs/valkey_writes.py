"""The replies that one node writes: what of them Valkey has, and which of them are written next."""

import asyncio
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import orjson
from redis.asyncio.client import Pipeline

from runs.memory import LINGER, Log
from runs.valkey_format import DROP_LOG, SET_NEWEST, WRITE_LOG, log_key, newest_key

#: Seconds that new text of a reply waits which nobody reads elsewhere, and between two looks for such.
UNREAD_WAIT, UNREAD_TICK = 1.0, 0.05
#: Seconds for which a reply that another node has asked for is written as soon as there is something new.
FOLLOWED_FOR = 15.0
#: Seconds that keys live if their node dies, from when it began to write. A reply that takes longer is written anew
#: with its next text.
LIFETIME = 3600


@dataclass(slots=True)
class _Written:
    """A reply that this node writes: how much of its log Valkey has."""

    attempt: int
    sent: int = 0
    #: Whether Valkey must be given the whole log, because it is new or Valkey has lost it.
    whole: bool = True
    #: Whether it was given up, and whether a write that is under way says so.
    dropped: bool = False
    drop_sent: bool = False
    #: Until when another node is taken to read it, by the monotonic clock.
    followed_until: float = 0.0


class ValkeyWrites:
    """Decides what is written when; `find_log` gives the log of a reply, `wake` is called when something is due."""

    def __init__(self, find_log: Callable[[UUID], Log | None], wake: Callable[[], None]) -> None:
        self._find_log, self._wake = find_log, wake
        self._written: dict[UUID, _Written] = {}
        #: What is written next.
        self._due: set[UUID] = set()
        #: What nobody reads elsewhere and has something new, and since when: the oldest come first.
        self._unread: dict[UUID, float] = {}
        self._unread_timer: asyncio.TimerHandle | None = None

    def __contains__(self, id: UUID) -> bool:
        return id in self._written

    def begin(self, id: UUID, attempt: int) -> None:
        known = self._written.get(id)
        if known is None or known.dropped or known.attempt < attempt:
            self._written[id] = _Written(attempt)
            self.hurry(id)

    def grow(self, id: UUID) -> None:
        """The log has grown: it is written soon, if anyone reads it elsewhere."""
        written = self._written.get(id)
        if written is None:
            return
        now = time.monotonic()
        if now < written.followed_until:
            self.hurry(id)
        elif id not in self._due:
            self._unread.setdefault(id, now)
            if self._unread_timer is None:
                self._look_later(now)

    def drop(self, id: UUID, attempt: int) -> None:
        written = self._written.get(id)
        if written is not None and written.attempt == attempt:
            written.dropped = True
            self.hurry(id)

    def follow(self, id: UUID) -> None:
        """Another node has readers of it."""
        written = self._written.get(id)
        if written is not None:
            written.followed_until = time.monotonic() + FOLLOWED_FOR
            if id in self._unread:
                self.hurry(id)

    def hurry(self, id: UUID) -> None:
        """Have it written next, whoever reads it."""
        self._unread.pop(id, None)
        self._due.add(id)
        self._wake()

    def _look_later(self, now: float) -> None:
        oldest = next(iter(self._unread.values()))
        wait = max(UNREAD_TICK, oldest + UNREAD_WAIT - now)
        self._unread_timer = asyncio.get_running_loop().call_later(wait, self._hurry_unread)

    def _hurry_unread(self) -> None:
        """Have those written that have waited long enough."""
        self._unread_timer = None
        now = time.monotonic()
        for id, _ in [*itertools.takewhile(lambda waiting: waiting[1] + UNREAD_WAIT <= now, self._unread.items())]:
            self.hurry(id)
        if self._unread:
            self._look_later(now)

    def close(self) -> None:
        """Have everything written with the next write, which is the last."""
        if self._unread_timer is not None:
            self._unread_timer.cancel()
        self._due.update(self._unread)
        self._unread.clear()

    @property
    def due(self) -> int:
        return len(self._due)

    def take_due(self) -> set[UUID]:
        due, self._due = self._due, set()
        return due

    def write_all_again(self) -> None:
        """It is not known what has arrived."""
        self._unread.clear()
        for id, unsure in self._written.items():
            unsure.whole = True
            self._due.add(id)

    def add_to(self, pipeline: Pipeline, id: UUID) -> int | None:
        """Add what Valkey lacks of a reply; gives the place of the answer that must be the log's length."""
        written = self._written.get(id)
        if written is None:
            return None
        key, log = newest_key(id), self._find_log(id)
        if written.dropped or log is None or log.attempt != written.attempt:
            pipeline.eval(DROP_LOG, 1, key, str(written.attempt))
            written.drop_sent = True
            return None
        place = None
        if written.whole:
            pipeline.set(log_key(id, written.attempt), bytes(log.data), ex=LIFETIME)
        elif len(log.data) > written.sent:
            place = len(pipeline)
            rest = bytes(memoryview(log.data)[written.sent :])
            pipeline.eval(WRITE_LOG, 1, log_key(id, written.attempt), written.sent, rest)
        if written.whole or log.ended:
            restarts = orjson.dumps(list(log.restarts))
            lifetime = int(2 * LINGER) if log.ended else LIFETIME
            place = len(pipeline)
            pipeline.eval(SET_NEWEST, 1, key, str(log.attempt), restarts, int(log.ended), lifetime, len(log.data))
        written.sent, written.whole = len(log.data), False
        return place

    def check_length(self, id: UUID, length: int | None) -> None:
        """After a write: is all of the log there?"""
        written, log = self._written.get(id), self._find_log(id)
        if written is None:
            return
        if written.drop_sent:
            del self._written[id]
        elif length is not None and length != written.sent:
            # The length of the log is its version: another one means that Valkey has lost data.
            written.whole = True
            self.hurry(id)
        elif log is not None and log.ended:
            asyncio.get_running_loop().call_later(LINGER, self._forget, id, written)

    def _forget(self, id: UUID, written: _Written) -> None:
        if self._written.get(id) is written:
            del self._written[id]
