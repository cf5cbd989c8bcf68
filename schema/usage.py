"""What replies cost."""

import strawberry

from agent import model


@strawberry.type
class Usage:
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int

    @classmethod
    def of(cls, usage: model.Usage) -> "Usage":
        return cls(**usage.as_columns())
