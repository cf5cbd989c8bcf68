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

    async def count(self, owner_id: str) -> None:
        """Count one message; raises `RateLimited` where it is one too many."""
        if not await self._limiter.hit(self._item, "messages", owner_id):
            reset_at, _ = await self._limiter.get_window_stats(self._item, "messages", owner_id)
            raise RateLimited(max(1, math.ceil(reset_at - time.time())))

    async def allowance(self, owner_id: str) -> Allowance:
        reset_at, remaining = await self._limiter.get_window_stats(self._item, "messages", owner_id)
        return Allowance(self._item.amount, remaining, datetime.fromtimestamp(reset_at, UTC))
