"""Who is asking."""

from datetime import datetime

import strawberry

from resolvers.quota import load_quota
from resolvers.usage import sum_usage
from schema.context import Info
from schema.usage import Usage


@strawberry.type
class RateLimit:
    limit: int
    remaining: int
    reset_at: datetime


@strawberry.type
class TokenQuota:
    limit: int
    remaining: int
    reset_at: datetime


@strawberry.type
class Viewer:
    id: strawberry.ID

    @strawberry.field(description="Tokens spent since a time (default: the start of the current UTC day).")
    async def usage(self, info: Info, since: datetime | None = None) -> Usage:
        return Usage.of(await sum_usage(info.context.caller, since))

    @strawberry.field(description="What is left of the sendMessage rate limit.")
    async def rate_limit(self, info: Info) -> RateLimit:
        caller = info.context.caller
        allowance = await caller.rate_limit.allowance(caller.owner_id)
        return RateLimit(limit=allowance.limit, remaining=allowance.remaining, reset_at=allowance.reset_at)

    @strawberry.field(
        description="What is left of the tokens of the current UTC day, of every kind together; null without a limit."
    )
    async def token_quota(self, info: Info) -> TokenQuota | None:
        quota = await load_quota(info.context.caller)
        if quota is None:
            return None
        return TokenQuota(limit=quota.limit, remaining=quota.remaining, reset_at=quota.reset_at)
