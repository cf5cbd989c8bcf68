"""How many messages a user may send in a minute, on all nodes together."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, TypeVar

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.storage.memory import Entry
from limits.aio.strategies import MovingWindowRateLimiter
from limits.util import WindowStats
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from resolvers.errors import RateLimited

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

#: Seconds that Valkey may take to answer, and between two looks whether it is back.
PATIENCE, RETRY = 0.25, 0.5
#: How many questions a node asks Valkey at once; further ones wait.
CONNECTIONS = 32
UNREACHABLE = (RedisError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of the limit, and when the oldest message that counts stops to count (now, where none does)."""

    limit: int
    remaining: int
    reset_at: datetime


class RateLimit:
    """A moving window of one minute per user.

    Every node counts in its memory what it took itself. With a Valkey all nodes also count there, and the stricter
    of the two counts holds: a Valkey that is away, or comes back empty, gives nobody a new minute.
    """

    def __init__(self, messages_per_minute: int, valkey_url: str | None = None) -> None:
        self._item = RateLimitItemPerMinute(messages_per_minute, namespace="messages")
        self._own = MovingWindowRateLimiter(OwnWindows())
        self._shared = SharedWindows(valkey_url) if valkey_url else None

    async def close(self) -> None:
        if self._shared:
            await self._shared.close()

    async def check(self, owner_id: str) -> None:
        """Raise `RateLimited` where the next message would be one too many, and count nothing."""
        allowance = await self.allowance(owner_id)
        if allowance.remaining <= 0:
            raise _refusal(allowance)

    async def count(self, owner_id: str) -> None:
        """Count one message; raises `RateLimited` where it is one too many.

        Takes a round trip to Valkey, `PATIENCE` seconds at the most, and no time while Valkey is known to be away:
        a transaction may wait for it.
        """
        user = _key(owner_id)
        if self._shared and await self._shared.hit(self._item, user) is False:
            raise _refusal(await self.allowance(owner_id))
        if not await self._own.hit(self._item, user):
            raise _refusal(await self.allowance(owner_id))

    async def allowance(self, owner_id: str) -> Allowance:
        """What `check` goes by."""
        user = _key(owner_id)
        windows = [await self._own.get_window_stats(self._item, user)]
        if self._shared and (window := await self._shared.get_window_stats(self._item, user)):
            windows.append(window)
        reset_time, remaining = min(windows, key=lambda window: (window.remaining, -window.reset_time))
        if remaining == self._item.amount:
            reset_time = time.time()
        return Allowance(self._item.amount, remaining, datetime.fromtimestamp(reset_time, UTC))


@lru_cache(maxsize=4096)
def _key(owner_id: str) -> str:
    """What stands for a user in a key: short, and no other's, whatever the id has in it."""
    return sha256(owner_id.encode()).hexdigest()


def _refusal(allowance: Allowance) -> RateLimited:
    if allowance.remaining > 0:
        # The window has moved since.
        return RateLimited(1)
    wait = allowance.reset_at.timestamp() - time.time()
    # A little more: exactly at the end of its minute a message still counts, and times are rounded to microseconds.
    return RateLimited(max(1, math.ceil(wait + 1e-5)))


class OwnWindows(MemoryStorage):
    """The windows of one process.

    The library's own storage goes through all keys at each hit, which with a thousand users takes most of a core;
    this one looks at those that expired.
    """

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        begin = time.time() - expiry
        self._forget_before(begin)
        counted = [entry for entry in self.events.get(key, ()) if entry.atime >= begin]
        if len(counted) + amount > limit:
            return False
        # Last, so that the keys stand in the order of their newest entries.
        self.events.pop(key, None)
        self.events[key] = [Entry(expiry)] * amount + counted
        return True

    def _forget_before(self, begin: float) -> None:
        while self.events:
            key, entries = next(iter(self.events.items()))
            if entries[0].atime >= begin:
                return
            del self.events[key]


class SharedWindows:
    """The windows that all nodes share, as long as Valkey answers in time."""

    def __init__(self, url: str) -> None:
        self._pool = ConnectionPool.from_url(
            url,
            # One more try at once, for a connection that was lost while nobody used it.
            retry=Retry(NoBackoff(), 1),
            socket_timeout=PATIENCE,
            socket_connect_timeout=PATIENCE,
        )
        # The client's own blocking pool goes on with some waits that are cancelled.
        self._connections = asyncio.Semaphore(CONNECTIONS)
        # By the pool, since the library knows other forms of URLs than the client does.
        options: dict[str, Any] = {"key_prefix": "loquent:limit", "connection_pool": self._pool}
        self._limiter = MovingWindowRateLimiter(RedisStorage("redis://", implementation="redispy", **options))
        self._return: asyncio.Task[None] | None = None

    async def close(self) -> None:
        if self._return:
            self._return.cancel()
        await self._pool.aclose()

    async def hit(self, item: RateLimitItem, user: str) -> bool | None:
        """Whether one more was counted; None while Valkey is away."""
        return await self._ask(lambda: self._limiter.hit(item, user))

    async def get_window_stats(self, item: RateLimitItem, user: str) -> WindowStats | None:
        """When the oldest entry goes, and how many are left; None while Valkey is away."""
        return await self._ask(lambda: self._limiter.get_window_stats(item, user))

    async def _ask(self, question: Callable[[], Awaitable[Answer]]) -> Answer | None:
        try:
            # In this order: whoever waits here waits for this node, which says nothing about Valkey.
            async with self._connections, asyncio.timeout(PATIENCE):
                # Looked at now: those before may have found out.
                return None if self._return else await question()
        except UNREACHABLE as error:
            # Of many that wait at the same time, one tells.
            if not self._return:
                logger.warning("Valkey cannot be reached, each node counts messages by itself: %r", error)
                self._return = asyncio.create_task(self._wait_for_return())
            return None

    async def _wait_for_return(self) -> None:
        """Look for Valkey, so that no message has to."""
        valkey = Redis(connection_pool=self._pool)
        while True:
            await asyncio.sleep(RETRY)
            with suppress(*UNREACHABLE):
                async with asyncio.timeout(PATIENCE):
                    await valkey.ping()
                break
        logger.info("Valkey is back, nodes count messages together")
        self._return = None
