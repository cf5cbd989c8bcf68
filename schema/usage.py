"""What replies cost."""

import strawberry

from agent import model
from resolvers.inputs import LARGEST_INT


@strawberry.type
class Usage:
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int

    @classmethod
    def of(cls, usage: model.Usage) -> "Usage":
        # Who has spent more than an Int can say is told the largest.
        return cls(**{kind: min(count, LARGEST_INT) for kind, count in usage.as_columns().items()})
