"""Live state that many nodes share, through Valkey.

A node keeps in memory what it writes and what its readers follow; readers never wait for Valkey. A node that has
readers of a reply asks for it; its writer then appends once per tick and publishes one hint for all that it wrote, and
whoever has asked fetches the rest. What nobody has asked for is written once a second.

Valkey may be lost at any time: the writer has the whole log in memory and writes it again. Whoever cannot see it
meanwhile reads the saved steps.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID

import orjson
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from persistence.tables import Message
from runs.feed import Feed, Listener
from runs.live import LiveSlice, Signal
from runs.memory import MemoryLiveReplies, MemoryWatch
from runs.valkey_format import (
    CHANGED,
    CHANNEL,
    FOLLOWED,
    GREW,
    READ_NEWEST,
    SIGNAL_LETTERS,
    SIGNALS,
    newest_key,
    read_hint,
    write_hint,
)
from runs.valkey_writes import FOLLOWED_FOR, ValkeyWrites

logger = logging.getLogger(__name__)

#: Seconds between two writes of a node, and before it tries an unreachable Valkey again.
TICK, RETRY = 0.025, 0.5
#: Seconds that a write of many replies is put off longer, for each of them and at most: it costs about as much, and
#: fewer of them are made.
TICK_OF_EACH, LONGEST_TICK = 0.0001, 0.1
#: Seconds after which a node that reads a reply asks for it again; its writer minds it for three times as long.
ASK_AGAIN = FOLLOWED_FOR / 3
#: Seconds that a reader's first look waits for Valkey at the most.
FIRST_LOOK = 0.5
UNREACHABLE = (RedisError, OSError, TimeoutError)
#: A connection that died without a word is noticed after half a minute: who does not hear is not asked.
_KEEP_ALIVE_TIMES = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
_KEEP_ALIVE: dict[str, Any] = {
    "socket_keepalive": True,
    "socket_keepalive_options": {
        getattr(socket, name): value for name, value in _KEEP_ALIVE_TIMES.items() if hasattr(socket, name)
    },
}


class ValkeyLiveReplies:
    """`LiveReplies` for many nodes."""

    def __init__(self, url: str) -> None:
        self._memory = MemoryLiveReplies()
        # A crowd of first looks waits for its turn.
        pool = BlockingConnectionPool.from_url(
            url, max_connections=32, timeout=5, socket_timeout=5, socket_connect_timeout=2
        )
        self._valkey = Redis.from_pool(pool)
        # Hints may be far apart: no time-out for them. A socket of this machine has no keep-alive.
        keep_alive = {} if url.startswith("unix:") else _KEEP_ALIVE
        self._hints = Redis.from_url(url, socket_connect_timeout=2, socket_timeout=None, **keep_alive)
        self._to_write = asyncio.Event()
        self._writes = ValkeyWrites(self._memory.find_log, self._to_write.set)
        self._changed: set[UUID] = set()
        self._signals: list[bytes] = []
        #: Replies of other nodes that are read here: which attempt was asked for, and when; what is to be asked for.
        self._followed: dict[UUID, tuple[int, float]] = {}
        self._asked: set[UUID] = set()
        self._wanted: set[UUID] = set()
        self._to_fetch = asyncio.Event()
        self._listener: Callable[[Signal, UUID], None] = lambda signal, id: None
        self._tasks: list[asyncio.Task[None]] = []
        self.is_reachable = True
        #: Hints of nodes that have come, its own too.
        self.hints = 0

    @property
    def count(self) -> int:
        return self._memory.count

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(self._repeat(work)) for work in (self._write, self._fetch, self._listen)]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._writes.close()
        with suppress(*UNREACHABLE):
            await self._flush()
        await self._valkey.aclose()
        await self._hints.aclose()

    # Writing

    def begin(self, message_id: UUID, attempt: int, restarts: Sequence[int], log: bytes) -> None:
        self._memory.begin(message_id, attempt, restarts, log)
        self._writes.begin(message_id, attempt)

    def append(self, message_id: UUID, attempt: int, data: bytes) -> None:
        self._memory.append(message_id, attempt, data)
        self._writes.grow(message_id)

    def end(self, message_id: UUID, attempt: int, reply: Message | None = None) -> None:
        self._memory.end(message_id, attempt, reply)
        self._writes.hurry(message_id)

    def drop(self, message_id: UUID, attempt: int) -> None:
        self._memory.drop(message_id, attempt)
        self._writes.drop(message_id, attempt)

    def notify(self, id: UUID) -> None:
        self._memory.notify(id)
        self._changed.add(id)
        self._to_write.set()

    def signal(self, signal: Signal, message_id: UUID) -> None:
        self._signals.append(write_hint(SIGNAL_LETTERS[signal], [message_id]))
        self._to_write.set()

    def on_signal(self, listener: Callable[[Signal, UUID], None]) -> None:
        self._listener = listener

    # Reading

    async def read(self, message_id: UUID, attempt: int, offset: int) -> LiveSlice | None:
        slice = await self._memory.read(message_id, attempt, offset)
        if message_id in self._writes:
            return slice
        if slice is None and self.is_reachable:
            # The first look of a reader: later ones find it in memory.
            try:
                async with asyncio.timeout(FIRST_LOOK):
                    await self._mirror([message_id])
            except UNREACHABLE as error:
                self._note(reachable=False, reason=error)
            slice = await self._memory.read(message_id, attempt, offset)
            self._let_go(message_id)
        elif slice is not None and not slice.data:
            # Nothing new, and a hint may have been lost.
            self._want(message_id)
        return slice

    def listen(self, message_id: UUID, attempt: int, offset: int, listener: Listener) -> Feed | None:
        return self._memory.listen(message_id, attempt, offset, listener)

    @contextmanager
    def watch(self, id: UUID) -> Iterator[MemoryWatch]:
        try:
            with self._memory.watch(id) as watch:
                yield watch
        finally:
            self._let_go(id)

    def _let_go(self, id: UUID) -> None:
        """Let go what nobody reads here any more, unless this node writes it."""
        if not self._memory.is_watched(id):
            self._followed.pop(id, None)
            if id not in self._writes:
                self._memory.forget(id)

    def _want(self, message_id: UUID) -> None:
        self._wanted.add(message_id)
        self._to_fetch.set()

    # What goes on between the two

    async def _repeat(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do one part of the work for ever, through every failure of Valkey."""
        while True:
            try:
                await work()
            except UNREACHABLE as error:
                self._note(reachable=False, reason=error)
                await asyncio.sleep(RETRY)
            except Exception:
                logger.exception("Valkey: something went wrong, going on")
                await asyncio.sleep(RETRY)

    def _note(self, *, reachable: bool, reason: Exception | None = None) -> None:
        if reachable and not self.is_reachable:
            logger.info("Valkey is back")
        elif not reachable and self.is_reachable:
            logger.warning("Valkey cannot be reached, replies go on without it: %s", reason)
        self.is_reachable = reachable

    async def _write(self) -> None:
        await self._to_write.wait()
        self._to_write.clear()
        due = self._writes.due
        await self._flush()
        self._note(reachable=True)
        await asyncio.sleep(min(LONGEST_TICK, TICK + TICK_OF_EACH * due))

    async def _flush(self) -> None:
        """Give Valkey all that it does not have."""
        due = self._writes.take_due()
        changed, self._changed = self._changed, set()
        asked, self._asked = self._asked, set()
        signals, self._signals = self._signals, []
        try:
            pipeline = self._valkey.pipeline(transaction=False)
            grown = [(id, self._writes.add_to(pipeline, id)) for id in due]
            for letter, ids in ((GREW, due), (CHANGED, changed), (FOLLOWED, asked)):
                if ids:
                    pipeline.publish(CHANNEL, write_hint(letter, ids))
            for signal in signals:
                pipeline.publish(CHANNEL, signal)
            answers = await pipeline.execute()
        except BaseException:
            self._writes.write_all_again()
            self._changed |= changed
            self._asked |= asked
            self._to_write.set()
            raise
        for id, index in grown:
            self._writes.check_length(id, answers[index] if index is not None else None)

    async def _fetch(self) -> None:
        await self._to_fetch.wait()
        self._to_fetch.clear()
        wanted, self._wanted = self._wanted, set()
        watched = [id for id in wanted if self._memory.is_watched(id)]
        await self._mirror(watched)
        for id in watched:
            # Its last reader may have left meanwhile.
            self._let_go(id)

    async def _mirror(self, ids: Sequence[UUID]) -> None:
        """Take over what other nodes have written of these replies."""
        ids = [id for id in ids if id not in self._writes]
        if not ids:
            return
        pipeline = self._valkey.pipeline(transaction=False)
        known = []
        for id in ids:
            log = self._memory.find_log(id)
            attempt, offset = (log.attempt, len(log.data)) if log else (0, 0)
            known.append((attempt, offset))
            pipeline.eval(READ_NEWEST, 1, newest_key(id), str(attempt), offset)
        answers = await pipeline.execute()
        self._note(reachable=True)
        for id, (attempt, offset), answer in zip(ids, known, answers, strict=True):
            if id in self._writes:
                continue
            if answer is not None:
                self._take_over(id, attempt, offset, *answer)
                self._ask_for(id)
            elif attempt:
                # Its writer gave it up, or Valkey has lost it: until it is there again, readers see the saved one.
                self._memory.drop(id, attempt)

    def _take_over(
        self, id: UUID, known: int, offset: int, attempt: bytes, restarts: bytes, ended: bytes, data: bytes
    ) -> None:
        newest = int(attempt)
        # Where the data begins; two fetches may have crossed, so that some or all of it is here by now.
        base = offset if newest == known else 0
        log = self._memory.find_log(id)
        if log is None or log.attempt < newest:
            if base:
                return
            self._memory.begin(id, newest, orjson.loads(restarts), data)
        elif log.attempt > newest or base > len(log.data):
            return
        elif len(log.data) < base + len(data):
            self._memory.append(id, newest, data[len(log.data) - base :])
        if ended == b"1":
            self._memory.end(id, newest)

    def _ask_for(self, id: UUID) -> None:
        """Have its writer write a reply at once, while somebody reads it here."""
        log = self._memory.find_log(id)
        if log is None or log.ended or not self._memory.is_watched(id):
            return
        attempt, asked = self._followed.get(id, (0, 0.0))
        now = time.monotonic()
        # Another attempt may be another node's.
        if attempt != log.attempt or now >= asked + ASK_AGAIN:
            self._followed[id] = (log.attempt, now)
            self._asked.add(id)
            self._to_write.set()

    async def _listen(self) -> None:
        async with self._hints.pubsub(ignore_subscribe_messages=True) as pubsub:
            await pubsub.subscribe(CHANNEL)
            self._note(reachable=True)
            # The nodes that have it may not have heard either.
            self._followed.clear()
            for id in self._memory.watched():
                self._want(id)
                self._memory.notify(id)
            async for message in pubsub.listen():
                self._hear(message["data"])

    def _hear(self, hint: bytes) -> None:
        self.hints += 1
        letter, ids = read_hint(hint)
        if letter == GREW:
            for id in ids:
                if id not in self._writes and self._memory.is_watched(id):
                    self._want(id)
        elif letter == CHANGED:
            for id in ids:
                self._memory.notify(id)
        elif letter == FOLLOWED:
            for id in ids:
                self._writes.follow(id)
        elif letter in SIGNALS:
            for id in ids:
                self._listener(SIGNALS[letter], id)
