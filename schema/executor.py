"""Execution as graphql-core does it, with what this schema wants otherwise.

Of a page nearly all fields are leaves whose value their object has at hand. The library takes the same long way for
each of them as for a field that asks a database: that is a third of what a page costs. Here they are read and written
at once, if they are as they should be. All other fields, and a leaf that is anything else (null where there must be
none, an exception, something to await, of another class), are left to the library, which reads it once more: what
comes out is the same, errors included.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from types import NoneType
from typing import Any, NamedTuple, Self, TypeAlias, cast

from graphql import GraphQLNamedType, GraphQLObjectType, GraphQLScalarType, is_non_null_type
from graphql.execution.collect_fields import GroupedFieldSet
from graphql.pyutils import AwaitableOrValue, Path
from graphql.type.definition import GraphQLResolveInfoHelpers
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.schema.schema_converter import CustomGraphQLEnumType, GraphQLCoreConverter
from strawberry.types.field import StrawberryField

#: The classes of values that each scalar writes without fail; there is nothing to await in them.
SCALARS: Mapping[str, tuple[type, ...]] = {
    "String": (str,),
    "ID": (str,),
    "Int": (int,),
    "Float": (float, int),
    "Boolean": (bool,),
    "DateTime": (datetime,),
    "JSON": (dict, list, str, int, float, bool),
}

Convert: TypeAlias = Callable[[Any], Any]


def _refuse(awaitables: Any) -> Any:
    raise AssertionError("no type here must be awaited")


_NO_HELPERS = GraphQLResolveInfoHelpers(gather=_refuse, track=_refuse)


class Leaf(NamedTuple):
    """A leaf whose value its object has at hand: how it is read, and how values of each class are written."""

    read: Convert
    write: Mapping[type, Convert]


class Selection(NamedTuple):
    """Fields that are selected, by their names in the result, and those of them that are leaves."""

    # Held, for selections are known by the identity of these.
    fields: GroupedFieldSet
    leaves: tuple[tuple[str, Leaf], ...]


class FastExecutor(StrawberryGraphQLCoreExecutionContext):
    """Takes the short way to leaves."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        # Only types that must be awaited need them, and their methods hold the executor: without them it goes when its
        # operation ends, not at the next search for garbage.
        self.async_helpers = _NO_HELPERS
        self._selections: dict[int, Selection] = {}

    def build_per_event_executor(self, payload: Any) -> Self:
        """The executor of one event of a subscription."""
        executor = cast(Self, super().build_per_event_executor(payload))
        # The library shares what is remembered of selections, which are others for each event: it would only grow.
        executor._relevant_sub_fields, executor._selections = {}, {}
        return executor

    def execute_fields(
        self,
        parent_type: GraphQLObjectType,
        source_value: Any,
        path: Path | None,
        grouped_field_set: GroupedFieldSet,
        position_context: Any,
    ) -> AwaitableOrValue[dict[str, Any]]:
        """What is selected of one object, by its names in the result."""
        known: dict[str, Any] = {}
        for name, (read, write) in self._select(parent_type, grouped_field_set).leaves:
            try:
                value = read(source_value)
                known[name] = write[type(value)](value)
            except Exception:  # noqa: S112 - the library meets it again, and reports it
                continue
        if not known:
            return super().execute_fields(parent_type, source_value, path, grouped_field_set, position_context)
        if len(known) == len(grouped_field_set):
            return known
        others = {name: fields for name, fields in grouped_field_set.items() if name not in known}
        results = super().execute_fields(parent_type, source_value, path, others, position_context)
        if isinstance(results, dict):
            return _join(grouped_field_set, known, results)
        return _join_later(grouped_field_set, known, results)

    def _select(self, type: GraphQLObjectType, fields: GroupedFieldSet) -> Selection:
        selection = self._selections.get(id(fields))
        if selection is None:
            leaves: list[tuple[str, Leaf]] = []
            # Middleware wants to see every field.
            if self.middleware_manager is None or not self.middleware_manager.middlewares:
                for name, [details, *_] in fields.items():
                    leaf = find_leaf(type, details.node.name.value)
                    if leaf is not None and not details.node.arguments:
                        leaves.append((name, leaf))
            selection = self._selections[id(fields)] = Selection(fields, tuple(leaves))
        return selection


def _join(names: Iterable[str], known: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    """Both results as one, in the order of the names; a field that the type has not is in neither."""
    results = known | others
    return {name: results[name] for name in names if name in results}


async def _join_later(names: Iterable[str], known: dict[str, Any], others: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    return _join(names, known, await others)


@lru_cache(maxsize=1000)
def find_leaf(type: GraphQLObjectType, name: str) -> Leaf | None:
    """The field of this name, if it is a leaf that needs nothing but its object."""
    if name == "__typename":
        return Leaf(lambda source: type.name, {str: str})
    field = type.fields.get(name)
    definition = field and field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    if field is None or field.args or not isinstance(definition, StrawberryField):
        return None
    read = _find_reader(definition)
    write = _find_writers(field.type.of_type if is_non_null_type(field.type) else field.type)
    if read is None or not write:
        return None
    if not is_non_null_type(field.type):
        write[NoneType] = lambda value: None
    return Leaf(read, write)


def _find_reader(field: StrawberryField) -> Convert | None:
    if field.extensions or field.default_resolver is not getattr:
        return None
    resolver = field.base_resolver
    if resolver is None:
        return attrgetter(field.python_name)
    takes_object = resolver.self_parameter or resolver.root_parameter or resolver.parent_parameter
    if resolver.is_async or not takes_object or len(resolver.signature.parameters) > 1:
        return None
    return resolver.wrapped_func  # type: ignore[return-value]


def _find_writers(type: GraphQLNamedType) -> dict[type, Convert]:
    if isinstance(type, CustomGraphQLEnumType):
        members: Iterable[Any] = type.wrapped_cls
        return {type.wrapped_cls: {member: type.coerce_output_value(member) for member in members}.__getitem__}
    if isinstance(type, GraphQLScalarType):
        return dict.fromkeys(SCALARS.get(type.name, ()), type.coerce_output_value)
    return {}
