"""Documents, prepared once: parsed, measured, validated and remembered."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    ASTValidationRule,
    DocumentNode,
    FieldNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    ValidationRule,
    parse,
    specified_rules,
    validate,
)
from graphql.validation import validation_context
from graphql.validation.rules import overlapping_fields_can_be_merged
from graphql.validation.validate import ValidationAbortedError
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from schema.cost import OperationCost
from schema.errors import LONGEST_MESSAGE
from schema.limits import DocumentLimits, DocumentMeter, beyond, check_text
from schema.lru_cache import LRUCache

#: Documents that are remembered, and the characters of all of them: parsed, one weighs up to 300 bytes a character.
CACHED_DOCUMENTS, CACHED_CHARACTERS = 512, 250_000
#: Errors that are reported of one document, or of the variables of one request; each may print what is wrong.
MOST_ERRORS = 3

# Steps after which the library gives a document up. Comparing the fields that are repeated and the fragments that
# stand beside each other is quadratic, and so is following all fragments from all operations.
overlapping_fields_can_be_merged.MAX_COMPLEXITY_BUDGET = 12_000
validation_context.MAX_FRAGMENT_WORK = 3_000

_SUGGESTION = re.compile(r"[.,]? did you mean .*", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class PreparedDocument:
    """What is known of a document, whoever sends it."""

    #: None if it cannot be parsed.
    document: DocumentNode | None
    errors: tuple[GraphQLError, ...] = ()
    #: Of each operation by its name.
    costs: Mapping[str | None, OperationCost] = field(default_factory=dict)

    def find_operation(self, name: str | None) -> OperationDefinitionNode | None:
        """The operation of this name, without one the first; None if there is no such operation."""
        assert self.document is not None
        for node in self.document.definitions:
            if isinstance(node, OperationDefinitionNode) and name in (None, node.name.value if node.name else None):
                return node
        return None


class DocumentCache:
    """Prepares the documents of one schema, each once: the latest are remembered, but for refused ones."""

    def __init__(self, schema: GraphQLSchema, limits: DocumentLimits, *, introspection: bool) -> None:
        self._schema = schema
        self._limits = limits
        self._meter = DocumentMeter(schema, limits)
        self._rules: list[type[ASTValidationRule]] = [
            *specified_rules,
            MaybeNullValidationRule,
            OneOfInputValidationRule,
        ]
        if not introspection:
            self._rules.append(NoIntrospection)
        self._prepared: LRUCache[PreparedDocument] = LRUCache(CACHED_CHARACTERS)

    def prepare(self, query: str) -> PreparedDocument:
        """The document of a text, with its errors if it has any."""
        if query in self._prepared:
            return self._prepared[query]
        prepared = self._prepare(query)
        if not prepared.errors:
            self._prepared.add(query, prepared, max(len(query), CACHED_CHARACTERS // CACHED_DOCUMENTS))
        return prepared

    def check(
        self, prepared: PreparedDocument, operation_name: str | None, variables: Mapping[str, Any] | None
    ) -> list[GraphQLError]:
        """Why a request with this document is refused, if it is."""
        if prepared.errors:
            return list(prepared.errors)
        # Strawberry would run the first one.
        # https://spec.graphql.org/draft/#GetOperation()
        if len(prepared.costs) > 1 and operation_name is None:
            return [GraphQLError("The document has several operations: operationName must name one.")]
        [cost] = prepared.costs.values() if operation_name is None else [prepared.costs[operation_name]]
        try:
            self._meter.check_cost(cost.given(variables))
        except GraphQLError as error:
            return [error]
        return []

    def _prepare(self, query: str) -> PreparedDocument:
        document = None
        try:
            check_text(query)
            document = self._parse(query)
            costs = self._meter.measure(document)
        except GraphQLError as error:
            return PreparedDocument(document, (_without_suggestion(error),))
        errors = validate(self._schema, document, self._rules, max_errors=MOST_ERRORS, hide_suggestions=True)
        return PreparedDocument(document, tuple(_without_suggestion(error) for error in errors), costs)

    def _parse(self, query: str) -> DocumentNode:
        try:
            return parse(query, max_tokens=self._limits.tokens)
        except GraphQLError as error:
            if f"more than {self._limits.tokens} tokens" in error.message:
                message = "The document has more than {0} tokens, comments included; at most {0} are allowed."
                raise beyond("tokens", message.format(self._limits.tokens)) from None
            raise


class NoIntrospection(ValidationRule):
    """Keeps the schema to itself; `__typename` stays."""

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        if node.name.value in ("__schema", "__type"):
            self.report_error(GraphQLError(f"Introspection is off on this server: no {node.name.value}.", node))


def _without_suggestion(error: GraphQLError) -> GraphQLError:
    """The error without what it says of names that the schema has, and with a reason if the library gave up."""
    if isinstance(error, ValidationAbortedError) and error.message == "Validation aborted.":
        return beyond("repeats", "The document repeats fields, or spreads fragments, too often to be checked.")
    # Whatever a scalar raised over a literal, as int() does over thousands of digits, the document is at fault.
    error.original_error = None
    # No more of a message is ever sent.
    error.message = _SUGGESTION.sub(".", error.message[: LONGEST_MESSAGE + 1])
    return error
