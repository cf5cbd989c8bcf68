"""What is remembered of documents."""

from collections.abc import Iterator
from contextlib import suppress

from graphql import GraphQLError
from strawberry.extensions import ParserCache

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
