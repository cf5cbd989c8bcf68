"""The schema, from its roots."""

from collections.abc import Iterator
from typing import Any

import strawberry
from graphql import (
    GraphQLArgument,
    GraphQLError,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    Undefined,
)
from strawberry.extensions import ValidationCache
from strawberry.schema.schema import DEFAULT_ALLOWED_OPERATION_TYPES
from strawberry.types import ExecutionContext, ExecutionResult
from strawberry.types.graphql import OperationType

from schema import conversation_stream, message_stream
from schema.documents import CACHED_DOCUMENTS, DocumentCache, OneOperation
from schema.errors import code_errors
from schema.mutation import Mutation
from schema.query import Query
from schema.subscription import Subscription
from schema.task import Task


class LoquentSchema(strawberry.Schema):
    """The schema, with errors as the contract has them."""

    async def execute(self, *args: Any, **more: Any) -> ExecutionResult:
        """One result; a subscription has many, and is refused here: it would run and answer null."""
        allowed = more.pop("allowed_operation_types", None) or DEFAULT_ALLOWED_OPERATION_TYPES
        more["allowed_operation_types"] = set(allowed) - {OperationType.SUBSCRIPTION}
        return await super().execute(*args, **more)

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        code_errors(errors)


def create_schema() -> LoquentSchema:
    """The whole contract, ready to execute."""
    schema = LoquentSchema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        types=[*message_stream.EVENTS, *conversation_stream.EVENTS, Task],
        extensions=[DocumentCache, lambda: ValidationCache(maxsize=CACHED_DOCUMENTS), OneOperation],
    )
    for argument in _arguments(schema._schema):
        # An argument that may be left out is written without the null that Python needs as its default.
        if argument.default_value is None:
            argument.default_value = Undefined
    return schema


def _arguments(schema: GraphQLSchema) -> Iterator[GraphQLArgument | GraphQLInputField]:
    for type in schema.type_map.values():
        if isinstance(type, GraphQLInputObjectType):
            yield from type.fields.values()
        elif isinstance(type, GraphQLObjectType | GraphQLInterfaceType):
            for field in type.fields.values():
                yield from field.args.values()
