"""How many messages a user may send in a minute."""

import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter

from resolvers.errors import RateLimited


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of the limit, and when all of it is there again."""

    limit: int
    remaining: int
    reset_at: datetime


class RateLimit:
    """A moving window of one minute per user."""

    def __init__(self, messages_per_minute: int) -> None:
        self._item = RateLimitItemPerMinute(messages_per_minute)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    async def check(self, owner_id: str) -> None:
        """Raise `RateLimited` where the next message would be one too many, and count nothing."""
        if not await self._limiter.test(self._item, "messages", owner_id):
            raise await self._refusal(owner_id)

    async def count(self, owner_id: str) -> None:
        """Count one message; raises `RateLimited` where it is one too many."""
        if not await self._limiter.hit(self._item, "messages", owner_id):
            raise await self._refusal(owner_id)

    async def _refusal(self, owner_id: str) -> RateLimited:
        reset_at, _ = await self._limiter.get_window_stats(self._item, "messages", owner_id)
        return RateLimited(max(1, math.ceil(reset_at - time.time())))

    async def allowance(self, owner_id: str) -> Allowance:
        reset_at, remaining = await self._limiter.get_window_stats(self._item, "messages", owner_id)
        return Allowance(self._item.amount, remaining, datetime.fromtimestamp(reset_at, UTC))
