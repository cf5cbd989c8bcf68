"""What every resolver is given: who asks, and the means to answer."""

from dataclasses import dataclass

from agent.model import OfferedModels
from persistence.database import Database
from resolvers.rate_limit import RateLimit
from runs.worker import Worker


@dataclass(frozen=True, slots=True)
class Context:
    """One caller. `owner_id` is the token's subject: every statement names it."""

    owner_id: str
    database: Database
    worker: Worker
    rate_limit: RateLimit
    models: OfferedModels
    #: What a user's replies may cost in a UTC day, in tokens of every kind; None for any number.
    tokens_per_day: int | None = None
