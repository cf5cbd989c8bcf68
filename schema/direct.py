"""Text deltas, written to a client without executing its operation for each of them.

Executing an operation costs ten times what sending its result does, and of a reply nearly every event is a text delta,
whose result differs from the last one in four values. So the operation is executed once on a delta that has marks in
place of its values; what comes out is a template, exact for whatever was selected, and each delta is put into it. All
other events go the ordinary way.
"""

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from graphql import DocumentNode, ExecutionResult, OperationDefinitionNode, execute

from runs.feed import TextPiece
from runs.follow import Cursor, Deliver
from runs.log import TextDelta
from schema import message_stream
from schema.lru_cache import LRUCache
from schema.root import LoquentSchema
from schema.scalars import StreamCursors

#: Templates that are remembered.
REMEMBERED = 512

# No name in a document can look like these values do in JSON: names have no colon and no dot.
_NONCE = secrets.token_hex(8)
_MARKS: dict[str, Any] = {
    "cursor": f"cursor.{_NONCE}",
    "part": secrets.randbelow(10**8) + 10**9,
    "offset": secrets.randbelow(10**8) + 10**9 + 10**8,
    "text": f"text.{_NONCE}",
}
_MARKED = re.compile("|".join(f"(?P<{name}>(?<=:){re.escape(orjson.dumps(m).decode())})" for name, m in _MARKS.items()))


@dataclass(frozen=True, slots=True)
class Template:
    """The result of an operation for a delta, as a format with the values' names."""

    format: bytes

    def fill(self, piece: TextPiece, cursor: str) -> bytes:
        """The `data` of the result, in JSON."""
        return self.format % {
            b"cursor": orjson.dumps(cursor),
            b"part": orjson.dumps(piece.part),
            b"offset": orjson.dumps(piece.offset),
            b"text": orjson.dumps(piece.text),
        }


@dataclass(frozen=True, slots=True)
class Templates:
    """The templates of one operation."""

    text: Template
    reasoning: Template


class TemplateCache:
    """Makes the templates of operations, and remembers them."""

    def __init__(self, schema: LoquentSchema) -> None:
        self._schema = schema
        self._known: LRUCache[Templates | None] = LRUCache(REMEMBERED)

    def find(self, query: str, operation_name: str | None, variables: Mapping[str, Any] | None) -> Templates | None:
        """The templates of an operation that is running; None where its result has something else to tell too."""
        document = self._schema.documents.prepare(query).document
        assert document is not None, "the operation is running"
        # Of variables, only those of @skip and @include can change what is selected of a delta; one that is null is an
        # error, and not its default. Who sends more than are declared must not fill the memory with them.
        given = {name: value for name, value in (variables or {}).items() if value is None or isinstance(value, bool)}
        switches = tuple((name, given[name]) for name in sorted(_declared_variables(document) & given.keys()))
        key = (query, operation_name, switches)
        if key not in self._known:
            self._known.add(key, self._make(document, operation_name, variables))
        return self._known[key]

    def _make(
        self, document: DocumentNode, operation_name: str | None, variables: Mapping[str, Any] | None
    ) -> Templates | None:
        def make(kind: type) -> Template | None:
            result = execute(
                self._schema._schema,
                document,
                root_value=kind(**_MARKS),
                variable_values=dict(variables or {}),
                operation_name=operation_name,
            )
            return _make_template(result.data) if isinstance(result, ExecutionResult) and not result.errors else None

        text, reasoning = make(message_stream.TextDelta), make(message_stream.ReasoningDelta)
        return Templates(text, reasoning) if text and reasoning else None


def _declared_variables(document: DocumentNode) -> set[str]:
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    return {each.variable.name.value for node in operations for each in node.variable_definitions or ()}


def _make_template(data: Any) -> Template:
    written = orjson.dumps(data).decode().replace("%", "%%")
    return Template(_MARKED.sub(lambda mark: f"%({mark.lastgroup})b", written).encode())


def deliver_text(templates: Templates, cursors: StreamCursors, send: Callable[[bytes], bool]) -> Deliver:
    """What sends deltas of the cursors' message by their templates.

    `send` sends the `data` of a result, in JSON, at once; False if it cannot at the moment.
    """

    def deliver(piece: TextPiece, cursor: Cursor, shared: dict[Any, Any]) -> bool:
        template = templates.text if isinstance(piece, TextDelta) else templates.reasoning
        data: bytes | None = shared.get(id(template))
        if data is None:
            data = shared[id(template)] = template.fill(piece, cursors.write(cursor))
        return send(data)

    return deliver
