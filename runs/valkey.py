"""Live state that many nodes share, through Valkey.

A node keeps in memory what it writes and what its readers follow; readers never wait for Valkey. Of every reply
there are two keys, side by side in a cluster: the log of an attempt, and which attempt is the newest. A writer
appends once per tick and publishes one hint for all that it wrote; a node that has readers of it fetches the rest.

Valkey may be lost at any time: the writer has the whole log in memory and writes it again. Whoever cannot see it
meanwhile reads the saved steps.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError

from persistence.tables import Message
from runs.feed import Feed, Listener
from runs.live import LiveSlice, Signal
from runs.memory import LINGER, MemoryLiveReplies, MemoryWatch

logger = logging.getLogger(__name__)

#: Seconds between two writes of a node, and before it tries an unreachable Valkey again.
TICK, RETRY = 0.025, 0.5
#: Seconds that a write of many replies is put off longer, for each of them and at most: it costs about as much, and
#: fewer of them are made.
TICK_OF_EACH, LONGEST_TICK = 0.0001, 0.1
#: Seconds that a reader's first look waits for Valkey at the most.
FIRST_LOOK = 0.5
#: Seconds that keys live if their node dies; no reply takes longer than that between two writes.
LIFETIME = 3600
CHANNEL = "loquent:live"
UNREACHABLE = (RedisError, OSError, TimeoutError)

# An attempt never hides a newer one: its node may have slept. And none is told of whose log Valkey has lost a part:
# the answer is the log's length, which the writer knows.
SET_NEWEST = """
local known = redis.call('HGET', KEYS[1], 'attempt')
if known and tonumber(known) > tonumber(ARGV[1]) then return tonumber(ARGV[5]) end
local length = redis.call('STRLEN', KEYS[1] .. ':' .. ARGV[1])
if length ~= tonumber(ARGV[5]) then return length end
redis.call('HSET', KEYS[1], 'attempt', ARGV[1], 'restarts', ARGV[2], 'ended', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('EXPIRE', KEYS[1] .. ':' .. ARGV[1], ARGV[4])
return length
"""
# To write at a place, not at the end: a write that comes late, or twice, changes nothing.
WRITE_LOG = """
if redis.call('STRLEN', KEYS[1]) < tonumber(ARGV[1]) then return -1 end
return redis.call('SETRANGE', KEYS[1], ARGV[1], ARGV[2])
"""
DROP_LOG = """
redis.call('DEL', KEYS[1] .. ':' .. ARGV[1])
if redis.call('HGET', KEYS[1], 'attempt') == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""
# Nothing where Valkey has lost which attempt is the newest: then it has lost a part of the log too.
READ_NEWEST = """
local newest = redis.call('HMGET', KEYS[1], 'attempt', 'restarts', 'ended')
if not newest[1] then return nil end
local offset = 0
if newest[1] == ARGV[1] then offset = ARGV[2] end
return {newest[1], newest[2], newest[3], redis.call('GETRANGE', KEYS[1] .. ':' .. newest[1], offset, -1)}
"""

_SIGNALS: dict[bytes, Signal] = {b"w": "wake", b"s": "stop", b"l": "lose"}
_LETTERS = {signal: letter for letter, signal in _SIGNALS.items()}
#: The first byte of a hint: ids follow, of logs that grew, or of rows that changed.
_GREW, _CHANGED = b"g", b"c"


@dataclass(slots=True)
class _Written:
    """A reply that this node writes: how much of its log Valkey has."""

    attempt: int
    sent: int = 0
    #: Whether Valkey must be given the whole log, because it is new or Valkey has lost it.
    whole: bool = True
    dropped: bool = False


def _newest_key(message_id: UUID) -> str:
    return f"loquent:{{{message_id}}}"


def _log_key(message_id: UUID, attempt: int) -> str:
    return f"loquent:{{{message_id}}}:{attempt}"


class ValkeyLiveReplies:
    """`LiveReplies` for many nodes."""

    def __init__(self, url: str) -> None:
        self._memory = MemoryLiveReplies()
        self._valkey = Redis.from_url(url, socket_timeout=5, socket_connect_timeout=2, max_connections=32)
        # Hints may be far apart: no time-out for them. A socket of this machine has no keep-alive.
        keep_alive = {} if url.startswith("unix:") else {"socket_keepalive": True}
        self._hints = Redis.from_url(url, socket_connect_timeout=2, socket_timeout=None, **keep_alive)
        self._written: dict[UUID, _Written] = {}
        self._dirty: set[UUID] = set()
        self._changed: set[UUID] = set()
        self._signals: list[bytes] = []
        self._wanted: set[UUID] = set()
        self._to_write = asyncio.Event()
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
        with suppress(*UNREACHABLE):
            await self._flush()
        await self._valkey.aclose()
        await self._hints.aclose()

    # Writing

    def begin(self, message_id: UUID, attempt: int, restarts: Sequence[int], log: bytes) -> None:
        self._memory.begin(message_id, attempt, restarts, log)
        self._written[message_id] = _Written(attempt)
        self._touch(message_id)

    def append(self, message_id: UUID, attempt: int, data: bytes) -> None:
        self._memory.append(message_id, attempt, data)
        self._touch(message_id)

    def end(self, message_id: UUID, attempt: int, reply: Message | None = None) -> None:
        self._memory.end(message_id, attempt, reply)
        self._touch(message_id)

    def drop(self, message_id: UUID, attempt: int) -> None:
        self._memory.drop(message_id, attempt)
        written = self._written.get(message_id)
        if written is not None and written.attempt == attempt:
            written.dropped = True
            self._touch(message_id)

    def notify(self, id: UUID) -> None:
        self._memory.notify(id)
        self._changed.add(id)
        self._to_write.set()

    def signal(self, signal: Signal, message_id: UUID) -> None:
        self._signals.append(_LETTERS[signal] + message_id.bytes)
        self._to_write.set()

    def on_signal(self, listener: Callable[[Signal, UUID], None]) -> None:
        self._listener = listener

    def _touch(self, message_id: UUID) -> None:
        self._dirty.add(message_id)
        self._to_write.set()

    # Reading

    async def read(self, message_id: UUID, attempt: int, offset: int) -> LiveSlice | None:
        slice = await self._memory.read(message_id, attempt, offset)
        if message_id in self._written:
            return slice
        if slice is None and self.is_reachable:
            # The first look of a reader: later ones find it in memory.
            try:
                async with asyncio.timeout(FIRST_LOOK):
                    await self._mirror([message_id])
            except UNREACHABLE as error:
                self._note(reachable=False, reason=error)
            slice = await self._memory.read(message_id, attempt, offset)
            # This node may have begun to write it meanwhile.
            if slice is not None and not (message_id in self._written or self._memory.is_watched(message_id)):
                self._memory.forget(message_id)
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
            if id not in self._written and not self._memory.is_watched(id):
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
        dirty = len(self._dirty)
        await self._flush()
        self._note(reachable=True)
        await asyncio.sleep(min(LONGEST_TICK, TICK + TICK_OF_EACH * dirty))

    async def _flush(self) -> None:
        """Give Valkey all that it does not have."""
        dirty, self._dirty = self._dirty, set()
        changed, self._changed = self._changed, set()
        signals, self._signals = self._signals, []
        try:
            pipeline = self._valkey.pipeline(transaction=False)
            grown = [(id, self._add_writes(pipeline, id)) for id in dirty]
            for letter, ids in ((_GREW, dirty), (_CHANGED, changed)):
                if ids:
                    pipeline.publish(CHANNEL, letter + b"".join(id.bytes for id in ids))
            for signal in signals:
                pipeline.publish(CHANNEL, signal)
            answers = await pipeline.execute()
        except BaseException:
            # What has arrived is not known: all of it is written again.
            for id, unsure in self._written.items():
                unsure.whole = True
                self._dirty.add(id)
            self._changed |= changed
            self._to_write.set()
            raise
        for id, index in grown:
            self._check_length(id, answers[index] if index is not None else None)

    def _check_length(self, id: UUID, length: int | None) -> None:
        """After a write: is all of the log there?"""
        written, log = self._written.get(id), self._memory.find_log(id)
        if written is None:
            return
        if length is not None and length != written.sent:
            # The length of the log is its version: another one means that Valkey has lost data.
            written.whole = True
            self._touch(id)
        elif log is not None and log.ended:
            asyncio.get_running_loop().call_later(LINGER, self._forget_written, id, written)

    def _forget_written(self, id: UUID, written: _Written) -> None:
        if self._written.get(id) is written:
            del self._written[id]

    def _add_writes(self, pipeline: Pipeline, id: UUID) -> int | None:
        """Add what Valkey lacks of a reply; gives the place of the answer that must be the log's length."""
        written = self._written.get(id)
        if written is None:
            return None
        key, log = _newest_key(id), self._memory.find_log(id)
        if written.dropped or log is None or log.attempt != written.attempt:
            pipeline.eval(DROP_LOG, 1, key, str(written.attempt))
            del self._written[id]
            return None
        place = None
        if written.whole:
            pipeline.set(_log_key(id, written.attempt), bytes(log.data), ex=LIFETIME)
        elif len(log.data) > written.sent:
            place = len(pipeline)
            rest = bytes(memoryview(log.data)[written.sent :])
            pipeline.eval(WRITE_LOG, 1, _log_key(id, written.attempt), written.sent, rest)
        if written.whole or log.ended:
            restarts = orjson.dumps(list(log.restarts))
            lifetime = int(2 * LINGER) if log.ended else LIFETIME
            place = len(pipeline)
            pipeline.eval(SET_NEWEST, 1, key, str(log.attempt), restarts, int(log.ended), lifetime, len(log.data))
        written.sent, written.whole = len(log.data), False
        return place

    async def _fetch(self) -> None:
        await self._to_fetch.wait()
        self._to_fetch.clear()
        wanted, self._wanted = self._wanted, set()
        await self._mirror([id for id in wanted if self._memory.is_watched(id)])

    async def _mirror(self, ids: Sequence[UUID]) -> None:
        """Take over what other nodes have written of these replies."""
        ids = [id for id in ids if id not in self._written]
        if not ids:
            return
        pipeline = self._valkey.pipeline(transaction=False)
        known = []
        for id in ids:
            log = self._memory.find_log(id)
            attempt, offset = (log.attempt, len(log.data)) if log else (0, 0)
            known.append((attempt, offset))
            pipeline.eval(READ_NEWEST, 1, _newest_key(id), str(attempt), offset)
        answers = await pipeline.execute()
        self._note(reachable=True)
        for id, (attempt, offset), answer in zip(ids, known, answers, strict=True):
            if id in self._written:
                continue
            if answer is not None:
                self._take_over(id, attempt, offset, *answer)
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

    async def _listen(self) -> None:
        async with self._hints.pubsub(ignore_subscribe_messages=True) as pubsub:
            await pubsub.subscribe(CHANNEL)
            self._note(reachable=True)
            for id in self._memory.watched():
                self._want(id)
                self._memory.notify(id)
            async for message in pubsub.listen():
                self._hear(message["data"])

    def _hear(self, hint: bytes) -> None:
        self.hints += 1
        letter = hint[:1]
        ids = [UUID(bytes=hint[start : start + 16]) for start in range(1, len(hint), 16)]
        if letter == _GREW:
            for id in ids:
                if id not in self._written and self._memory.is_watched(id):
                    self._want(id)
        elif letter == _CHANGED:
            for id in ids:
                self._memory.notify(id)
        elif letter in _SIGNALS:
            for id in ids:
                self._listener(_SIGNALS[letter], id)
