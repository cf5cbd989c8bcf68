"""How many tokens a user's replies may cost in a day."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from persistence import messages
from resolvers.context import Context
from resolvers.errors import QuotaExceeded


@dataclass(frozen=True, slots=True)
class TokenQuota:
    """What is left of a UTC day's tokens, and when the next day begins: at `reset_at`, in `retry_after` seconds."""

    limit: int
    remaining: int
    reset_at: datetime
    retry_after: int


async def load_quota(context: Context) -> TokenQuota | None:
    """The caller's quota, None where there is none. Tokens of every kind count: input, output, cache read and write."""
    limit = context.tokens_per_day
    if limit is None:
        return None
    async with context.database.session() as session:
        spent, now = await messages.sum_today(session, context.owner_id)
    midnight = datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), time(), UTC)
    return TokenQuota(limit, max(0, limit - spent), midnight, math.ceil((midnight - now).total_seconds()))


async def check_quota(context: Context) -> None:
    """Raise `QuotaExceeded` where the caller's tokens of the UTC day are spent.

    For the start of a reply alone: one that has begun is finished, whatever it costs, and counts once it has
    finished. So a user may go over by what is under way, which the rate limit bounds.
    """
    quota = await load_quota(context)
    if quota and not quota.remaining:
        raise QuotaExceeded(quota.retry_after)
