"""How much one document may ask for.

All is measured in linear time: each definition is walked once, and a fragment is added up once, however often it is
spread. A count that nested fragments double again and again stops at `COUNTLESS`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    TokenKind,
    get_named_type,
    is_composite_type,
)

from schema.cost import ASSUMED_LIST, COUNTLESS, OperationCost, PageSize, Terms, defaults, page_size

#: Characters of a document.
LONGEST_DOCUMENT = 50_000
#: Lines of a document; to find the line of one error takes a look at all of them.
MOST_LINES = 3_000
#: Backslashes of a document; the library reads a string with escapes slowly.
MOST_ESCAPES = 5_000
#: Operations of a document; each is checked with all the fragments that it reaches.
MOST_OPERATIONS = 10
#: Lists and input objects within each other; an error prints them, indented.
DEEPEST_LITERAL = 8


@dataclass(frozen=True, slots=True)
class DocumentLimits:
    """What is the most that a document, or one of its operations with its fragments, may have."""

    #: Of the document, comments included.
    tokens: int = 2000
    #: Fields within each other; those of introspection are free.
    depth: int = 16
    #: Fields that are given another name.
    aliases: int = 30
    root_fields: int = 20
    directives: int = 50
    #: Fields, each times the sizes of the pages and lists that it is in; those of introspection are free.
    cost: int = 10_000


@dataclass(slots=True)
class _Measure:
    """What one definition has, or, once its fragments are added, what it comes to."""

    depth: int = 0
    aliases: int = 0
    root_fields: int = 0
    directives: int = 0
    terms: Terms = field(default_factory=Counter)
    spreads: list["_Spread"] = field(default_factory=list)

    @property
    def fixed_cost(self) -> int | None:
        """The sum of its terms, where there is neither variable nor fragment in them."""
        if any(pages or name is not None for pages, name in self.terms):
            return None
        return min(self.terms.total(), COUNTLESS)


class _Spread(NamedTuple):
    fragment: str
    depth: int
    at_root: bool


class _Place(NamedTuple):
    """Where a selection set stands: in which type, below how many fields, how often."""

    type: GraphQLNamedType | None
    depth: int = 0
    times: int = 1
    pages: tuple[PageSize, ...] = ()
    at_root: bool = True


def check_text(query: str) -> None:
    """Raise `GraphQLError` if a text is too long to be read."""
    _check("characters", len(query), LONGEST_DOCUMENT, "has {} characters")
    lines = 1 + query.count("\n") + query.count("\r") - query.count("\r\n")
    _check("lines", lines, MOST_LINES, "has {} lines")
    _check(
        "escapes",
        query.count("\\"),
        MOST_ESCAPES,
        "has {} escapes",
    )


class DocumentMeter:
    """Measures the documents of one schema."""

    def __init__(self, schema: GraphQLSchema, limits: DocumentLimits) -> None:
        self._schema = schema
        self._limits = limits
        self._connections = {get_named_type(field.type) for field in _fields(schema) if _is_paged(field.args)}

    def measure(self, document: DocumentNode) -> dict[str | None, OperationCost]:
        """The cost of each operation by its name. Raises `GraphQLError`, naming the limit that is exceeded."""
        operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
        _check("operations", len(operations), MOST_OPERATIONS, "has {} operations")
        _check(
            "literals",
            _nesting(document),
            DEEPEST_LITERAL,
            "has literals {} levels deep",
        )
        found = {
            node.name.value: self._measure_fragment(node)
            for node in document.definitions
            if isinstance(node, FragmentDefinitionNode)
        }
        measures = [self._measure_operation(node) for node in operations]
        self._check_directives(sum(measure.directives for measure in [*found.values(), *measures]))
        fragments: dict[str, _Measure] = {}
        for name in _inner_first(found):
            fragments[name] = _with_fragments(found[name], fragments)
        totals = [_with_fragments(measure, fragments) for measure in measures]
        for total in totals:
            self._check_operation(total)
        changing = {name: total.terms for name, total in fragments.items() if total.fixed_cost is None}
        return {
            node.name.value if node.name else None: OperationCost(
                total.terms, changing, dict(defaults(node)), total.fixed_cost
            )
            for node, total in zip(operations, totals, strict=True)
        }

    def check_cost(self, cost: int) -> None:
        """Raise `GraphQLError` if an operation costs too much."""
        what = "costs {} (fields, each times the sizes of the pages and lists that it is in)"
        _check("cost", cost, self._limits.cost, what)

    def _check_operation(self, total: _Measure) -> None:
        limits = self._limits
        _check("depth", total.depth, limits.depth, "is {} levels deep")
        _check("aliases", total.aliases, limits.aliases, "has {} aliases")
        _check(
            "rootFields",
            total.root_fields,
            limits.root_fields,
            "has {} root fields",
        )
        self._check_directives(total.directives)

    def _check_directives(self, count: int) -> None:
        _check("directives", count, self._limits.directives, "has {} directives")

    def _measure_operation(self, node: OperationDefinitionNode) -> _Measure:
        variables = node.variable_definitions or ()
        on_variables = sum(len(variable.directives or ()) for variable in variables)
        directives = len(node.directives or ()) + on_variables
        return self._walk(node.selection_set, _Place(self._schema.get_root_type(node.operation)), directives)

    def _measure_fragment(self, node: FragmentDefinitionNode) -> _Measure:
        type = self._schema.get_type(node.type_condition.name.value)
        return self._walk(node.selection_set, _Place(type), len(node.directives or ()))

    def _walk(self, selection_set: SelectionSetNode, place: _Place, directives: int) -> _Measure:
        found = _Measure(directives=directives)
        waiting = [(selection_set, place)]
        while waiting:
            selection_set, place = waiting.pop()
            for selection in selection_set.selections:
                if selection.directives:
                    found.directives += len(selection.directives)
                if isinstance(selection, FieldNode):
                    inner = self._count_field(selection, place, found)
                    if selection.selection_set:
                        waiting.append((selection.selection_set, inner))
                elif isinstance(selection, FragmentSpreadNode):
                    found.spreads.append(_Spread(selection.name.value, place.depth, place.at_root))
                    found.terms[place.pages, selection.name.value] += place.times
                elif isinstance(selection, InlineFragmentNode):
                    condition = selection.type_condition
                    type = self._schema.get_type(condition.name.value) if condition else place.type
                    waiting.append((selection.selection_set, place._replace(type=type)))
        return found

    def _count_field(self, node: FieldNode, place: _Place, found: _Measure) -> _Place:
        """Count a field; the place of what is selected in it."""
        name = node.name.value
        found.root_fields += place.at_root
        found.aliases += node.alias is not None and node.alias.value != name
        definition = self._schema.get_field(place.type, name) if is_composite_type(place.type) else None
        type = get_named_type(definition.type) if definition else None
        if type and (_describes_the_schema(place.type) or _describes_the_schema(type)):
            return _Place(type, place.depth, at_root=False)
        found.depth = max(found.depth, place.depth + 1)
        found.terms[place.pages, None] += place.times
        if not node.selection_set:
            return place
        times, pages = place.times, place.pages
        if definition and _is_paged(definition.args):
            size = page_size(node)
            if any(isinstance(part, str) for part in size):
                pages = (*pages, size)
            else:
                times *= size.of({})
        elif definition and _is_list(definition.type) and place.type not in self._connections:
            times *= ASSUMED_LIST
        return _Place(type, place.depth + 1, min(times, COUNTLESS), pages, at_root=False)


def _describes_the_schema(type: GraphQLNamedType | None) -> bool:
    return type is not None and type.name.startswith("__")


def _check(name: str, count: int, limit: int, what: str) -> None:
    """Raise `GraphQLError` if a count exceeds its limit; `what` says what the document has, with {} for the count."""
    if count > limit:
        found = what.format(count if count < COUNTLESS else f"{COUNTLESS} or more")
        raise beyond(name, f"The document {found}; at most {limit} are allowed.")


def beyond(name: str, message: str) -> GraphQLError:
    """The refusal of a document beyond a limit, which programs know by its name."""
    return GraphQLError(message, extensions={"limit": name})


def _with_fragments(own: _Measure, fragments: Mapping[str, _Measure]) -> _Measure:
    """What a definition comes to with the fragments that it spreads; unknown ones and circles count nothing."""
    total = _Measure(own.depth, own.aliases, own.root_fields, own.directives)
    for spread in own.spreads:
        if inner := fragments.get(spread.fragment):
            total.depth = max(total.depth, spread.depth + inner.depth)
            total.aliases = min(total.aliases + inner.aliases, COUNTLESS)
            total.directives = min(total.directives + inner.directives, COUNTLESS)
            if spread.at_root:
                total.root_fields = min(total.root_fields + inner.root_fields, COUNTLESS)
    for (pages, name), times in own.terms.items():
        if name is None:
            total.terms[pages, None] += times
        elif inner := fragments.get(name):
            if inner.fixed_cost is None:
                total.terms[pages, name] += times
            else:
                total.terms[pages, None] += min(times * inner.fixed_cost, COUNTLESS)
    return total


def _inner_first(fragments: Mapping[str, _Measure]) -> Iterable[str]:
    """The names of fragments, each after those that it spreads, but for circles."""
    done: dict[str, None] = {}
    begun: set[str] = set()
    waiting = list(fragments)
    while waiting:
        name = waiting[-1]
        if name in begun:
            done[waiting.pop()] = None
        else:
            begun.add(name)
            waiting += {
                spread.fragment
                for spread in fragments[name].spreads
                if spread.fragment in fragments and spread.fragment not in begun
            }
    return done


def _nesting(document: DocumentNode) -> int:
    """How many lists and input objects, or list types, are within each other: all brackets within parentheses."""
    depth = deepest = 0
    token = document.loc.start_token if document.loc else None
    while token:
        if token.kind is TokenKind.PAREN_L or (depth and token.kind in (TokenKind.BRACKET_L, TokenKind.BRACE_L)):
            depth += 1
            deepest = max(deepest, depth)
        elif depth and token.kind in (TokenKind.PAREN_R, TokenKind.BRACKET_R, TokenKind.BRACE_R):
            depth -= 1
        token = token.next
    return max(deepest - 1, 0)


def _fields(schema: GraphQLSchema) -> Iterator[Any]:
    for type in schema.type_map.values():
        if isinstance(type, GraphQLObjectType | GraphQLInterfaceType):
            yield from type.fields.values()


def _is_paged(arguments: Iterable[str]) -> bool:
    return {"first", "last"} <= set(arguments)


def _is_list(type: GraphQLOutputType) -> bool:
    return isinstance(type.of_type if isinstance(type, GraphQLNonNull) else type, GraphQLList)
