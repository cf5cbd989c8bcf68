"""Execution as graphql-core does it, with what this schema wants otherwise.

Most fields are plain: their value is an attribute of an object that is there. The library takes the same long way for
each of them as for a field that asks a database: that is half of what a page costs. Here they are read and written at
once, with all that is selected below them, if everything is as it should be. All other fields, and one that holds
anything else (null where there must be none, an exception, something to await, of another class), are left to the
library, which reads it once more: what comes out is the same, errors included.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple, cast

from graphql import (
    ExecutionResult,
    GraphQLObjectType,
    GraphQLOutputType,
    is_abstract_type,
    is_list_type,
    is_non_null_type,
    is_object_type,
)
from graphql.execution.collect_fields import CollectedFields, FieldDetailsList, GroupedFieldSet, collect_fields
from graphql.pyutils import AwaitableOrValue, Path
from graphql.type.definition import GraphQLResolveInfoHelpers
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from schema.lru_cache import LRUCache
from schema.plain_fields import (
    Convert,
    PlainField,
    Writers,
    find_reader,
    select_fields,
    write_leaf,
    write_list,
    write_nullable,
    write_object,
)

#: Operations whose selections are remembered, each for every way in which its @skip and @include went, and the
#: characters of all their documents: up to 350 bytes are remembered for one.
REMEMBERED, REMEMBERED_CHARACTERS = 1024, 100_000


def _refuse(awaitables: Any) -> Any:
    raise AssertionError("no type here must be awaited")


_NO_HELPERS = GraphQLResolveInfoHelpers(gather=_refuse, track=_refuse)


class Selection(NamedTuple):
    """Fields that are selected of an object."""

    # Held, for selections are known by the identity of these.
    fields: GroupedFieldSet
    plain: tuple[PlainField, ...]
    #: Writes all of them, if all are plain.
    write: Convert | None


class Selections:
    """What is remembered of all that an operation selects."""

    def __init__(self) -> None:
        self.root: GroupedFieldSet | None = None
        #: As the library remembers it: of each field and type, what is selected below.
        self.collected: dict[tuple[GraphQLObjectType, int], tuple[FieldDetailsList, CollectedFields]] = {}
        self.known: dict[int, Selection] = {}


class SelectionCache:
    """The selections of operations, for whoever sends them."""

    def __init__(self) -> None:
        self._known: LRUCache[Selections] = LRUCache(REMEMBERED, REMEMBERED_CHARACTERS)

    def find(self, query: str, operation_name: str | None, variables: Mapping[str, Any]) -> Selections:
        """Those of an operation with these variables: only its switches, true or false, change what is selected."""
        key = query, operation_name, *(item for item in variables.items() if isinstance(item[1], bool))
        if key not in self._known:
            self._known.add(key, Selections(), len(query))
        return self._known[key]


class FastExecutor(StrawberryGraphQLCoreExecutionContext):
    """Takes the short way to plain fields."""

    def __init__(
        self, *args: Any, find_selections: Callable[[Mapping[str, Any]], Selections] | None = None, **more: Any
    ) -> None:
        super().__init__(*args, **more)
        # Only types that must be awaited need them, and their methods hold the executor: without them it goes when its
        # operation ends, not at the next search for garbage.
        self.async_helpers = _NO_HELPERS
        self._selections = find_selections(self.variable_values.coerced) if find_selections else Selections()
        self._relevant_sub_fields = self._selections.collected

    def execute_event(self, event: object) -> AwaitableOrValue[ExecutionResult]:
        """The result of a subscription for one of its events."""
        type = self.schema.subscription_type
        assert type is not None
        if self._selections.root is None:
            collected = collect_fields(self.schema, self.fragments, self.variable_values, type, self.operation)
            self._selections.root = collected.grouped_field_set
        write = self._select(type, self._selections.root).write
        if write is not None:
            try:
                return ExecutionResult(write(event), None)
            except Exception:  # noqa: S110 - the library meets it again, and reports it
                pass
        result: Any = self.build_per_event_executor(event).execute_operation(False)
        return cast(AwaitableOrValue[ExecutionResult], result)

    def execute_collected_root_fields(
        self, root_type: GraphQLObjectType, root_value: Any, fields: GroupedFieldSet, serially: bool, defers: Any
    ) -> AwaitableOrValue[dict[str, Any]]:
        """What is selected of the root, by its names in the result."""
        root = self._selections.root = self._selections.root or fields
        return super().execute_collected_root_fields(root_type, root_value, root, serially, defers)

    def execute_fields(
        self,
        parent_type: GraphQLObjectType,
        source_value: Any,
        path: Path | None,
        grouped_field_set: GroupedFieldSet,
        position_context: Any,
    ) -> AwaitableOrValue[dict[str, Any]]:
        """What is selected of one object, by its names in the result."""
        _, plain, write = self._select(parent_type, grouped_field_set)
        if write is not None:
            try:
                return cast(dict[str, Any], write(source_value))
            except Exception:  # noqa: S110 - the library meets it again, and reports it
                pass
        known: dict[str, Any] = {}
        for name, read, writers in plain:
            try:
                value = read(source_value)
                known[name] = writers[type(value)](value)
            except Exception:  # noqa: S112
                continue
        if not known:
            return super().execute_fields(parent_type, source_value, path, grouped_field_set, position_context)
        others = {name: fields for name, fields in grouped_field_set.items() if name not in known}
        results = super().execute_fields(parent_type, source_value, path, others, position_context)
        if isinstance(results, dict):
            return _join(grouped_field_set, known, results)
        return _join_later(grouped_field_set, known, results)

    def _select(self, type: GraphQLObjectType, fields: GroupedFieldSet) -> Selection:
        selection = self._selections.known.get(id(fields))
        if selection is None:
            plain: list[PlainField] = []
            # Middleware wants to see every field.
            if self.middleware_manager is None or not self.middleware_manager.middlewares:
                for name, details in fields.items():
                    found = find_reader(type, details[0].node.name.value)
                    if found is not None and (writers := self._find_writers(found[1], details)) is not None:
                        plain.append(PlainField(name, found[0], writers))
            write = select_fields(plain) if len(plain) == len(fields) else None
            selection = self._selections.known[id(fields)] = Selection(fields, tuple(plain), write)
        return selection

    def _find_writers(self, type: GraphQLOutputType, details: FieldDetailsList) -> Writers | None:
        """What writes values of a field, with all that is selected below it; None if that is not plain."""
        if is_non_null_type(type):
            return self._find_present_writers(type.of_type, details)
        writers = self._find_present_writers(type, details)
        return None if writers is None else write_nullable(writers)

    def _find_present_writers(self, type: GraphQLOutputType, details: FieldDetailsList) -> Writers | None:
        if is_list_type(type):
            items = self._find_writers(type.of_type, details)
            return None if items is None else write_list(items)
        if is_abstract_type(type):
            objects: Writers = {}
            for possible in self.schema.get_possible_types(type):
                objects |= self._find_object_writers(possible, details, abstract=True) or {}
            return objects or None
        if is_object_type(type):
            return self._find_object_writers(type, details, abstract=False)
        return write_leaf(type)

    def _find_object_writers(
        self, type: GraphQLObjectType, details: FieldDetailsList, *, abstract: bool
    ) -> Writers | None:
        write = self._select(type, self.collect_subfields(type, details).grouped_field_set).write
        return None if write is None else write_object(type, write, abstract=abstract)


def _join(names: Iterable[str], known: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    """Both results as one, in the order of the names; a field that the type has not is in neither."""
    results = known | others
    return {name: results[name] for name in names if name in results}


async def _join_later(names: Iterable[str], known: dict[str, Any], others: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    return _join(names, known, await others)
