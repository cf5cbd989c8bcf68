"""Execution as graphql-core does it, with what this schema wants otherwise."""

from typing import Any

from graphql import GraphQLError
from graphql.execution import Executor
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from schema.documents import MOST_ERRORS

#: Where `Executor.build` takes `max_coercion_errors`.
COERCION_ERRORS = 9


class TerseExecutor(StrawberryGraphQLCoreExecutionContext):
    """Says little of variables that are wrong: the first errors, and no names that the schema has."""

    @classmethod
    def build(cls, *args: Any, **more: Any) -> list[GraphQLError] | Executor[Any]:
        # The library's own execute and subscribe give this one by its position.
        args = (*args[:COERCION_ERRORS], MOST_ERRORS, *args[COERCION_ERRORS + 1 :])
        return super().build(*args, **{**more, "hide_suggestions": True})
