"""Fields that are read and written at once come out as from plain execution, whatever their objects hold."""

import asyncio
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from enum import Enum
from random import Random
from types import SimpleNamespace
from typing import Any, NoReturn, TypeAlias, cast
from uuid import UUID

import pytest
import strawberry
from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    Undefined,
    execute,
    get_introspection_query,
    get_named_type,
    is_leaf_type,
    parse,
)
from graphql.execution import Executor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strawberry.scalars import JSON
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from agent import parts
from persistence import tables
from persistence.statements import new_row
from resolvers.context import Context
from resolvers.messages import MessageState
from runs.follow import Cursor
from schema import conversation_stream
from schema.conversation import Conversation
from schema.executor import MOST_FIELDS, REMEMBERED, FastExecutor, SelectionCache
from schema.message import Message, MessageStatus
from schema.plain_fields import find_reader
from schema.root import create_schema
from tests.workers import MODELS

CONTRACT = create_schema()._schema
TIME = datetime(2026, 1, 2, 3, 4, 5, 678, UTC)


Run: TypeAlias = Callable[[Awaitable[Any]], Any]
Described: TypeAlias = tuple[str, list[tuple[Any, ...]]]


# The reference: every field takes the library's way.
PlainExecutor = StrawberryGraphQLCoreExecutionContext


class Drawn:
    """An object whose attributes hold whatever a number and their names make them hold."""

    seed: strawberry.Private[str]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        value = self.__dict__[name] = self.draw(name)
        return value

    def draw(self, name: str) -> Any:
        """The value of an attribute, when it is first read; may raise."""
        return choose(Random(f"{self.seed} {name}"), name, f"{self.seed} {name}")


def draw_object(type: type[Any], seed: str) -> Any:
    drawn = object.__new__(type)
    drawn.seed = seed
    return drawn


@strawberry.enum
class Colour(Enum):
    RED = 1
    BLUE = "blue"


@strawberry.interface
class Named(Drawn):
    name: str | None


@strawberry.type
class Thing(Named):
    id: strawberry.ID
    number: int
    share: float | None
    yes: bool
    at: datetime
    colour: Colour
    shade: Colour | None
    anything: JSON | None
    words: list[str | None]
    other: "Other"
    thing: "Thing | None"
    things: "list[Thing]"
    either: "list[Thing | Other | None]"
    named: Named | None

    @strawberry.field
    def text(self) -> str:
        return self.own_text  # type: ignore[no-any-return]

    @strawberry.field
    async def later(self) -> str | None:
        return self.own_later  # type: ignore[no-any-return]

    @strawberry.field
    def informed(self, info: strawberry.Info) -> str:
        return f"{info.field_name} {info.path.key}"

    @strawberry.field
    def sized(self, size: int = 1) -> int:
        return size


class SpecialThing(Thing):
    """A class of which the schema knows the base only."""


@strawberry.type
class Other(Drawn):
    number: int | None
    nothing: None
    thing: Thing | None


@strawberry.type
class Query(Drawn):
    thing: Thing
    things: list[Thing]
    either: Thing | Other
    named: Named | None
    number: int | None


@strawberry.type
class Mutation(Query):
    pass


SCHEMA = strawberry.Schema(Query, Mutation)._schema


class Text(str):
    """Text of a class that is not the usual one."""


async def wait_for(value: Any) -> Any:
    await asyncio.sleep(0)
    if isinstance(value, Exception):
        raise value
    return value


def raises(error: Exception) -> NoReturn:
    raise error


RIGHT: dict[str, Callable[[str], Any]] = {
    "number": lambda seed: len(seed),
    "share": lambda seed: 0.5,
    "yes": lambda seed: True,
    "at": lambda seed: TIME,
    "colour": lambda seed: Colour.RED,
    "shade": lambda seed: Colour.BLUE,
    "anything": lambda seed: {"a": [1, {"b": None}]},
    "words": lambda seed: ["a", None],
    "nothing": lambda seed: None,
    "other": lambda seed: draw_object(Other, seed),
    "thing": lambda seed: draw_object(Thing, seed),
    "named": lambda seed: draw_object(SpecialThing, seed),
    "things": lambda seed: [draw_object(Thing, f"{seed} {i}") for i in range(2)],
    "either": lambda seed: [draw_object(Thing, seed), draw_object(Other, seed)],
}
ODD: list[Callable[[Any], Any]] = [
    lambda right: None,
    lambda right: Undefined,
    lambda right: strawberry.UNSET,
    lambda right: 7,
    lambda right: 2**40,
    lambda right: float("nan"),
    lambda right: True,
    lambda right: "text",
    lambda right: "7",
    lambda right: Text("of another class"),
    lambda right: [1],
    lambda right: [right, None, ValueError("within")],
    lambda right: {"a": 1},
    lambda right: TIME,
    lambda right: TIME.date(),
    lambda right: Colour.BLUE,
    lambda right: "blue",
    lambda right: b"bytes",
    lambda right: ValueError("held, not raised"),
    lambda right: wait_for(right),
    lambda right: wait_for(None),
    lambda right: wait_for(ValueError("later")),
    lambda right: raises(ValueError("raised")),
    lambda right: raises(GraphQLError("told", extensions={"code": "TOLD"})),
]


def right_value(name: str, seed: str) -> Any:
    return RIGHT[name](seed) if name in RIGHT else name


def choose(random: Random, name: str, seed: str) -> Any:
    right = right_value(name, seed)
    # Some worlds are worse than others: in the worst, few objects hold together.
    chance = (0.02, 0.1, 0.3)[int(seed.split()[0]) % 3]
    return random.choice(ODD)(right) if random.random() < chance else right


class OddThing(Thing):
    """Right but for some of its attributes."""

    odd: Mapping[str, Callable[[Any], Any]]

    def draw(self, name: str) -> Any:
        right = right_value(name, self.seed)
        return self.odd[name](right) if name in self.odd else right


class Writer:
    """Writes documents, drawn field by field."""

    def __init__(self, schema: GraphQLSchema, draw: st.DrawFn) -> None:
        self._schema = schema
        self._draw = draw
        self._fragments: list[str] = []

    def write(self, operation: str, type: str, field: str | None) -> str:
        selected = self._select(self._schema.type_map[type], 3)
        if field is not None:
            selected = f"{{ {field} {selected} }}"
        switches = "$yes: Boolean! = true, $no: Boolean! = false, $maybe: Boolean = true"
        return f"{operation} ({switches}) {selected} {' '.join(self._fragments)}"

    def _select(self, type: Any, depth: int) -> str:
        chosen = [self._choose(type, depth) for _ in range(self._draw(st.integers(1, 6)))]
        return f"{{ {' '.join(chosen)} }}"

    def _choose(self, type: Any, depth: int) -> str:
        directive = self._pick(
            [
                "",
                "",
                "",
                "",
                "",
                "",
                " @skip(if: $no)",
                " @include(if: $yes)",
                " @include(if: $no)",
                " @skip(if: $maybe)",
            ]
        )
        kind = self._pick(["field", "field", "field", "inline", "spread", "unknown"])
        if kind in ("inline", "spread"):
            on = self._pick(self._types_within(type))
            selected = self._select(on, depth - 1) if depth else "{ __typename }"
            if kind == "inline":
                return f"... on {on}{directive} {selected}"
            name = f"F{len(self._fragments)}"
            self._fragments.append(f"fragment {name} on {on} {selected}")
            return f"...{name}{directive}"
        if kind == "unknown" and self._pick([True, False, False]):
            return "nonsense"
        fields = [] if isinstance(type, GraphQLUnionType) else list(type.fields.items())
        leaves = [(name, field) for name, field in fields if is_leaf_type(get_named_type(field.type))]
        name, field = self._pick([*(fields if depth else leaves), *leaves, ("__typename", None)])
        arguments = self._pick(["", "", "(size: 3)"])
        alias = self._pick(["", "", "", "", "other: ", *(f"{other}: " for other, _ in leaves)])
        inner = field and get_named_type(field.type)
        below = f" {self._select(inner, depth - 1)}" if inner and not is_leaf_type(inner) else ""
        return f"{alias}{name}{arguments}{directive}{below}"

    def _types_within(self, type: Any) -> list[Any]:
        if isinstance(type, GraphQLObjectType):
            return [type, *type.interfaces]
        assert isinstance(type, GraphQLInterfaceType | GraphQLUnionType)
        return [type, *self._schema.get_possible_types(type)]

    def _pick(self, choices: list[Any]) -> Any:
        return self._draw(st.sampled_from(choices))


@st.composite
def documents(draw: st.DrawFn, schema: GraphQLSchema, operation: str, type: str, field: str | None = None) -> str:
    """A document that selects something of the type, which is the root's or that of a field of the root."""
    return Writer(schema, draw).write(operation, type, field)


#: What an object is drawn from, and the variables.
REQUESTS = st.tuples(st.integers(0, 10**6), st.sampled_from([{}, {}, {"yes": False}, {"no": True}, {"maybe": None}]))


async def settle(work: Awaitable[Any]) -> Any:
    result = await work
    # What failed beside others is settled in the background.
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others)
    return result


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    loop = asyncio.new_event_loop()
    yield lambda work: loop.run_until_complete(settle(work))
    loop.close()


def describe(
    executor: type[Executor[Any]],
    schema: GraphQLSchema,
    document: str | DocumentNode,
    root: object,
    run: Run,
    **more: Any,
) -> Described:
    """The data, with the order and classes of what is in it, and the errors in their order."""
    parsed = parse(document) if isinstance(document, str) else document

    async def work() -> ExecutionResult:
        result = execute(schema, parsed, root, executor_class=executor, **more)
        return result if isinstance(result, ExecutionResult) else await result

    return tell(run(work()))


def tell(result: ExecutionResult) -> Described:
    errors = [
        (error.message, error.path, error.locations, type(error.original_error), error.extensions)
        for error in result.errors or ()
    ]
    return repr(result.data), errors


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
# Where that cannot be told: a named tuple is made without the builtins that a warning needs.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), operation=st.sampled_from(["Query", "Mutation"]), requests=st.lists(REQUESTS, min_size=1))
def test_whatever_objects_hold_comes_out_as_from_plain_execution(
    data: st.DataObject, operation: str, requests: list[tuple[int, dict[str, bool | None]]], run: Run
) -> None:
    document = parse(data.draw(documents(SCHEMA, operation.lower(), operation)))
    root_type = {"Query": Query, "Mutation": Mutation}[operation]
    known = SelectionCache()
    for seed, switches in requests:
        plain, fast = (
            describe(
                executor, SCHEMA, document, draw_object(root_type, str(seed)), run, variable_values=switches, **more
            )
            for executor, more in ((PlainExecutor, {}), (FastExecutor, {"selections": known}))
        )
        assert fast == plain


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize("odd", ODD)
def test_whatever_a_leaf_holds_comes_out_as_from_plain_execution(odd: Callable[[Any], Any], run: Run) -> None:
    thing = SCHEMA.type_map["Thing"]
    assert isinstance(thing, GraphQLObjectType)
    leaves = [name for name, field in thing.fields.items() if is_leaf_type(get_named_type(field.type))]
    text = f"{{ named {{ name ... on Thing {{ {' '.join(leaves)} }} }} }}"

    def describe_with(name: str, executor: type[Executor[Any]]) -> Described:
        root = draw_object(Query, "0")
        root.named = draw_object(OddThing, "0")
        root.named.odd = {name: odd, f"own_{name}": odd}
        return describe(executor, SCHEMA, text, root, run)

    for name in ["none of them", *leaves]:
        plain = describe_with(name, PlainExecutor)
        assert describe_with(name, FastExecutor) == plain
        assert name in leaves or not plain[1]


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_most_leaves_of_the_generated_documents_come_out_without_an_error(run: Run) -> None:
    leaves, errors = 0, 0

    @settings(max_examples=50, deadline=None, database=None, derandomize=True)
    @given(text=documents(SCHEMA, "query", "Query"), seed=st.integers(0, 10**6))
    def collect(text: str, seed: int) -> None:
        nonlocal leaves, errors
        data, told = describe(FastExecutor, SCHEMA, text, draw_object(Query, str(seed)), run)
        leaves, errors = leaves + data.count(": "), errors + len(told)

    collect()
    assert leaves > 200
    assert errors > 10


ROW = {"id": UUID(int=7), "conversation_id": UUID(int=8), "created_at": TIME, "updated_at": TIME, "archived_at": None}
ROW |= {
    "model": None,
    "revision": 3,
    "input_tokens": 4,
    "output_tokens": 5,
    "cache_read_tokens": 6,
    "cache_write_tokens": 2**40,
}
MESSAGE = dict.fromkeys(tables.Message.model_fields) | ROW | {"role": "USER", "status": "COMPLETE"}
CALLER = cast(Context, SimpleNamespace(models=MODELS))
PARTS: list[parts.Part] = [
    parts.TextPart("hi"),
    parts.ReasoningPart("hm"),
    parts.ToolCallPart("1", "tool", {"a": [1]}, "DENIED", None),
]


@st.composite
def events(draw: st.DrawFn) -> conversation_stream.ConversationStreamEvent:
    """An event of the contract, as it should be or nearly so."""
    cursor: Any = draw(st.sampled_from(["cursor", None]))
    text = st.sampled_from([None, "text"])
    if draw(st.booleans()):
        row = new_row(tables.Conversation, ROW | {"title": draw(text)})
        return conversation_stream.ConversationChanged(cursor=cursor, conversation=Conversation.from_row(CALLER, row))
    values = MESSAGE | {"status": draw(st.sampled_from(MessageStatus)).value, "model": draw(text)}
    values |= {"finished_at": TIME, "rating": draw(st.sampled_from([None, "UP"]))}
    values |= {"error_code": draw(st.sampled_from([None, "INTERNAL"])), "error_message": draw(text)}
    message = Message.of(MessageState(new_row(tables.Message, values), (PARTS, Cursor(1, 2))))
    return conversation_stream.MessageAdded(cursor=cursor, message=message)


STREAM = 'conversationStream(conversationId: "x")'


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=documents(CONTRACT, "subscription", "ConversationStreamEvent", STREAM), event=events())
def test_the_objects_of_the_contract_come_out_as_from_plain_execution(text: str, event: object, run: Run) -> None:
    plain = describe(PlainExecutor, CONTRACT, text, event, run)
    assert describe(FastExecutor, CONTRACT, text, event, run) == plain

    async def work() -> ExecutionResult:
        result = follow(text).execute_event(event)
        return result if isinstance(result, ExecutionResult) else await result

    assert tell(run(work())) == plain


def follow(text: str, **more: Any) -> FastExecutor:
    executor = FastExecutor.build(CONTRACT, parse(text), **more)
    assert isinstance(executor, FastExecutor)
    return executor


def test_introspection_comes_out_as_from_plain_execution(run: Run) -> None:
    text = get_introspection_query(input_value_deprecation=True)
    assert describe(FastExecutor, CONTRACT, text, None, run) == describe(PlainExecutor, CONTRACT, text, None, run)


def test_every_leaf_of_the_contract_is_read_and_written_at_once() -> None:
    missing = [
        f"{type}.{name}"
        for type in CONTRACT.type_map.values()
        if isinstance(type, GraphQLObjectType) and not type.name.startswith("__")
        for name, field in type.fields.items()
        if is_leaf_type(get_named_type(field.type)) and find_reader(type, name) is None
    ]
    assert missing == []


def changed(title: str) -> conversation_stream.ConversationChanged:
    row = new_row(tables.Conversation, ROW | {"title": title})
    return conversation_stream.ConversationChanged(cursor="1", conversation=Conversation.from_row(CALLER, row))


def test_the_library_is_asked_for_what_is_not_plain_only(run: Run) -> None:
    asked = []

    class Asked(FastExecutor):
        def execute_field(self, parent_type: Any, source: Any, details: Any, path: Any, context: Any) -> Any:
            asked.append(path.key)
            return super().execute_field(parent_type, source, details, path, context)

    def ask(selected: str) -> list[str | int]:
        asked.clear()
        text = f"{{ __typename cursor ... on ConversationChanged {{ conversation {{ id title {selected} }} }} }}"
        data, errors = describe(Asked, CONTRACT, f"subscription {{ {STREAM} {text} }}", changed("A title"), run)
        assert "A title" in data
        return asked if not errors else ["failed"]

    assert ask("createdAt archivedAt usage { inputTokens } cursor") == []
    assert ask("... on Node { id } messages @skip(if: true) { edges { cursor } }") == []
    assert ask("createdAt usage { unknown }") == ["conversationStream", "conversation", "usage", "unknown"]


def test_middleware_sees_every_field(run: Run) -> None:
    seen = []

    def note(next: Callable[..., Any], source: object, info: Any, **arguments: Any) -> Any:
        seen.append(info.field_name)
        return next(source, info, **arguments)

    event = conversation_stream.ConversationDeleted(cursor="1", conversation_id=strawberry.ID("2"))
    describe(FastExecutor, CONTRACT, f"subscription {{ {STREAM} {{ cursor }} }}", event, run, middleware=[note])
    assert seen == ["conversationStream", "cursor"]


def kept_by(work: Callable[[int], object], *, times: int = 500) -> int:
    """Bytes that are kept of this work, done so many times after the first ten."""
    for number in range(10):
        work(number)
    tracemalloc.start()
    try:
        for number in range(10, 10 + times):
            work(number)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return kept


def test_events_of_a_subscription_leave_nothing_in_memory() -> None:
    executor = follow(
        f"subscription {{ {STREAM} {{ cursor ... on ConversationChanged {{ conversation {{ id }} }} }} }}"
    )

    def execute(number: int) -> None:
        executor.execute_event(changed(str(number)))
        executor.build_per_event_executor(changed(str(number))).execute_operation(False)

    assert kept_by(execute) < 50_000


def test_a_switch_that_is_null_is_an_error_only_where_something_is_selected_by_it(run: Run) -> None:
    text = f"subscription ($a: Boolean = true) {{ {STREAM} {{ ... on MessageAdded {{ message {{ id %s }} }} }} }}"
    message = Message.of(MessageState(new_row(tables.Message, MESSAGE), (PARTS[:1], Cursor(1, 2))))
    event = conversation_stream.MessageAdded(cursor="1", message=message)
    for selected, errors in (
        ("error { code @skip(if: $a) }", 0),
        ("parts { __typename ... on ToolCallPart { id @skip(if: $a) } }", 0),
        ("parts { ... on TextPart { text @skip(if: $a) } }", 1),
    ):
        document = parse(text.replace("%s", selected))
        plain, fast = (
            describe(executor, CONTRACT, document, event, run, variable_values={"a": None})
            for executor in (PlainExecutor, FastExecutor)
        )
        assert fast == plain
        assert len(fast[1]) == errors


def test_of_all_that_is_selected_so_much_is_remembered() -> None:
    switches = [f"s{number}" for number in range(10)]
    fields = " ".join(f"{name}: cursor @include(if: ${name})" for name in switches)
    text = f"subscription ({' '.join(f'${name}: Boolean!' for name in switches)}) {{ {STREAM} {{ {fields} }} }}"
    document, known = parse(text), SelectionCache()

    def execute(number: int) -> None:
        variables = {name: bool(number >> place & 1) for place, name in enumerate(switches)}
        executor: Any = FastExecutor.build(CONTRACT, document, raw_variable_values=variables, selections=known)
        for _ in range(2):
            data = executor.execute_event(changed("A title")).data["conversationStream"]
            assert list(data) == [name for name in switches if variables[name]]

    # Of all of them it would be three times as much.
    assert kept_by(execute, times=600) < REMEMBERED * 17_000


@pytest.mark.parametrize("number", [2, 20, 200])
def test_of_an_operation_so_much_is_remembered(number: int) -> None:
    selected = " ".join(f"a{each}: usage {{ inputTokens }}" for each in range(number))
    document = parse(
        f"subscription {{ {STREAM} {{ ... on ConversationChanged {{ conversation {{ {selected} }} }} }} }}"
    )
    known = SelectionCache()
    executors: list[Any] = []

    def execute(number: int) -> None:
        # As if there were so many of its kind, of which each subscription waits for its next event.
        executors.append(FastExecutor.build(CONTRACT, document, selections=known, text=str(number)))
        assert executors[-1].execute_event(changed("A title")).errors is None

    # Up to a kilobyte for a field, and none for those of an operation that has too many.
    size = 3 * number + 6
    remembered = size if size <= MOST_FIELDS else 0
    assert kept_by(execute, times=300) < REMEMBERED * remembered * 1_000 + 300 * 10_000
