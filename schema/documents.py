"""What is remembered of documents."""

from collections.abc import Iterator
from contextlib import suppress

from graphql import GraphQLError
from strawberry.extensions import ParserCache, SchemaExtension

#: Documents whose parsing and validation are remembered.
CACHED_DOCUMENTS = 512


class DocumentCache(ParserCache):
    """Parses each document once."""

    def __init__(self) -> None:
        super().__init__(maxsize=CACHED_DOCUMENTS)

    def on_parse(self) -> Iterator[None]:
        # Raised here, a syntax error would end a WebSocket operation without a word; the parser, which runs
        # next where there is no document, raises it where it is answered.
        with suppress(GraphQLError):
            self.execution_context.graphql_document = self.cached_parse_document(
                self.execution_context.query, **self.execution_context.parse_options
            )
        yield


class OneOperation(SchemaExtension):
    """Refuses to guess which operation of a document is meant; stands behind whatever else validates."""

    def on_validate(self) -> Iterator[None]:
        context = self.execution_context
        if context.graphql_document is not None and not context.pre_execution_errors:
            kinds = [definition.kind for definition in context.graphql_document.definitions]
            # The public `operation_name` is the first one's where none was given, and Strawberry would run that.
            # https://spec.graphql.org/draft/#GetOperation()
            if kinds.count("operation_definition") > 1 and context._provided_operation_name is None:
                error = GraphQLError("The document has several operations: operationName must name one.")
                context.pre_execution_errors = [error]
        yield
