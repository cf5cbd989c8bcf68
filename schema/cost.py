"""What an operation costs: its fields, each times the sizes of the pages and lists that it is in."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from graphql import FieldNode, IntValueNode, OperationDefinitionNode, ValueNode, VariableNode

from schema.paging import DEFAULT_SIZE, LARGEST_SIZE

#: How many objects a list without pages is taken to have.
ASSUMED_LIST = 10
#: Where counting ends.
COUNTLESS = 1_000_000_000


class PageSize(NamedTuple):
    """The size of a page as the document has it: `first` and `last`, each a number, a variable's name or nothing."""

    first: int | str | None
    last: int | str | None

    def of(self, variables: Mapping[str, Any]) -> int:
        """How many objects the page may have, from 0 to the largest that is ever given."""
        values = [variables.get(size) if isinstance(size, str) else size for size in self]
        return max((_clamp(value) for value in values if value is not None), default=DEFAULT_SIZE)


#: A cost as a sum: how often these pages within each other hold one field (None) or one fragment.
Terms: TypeAlias = Counter[tuple[tuple[PageSize, ...], str | None]]


@dataclass(frozen=True, slots=True)
class OperationCost:
    """What an operation costs, with any variables."""

    terms: Terms
    #: The fragments whose cost depends on variables, inner ones first.
    fragments: Mapping[str, Terms]
    #: Of its variables that have one that is a number.
    defaults: Mapping[str, int]
    #: The cost, where no variable matters.
    fixed: int | None

    def given(self, variables: Mapping[str, Any] | None) -> int:
        """The cost with the variables of a request."""
        if self.fixed is not None:
            return self.fixed
        values = {**self.defaults, **(variables or {})}
        costs: dict[str | None, int] = {None: 1}
        for name, terms in self.fragments.items():
            costs[name] = _add_up(terms, costs, values)
        return _add_up(self.terms, costs, values)


def page_size(node: FieldNode) -> PageSize:
    """The size of the page that a field asks for."""
    values = {argument.name.value: argument.value for argument in node.arguments or ()}
    return PageSize(_size(values.get("first")), _size(values.get("last")))


def defaults(node: OperationDefinitionNode) -> Iterator[tuple[str, int]]:
    """The variables that are a number where none is given."""
    for variable in node.variable_definitions or ():
        if isinstance(size := _size(variable.default_value), int):
            yield variable.variable.name.value, size


def _size(node: ValueNode | None) -> int | str | None:
    if isinstance(node, VariableNode):
        return node.name.value
    if isinstance(node, IntValueNode):
        # Python refuses to read a number of thousands of digits.
        return int(node.value) if len(node.value) < 10 else LARGEST_SIZE
    return None


def _clamp(value: object) -> int:
    """A page size within its bounds; what is no number will be refused later and counts most."""
    return int(max(0, min(value, LARGEST_SIZE))) if isinstance(value, int | float) else LARGEST_SIZE


def _add_up(terms: Terms, costs: Mapping[str | None, int], variables: Mapping[str, Any]) -> int:
    total = 0
    for (pages, name), times in terms.items():
        for page in pages:
            times *= page.of(variables)
        total += times * costs[name]
    return min(total, COUNTLESS)
