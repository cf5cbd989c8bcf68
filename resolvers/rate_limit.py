"""How many messages a user may send in a minute, on all nodes together."""

import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.storage.memory import Entry
from limits.aio.strategies import MovingWindowRateLimiter

from resolvers.errors import RateLimited

if TYPE_CHECKING:
    from resolvers.shared_windows import SharedWindows


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of the limit, and when the oldest message that counts stops to count (now, where none does)."""

    limit: int
    remaining: int
    reset_at: datetime


class RateLimit:
    """A moving window of one minute per user.

    Every node counts in its memory what it took itself. With `shared` windows all nodes also count there, and the
    stricter of the two counts holds: a Valkey that is away, or comes back empty, gives nobody a new minute.
    """

    def __init__(self, messages_per_minute: int, shared: "SharedWindows | None" = None) -> None:
        self._item = RateLimitItemPerMinute(messages_per_minute, namespace="messages")
        self._own = MovingWindowRateLimiter(OwnWindows())
        self._shared = shared

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

        Takes a round trip to Valkey, `shared_windows.PATIENCE` seconds at the most, and no time while Valkey is known
        to be away: a transaction may wait for it.
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
