"""What replies cost."""

import strawberry

from agent import model

#: What the Int of GraphQL can hold; who has spent more is told this.
LARGEST_INT = 2**31 - 1


@strawberry.type
class Usage:
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int

    @classmethod
    def of(cls, usage: model.Usage) -> "Usage":
        return cls(**{kind: min(count, LARGEST_INT) for kind, count in usage.as_columns().items()})
