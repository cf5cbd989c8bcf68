"""The schema, from its roots."""

from collections.abc import AsyncGenerator, Container, Iterable, Iterator, Mapping
from contextlib import aclosing
from typing import Any, cast

import strawberry
from graphql import ExecutionResult as CoreResult
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
from graphql import OperationType as OperationKind
from graphql.execution import create_source_event_stream
from strawberry.exceptions import MissingQueryError
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.schema.schema import DEFAULT_ALLOWED_OPERATION_TYPES
from strawberry.types import ExecutionResult
from strawberry.types.graphql import OperationType

from schema import conversation_stream, message_stream
from schema.context import RequestContext
from schema.documents import MOST_ERRORS, DocumentCache
from schema.errors import code_errors
from schema.executor import FastExecutor, SelectionCache
from schema.limits import DocumentLimits
from schema.mutation import Mutation
from schema.query import Query
from schema.subscription import Subscription
from schema.task import Task


class LoquentSchema(strawberry.Schema):
    """The schema, with limits for documents, and errors as the contract has them.

    It has graphql-core run the operations itself: Strawberry's way asks extensions before and after each step, costs
    as much as the execution, and has nobody to ask here.
    """

    def __init__(self, *, limits: DocumentLimits, introspection: bool, **more: Any) -> None:
        super().__init__(**more)
        #: Subscriptions that are running now, on any transport.
        self.open_subscriptions = 0
        self.documents = DocumentCache(self._schema, limits, introspection=introspection)
        self._selections = SelectionCache()

    async def execute(
        self,
        query: str | None,
        variable_values: dict[str, Any] | None = None,
        context_value: Any = None,
        root_value: Any = None,
        operation_name: str | None = None,
        allowed_operation_types: Iterable[OperationType] | None = None,
        operation_extensions: Mapping[str, Any] | None = None,
    ) -> ExecutionResult:
        """One result; a subscription has many, and is refused here.

        Raises `MissingQueryError`, `CannotGetOperationTypeError` and `InvalidOperationTypeError`.
        """
        allowed = set(allowed_operation_types or DEFAULT_ALLOWED_OPERATION_TYPES) - {OperationType.SUBSCRIPTION}
        executor = self._begin(query, variable_values, context_value, root_value, operation_name, allowed)
        return _failed(executor) if isinstance(executor, list) else await _run(executor)

    async def stream(
        self,
        query: str | None,
        variable_values: dict[str, Any] | None = None,
        context_value: Any = None,
        root_value: Any = None,
        operation_name: str | None = None,
        operation_extensions: Mapping[str, Any] | None = None,
        allowed_operation_types: Iterable[OperationType] | None = None,
    ) -> AsyncGenerator[ExecutionResult]:
        """The results of any operation as they come; one that is refused has its errors as the only result."""
        allowed = allowed_operation_types or DEFAULT_ALLOWED_OPERATION_TYPES
        return self._stream_results(query, variable_values, context_value, root_value, operation_name, allowed)

    def _begin(
        self,
        query: str | None,
        variables: dict[str, Any] | None,
        context: Any,
        root: Any,
        name: str | None,
        allowed: Container[OperationType],
    ) -> list[GraphQLError] | FastExecutor:
        """What executes an operation, or why it is refused."""
        if not query:
            raise MissingQueryError
        prepared = self.documents.prepare(query)
        if prepared.document is not None:
            operation = prepared.find_operation(name)
            if operation is None:
                raise CannotGetOperationTypeError(name)
            if isinstance(context, RequestContext):
                context.operation = operation
            if (type := OperationType(operation.operation.value)) not in allowed:
                raise InvalidOperationTypeError(type)
        if errors := self.documents.check(prepared, name, variables):
            return errors
        assert prepared.document is not None, "it has no errors"
        # Little is said of variables that are wrong: the first errors, and no names that the schema has.
        executor: Any = FastExecutor.build(
            self._schema,
            prepared.document,
            root,
            context,
            variables,
            name,
            max_coercion_errors=MOST_ERRORS,
            is_awaitable=optimized_is_awaitable,  # type: ignore[arg-type]
            hide_suggestions=True,
            selections=self._selections,
            text=query,
        )
        return cast(list[GraphQLError] | FastExecutor, executor)

    async def _stream_results(self, *operation: Any) -> AsyncGenerator[ExecutionResult]:
        try:
            executor = self._begin(*operation)
        except (MissingQueryError, CannotGetOperationTypeError, InvalidOperationTypeError) as error:
            executor = [_wrap(error)]
        if isinstance(executor, list):
            yield _failed(executor)
        elif executor.operation.operation is not OperationKind.SUBSCRIPTION:
            yield await _run(executor)
        else:
            self.open_subscriptions += 1
            try:
                async with aclosing(_follow(executor)) as results:
                    async for result in results:
                        yield result
            finally:
                self.open_subscriptions -= 1


async def _run(executor: FastExecutor) -> ExecutionResult:
    try:
        result: Any = executor.execute_operation()
        return _convert(await result if executor.is_awaitable(result) else result)
    except Exception as error:
        return _failed([_wrap(error)])


async def _follow(executor: FastExecutor) -> AsyncGenerator[ExecutionResult]:
    """The results of a subscription, one for each event.

    https://spec.graphql.org/draft/#sec-Subscription
    """
    try:
        events: Any = create_source_event_stream(executor)
        if executor.is_awaitable(events):
            events = await events
        if isinstance(events, CoreResult):
            yield _convert(events)
            return
        async with aclosing(events):
            async for event in events:
                result: Any = executor.execute_event(event)
                yield _convert(await result if executor.is_awaitable(result) else result)
    except Exception as error:
        yield _failed([_wrap(error)])


def _convert(result: CoreResult) -> ExecutionResult:
    if result.errors:
        code_errors(result.errors)
    return ExecutionResult(data=result.data, errors=result.errors)


def _failed(errors: list[GraphQLError]) -> ExecutionResult:
    code_errors(errors)
    return ExecutionResult(data=None, errors=errors)


def _wrap(error: Exception) -> GraphQLError:
    if isinstance(error, GraphQLError):
        return error
    told = error.as_http_error_reason() if isinstance(error, CannotGetOperationTypeError) else str(error)
    return GraphQLError(told, original_error=error)


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
