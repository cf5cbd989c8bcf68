"""Execution as graphql-core does it, with what this schema wants otherwise.

Most fields are plain: their value is an attribute of an object that is there. The library takes the same long way for
each of them as for a field that asks a database: that is half of what a page costs. Here they are read and written at
once, with all that is selected below them, if everything is as it should be. All other fields, and one that holds
anything else (null where there must be none, an exception, something to await, of another class), are left to the
library, which reads it once more: what comes out is the same, errors included.
"""

from collections.abc import Awaitable, Hashable, Iterable
from typing import Any, NamedTuple, cast

from graphql import (
    ExecutionResult,
    GraphQLAbstractType,
    GraphQLError,
    GraphQLObjectType,
    GraphQLOutputType,
    get_nullable_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_object_type,
)
from graphql.execution.collect_fields import CollectedFields, FieldDetailsList, GroupedFieldSet
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

#: Operations whose selections are remembered, each for every way in which its @skip and @include went, and the fields
#: that are selected in one of them: what has more is worked out anew each time.
REMEMBERED, MOST_FIELDS = 200, 200


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
        #: How many fields there are in all of them.
        self.size = 0

    def add(self, selection: Selection) -> Selection:
        self.known[id(selection.fields)] = selection
        self.size += len(selection.fields) + 1
        return selection


class SelectionCache:
    """The selections of operations, for whoever sends them.

    They are known by the document, the operation's name, and the variables that are true or false: those of @skip and
    @include change what is selected, and no others.
    """

    def __init__(self) -> None:
        self._known: LRUCache[Selections] = LRUCache(REMEMBERED)

    def find(self, key: Hashable) -> Selections:
        """Those that are known, or new ones."""
        return self._known[key] if key in self._known else Selections()

    def settle(self, key: Hashable, selections: Selections) -> None:
        """Remember what an execution has worked out, unless it is too much."""
        if key not in self._known:
            if selections.size <= MOST_FIELDS:
                self._known.add(key, selections)
        elif self._known[key].size > MOST_FIELDS:
            self._known.forget(key)


class FastExecutor(StrawberryGraphQLCoreExecutionContext):
    """Takes the short way to plain fields."""

    def __init__(self, *args: Any, selections: SelectionCache | None = None, text: str = "", **more: Any) -> None:
        super().__init__(*args, **more)
        # Only types that must be awaited need them, and their methods hold the executor: without them it goes when its
        # operation ends, not at the next search for garbage.
        self.async_helpers = _NO_HELPERS
        self._cache = selections or SelectionCache()
        name = self.operation.name and self.operation.name.value
        switches = (item for item in self.variable_values.coerced.items() if isinstance(item[1], bool))
        self._key: Hashable = (text, name, *switches)
        # Found when it executes something: a subscription may wait for its events for hours.
        self._selections = Selections()

    def execute_event(self, event: object) -> AwaitableOrValue[ExecutionResult]:
        """The result of a subscription for one of its events."""
        selections = self._cache.find(self._key)
        root = selections.known.get(id(selections.root))
        if root is not None and root.write is not None:
            try:
                return ExecutionResult(root.write(event), None)
            except Exception:  # noqa: S110 - the library meets it again, and reports it
                pass
        result: Any = self.build_per_event_executor(event).execute_operation(False)
        return cast(AwaitableOrValue[ExecutionResult], result)

    def execute_collected_root_fields(
        self, root_type: GraphQLObjectType, root_value: Any, fields: GroupedFieldSet, serially: bool, defers: Any
    ) -> AwaitableOrValue[dict[str, Any]]:
        """What is selected of the root, by its names in the result."""
        selections = self._selections = self._cache.find(self._key)
        self._relevant_sub_fields = selections.collected
        if selections.root is None:
            selections.root = fields
        # Those: what is remembered of selections is known by the identity of their fields.
        return super().execute_collected_root_fields(root_type, root_value, selections.root, serially, defers)

    def build_response(self, data: dict[str, Any] | None) -> Any:
        """The result, once all is selected."""
        self._cache.settle(self._key, self._selections)
        return super().build_response(data)

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
            selection = self._selections.add(Selection(fields, tuple(plain), write))
        return selection

    def _find_writers(self, type: GraphQLOutputType, details: FieldDetailsList) -> Writers | None:
        """What writes values of a field, with all that is selected below it; None if that is not plain."""
        if is_leaf_type(get_nullable_type(type)):
            return write_leaf(type)
        if is_non_null_type(type):
            return self._find_present_writers(type.of_type, details)
        writers = self._find_present_writers(type, details)
        return None if writers is None else write_nullable(writers)

    def _find_present_writers(self, type: GraphQLOutputType, details: FieldDetailsList) -> Writers | None:
        if is_list_type(type):
            items = self._find_writers(type.of_type, details)
            return None if items is None else write_list(items)
        if is_object_type(type):
            return self._find_object_writers(type, details, abstract=False)
        objects: Writers = {}
        for possible in self.schema.get_possible_types(cast(GraphQLAbstractType, type)):
            objects |= self._find_object_writers(possible, details, abstract=True) or {}
        return objects or None

    def _find_object_writers(
        self, type: GraphQLObjectType, details: FieldDetailsList, *, abstract: bool
    ) -> Writers | None:
        if self._selections.size > MOST_FIELDS:
            return None
        try:
            fields = self.collect_subfields(type, details).grouped_field_set
        except GraphQLError:
            # A switch is null. The library finds that out too, if there is such an object.
            return None
        write = self._select(type, fields).write
        return None if write is None else write_object(type, write, abstract=abstract)


def _join(names: Iterable[str], known: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    """Both results as one, in the order of the names; a field that the type has not is in neither."""
    results = known | others
    return {name: results[name] for name in names if name in results}


async def _join_later(names: Iterable[str], known: dict[str, Any], others: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    return _join(names, known, await others)
