"""Execution as graphql-core does it, with what this schema wants otherwise."""

from typing import Any

from graphql import GraphQLError
from graphql.execution import Executor
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from schema.documents import MOST_ERRORS


class TerseExecutor(StrawberryGraphQLCoreExecutionContext):
    """Says little of variables that are wrong: the first errors, and no names that the schema has."""

    @classmethod
    def build(cls, *args: Any, **more: Any) -> list[GraphQLError] | Executor[Any]:
        return super().build(*args, **{**more, "max_coercion_errors": MOST_ERRORS, "hide_suggestions": True})
