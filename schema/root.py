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
from strawberry.extensions import SchemaExtension
from strawberry.schema.schema import DEFAULT_ALLOWED_OPERATION_TYPES
from strawberry.types import ExecutionContext, ExecutionResult
from strawberry.types.graphql import OperationType

from schema import conversation_stream, message_stream
from schema.documents import CheckDocument, DocumentCache
from schema.errors import code_errors
from schema.executor import TerseExecutor
from schema.limits import DocumentLimits
from schema.mutation import Mutation
from schema.query import Query
from schema.subscription import Subscription
from schema.task import Task


class LoquentSchema(strawberry.Schema):
    """The schema, with limits for documents, and errors as the contract has them."""

    def __init__(self, *, limits: DocumentLimits, introspection: bool, **more: Any) -> None:
        super().__init__(
            **more,
            extensions=[lambda: CheckDocument(self.documents), lambda: CountSubscription(self)],
            execution_context_class=TerseExecutor,
        )
        #: Subscriptions that are running now, on any transport.
        self.open_subscriptions = 0
        self.documents = DocumentCache(self._schema, limits, introspection=introspection)

    async def execute(self, *args: Any, **more: Any) -> ExecutionResult:
        """One result; a subscription has many, and is refused here: it would run and answer null."""
        allowed = more.pop("allowed_operation_types", None) or DEFAULT_ALLOWED_OPERATION_TYPES
        more["allowed_operation_types"] = set(allowed) - {OperationType.SUBSCRIPTION}
        return await super().execute(*args, **more)

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        code_errors(errors)


class CountSubscription(SchemaExtension):
    """Counts a subscription from when it is let in until its stream is closed, however that comes."""

    def __init__(self, schema: LoquentSchema) -> None:
        super().__init__()
        self._schema = schema
        self._counted = False

    def on_operation(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._schema.open_subscriptions -= self._counted

    def on_execute(self) -> Iterator[None]:
        if self.execution_context.operation_type is OperationType.SUBSCRIPTION:
            self._counted = True
            self._schema.open_subscriptions += 1
        yield


def create_schema(limits: DocumentLimits | None = None, *, introspection: bool = True) -> LoquentSchema:
    """The whole contract, ready to execute documents within the limits (default: those of `DocumentLimits`)."""
    schema = LoquentSchema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        types=[*message_stream.EVENTS, *conversation_stream.EVENTS, Task],
        limits=limits or DocumentLimits(),
        introspection=introspection,
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
