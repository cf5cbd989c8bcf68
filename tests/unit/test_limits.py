"""What one document may ask for, against a reference that expands it plainly, and what refusing costs."""

import sys
from dataclasses import replace
from types import FrameType
from typing import Any, NamedTuple

import pytest
from graphql import GraphQLError, get_introspection_query, get_named_type, parse
from hypothesis import HealthCheck, given, settings, target
from hypothesis import strategies as st

from schema.cost import COUNTLESS
from schema.documents import DocumentCache
from schema.limits import LONGEST_DOCUMENT, MOST_LINES, DocumentLimits, DocumentMeter
from schema.root import create_schema

SCHEMA = create_schema()._schema
LIMITS = DocumentLimits()
#: As good as none.
WIDE = DocumentLimits(*[10**9] * 6)
#: A document that is let in, and takes milliseconds; how many times its work any other may take.
PLAIN, MOST_WORK = "{" + " conversations(first: 1) { edges { node { id } } }" * 19 + "}", 10


class Plain(NamedTuple):
    """What an operation comes to."""

    depth: int = 0
    aliases: int = 0
    root_fields: int = 0
    directives: int = 0
    cost: int = 0

    def beside(self, other: "Plain") -> "Plain":
        return Plain(max(self[0], other[0]), *(mine + theirs for mine, theirs in zip(self[1:], other[1:], strict=True)))


def expand(document: Any, variables: dict[str, Any]) -> Plain:
    """The reference: every spread is walked as if the fragment stood there."""
    [operation] = [node for node in document.definitions if node.kind == "operation_definition"]
    fragments = {node.name.value: node for node in document.definitions if node.kind == "fragment_definition"}
    defaults = {node.variable.name.value: node.default_value for node in operation.variable_definitions or ()}

    def number(value: Any) -> int | None:
        if value is None or value.kind == "null_value":
            return None
        if value.kind == "int_value":
            return max(0, min(100, int(value.value)))
        name = value.name.value
        if name not in variables:
            return number(defaults[name])
        return None if variables[name] is None else max(0, min(100, variables[name]))

    def page(field: Any) -> int:
        given = [
            number(argument.value) for argument in field.arguments or () if argument.name.value in ("first", "last")
        ]
        return max([size for size in given if size is not None], default=20)

    def walk(selection_set: Any, type: Any, at_root: bool) -> Plain:
        total = Plain()
        for node in selection_set.selections if selection_set else ():
            here = Plain(directives=len(node.directives or ()))
            if node.kind == "field":
                name = node.name.value
                field = SCHEMA.get_field(type, name) if type else None
                below = walk(node.selection_set, field and get_named_type(field.type), False)
                times = 1
                if field and name in ("conversations", "messages", "tasks"):
                    times = page(node)
                elif field and name in ("versions", "parts"):
                    times = 10
                alias = node.alias is not None and node.alias.value != name
                here = here.beside(Plain(1 + below.depth, int(alias) + below.aliases, int(at_root), below.directives))
                here = here._replace(cost=1 + times * below.cost)
            elif node.kind == "inline_fragment":
                inner = SCHEMA.get_type(node.type_condition.name.value) if node.type_condition else type
                here = here.beside(walk(node.selection_set, inner, at_root))
            elif fragment := fragments.get(node.name.value):
                inner = SCHEMA.get_type(fragment.type_condition.name.value)
                here = here.beside(walk(fragment.selection_set, inner, at_root))
            total = total.beside(here)
        return total

    return walk(operation.selection_set, SCHEMA.query_type, True)


FIELDS: dict[str, list[tuple[str, str | None]]] = {
    "Query": [("viewer", "Viewer"), ("conversation", "Conversation"), ("conversations", "ConversationConnection")],
    "Viewer": [("id", None), ("usage", "Usage")],
    "Usage": [("inputTokens", None), ("__typename", None)],
    "ConversationConnection": [("edges", "ConversationEdge")],
    "ConversationEdge": [("node", "Conversation")],
    "Conversation": [("title", None), ("messages", "MessageConnection"), ("nonsense", "Nonsense")],
    "MessageConnection": [("edges", "MessageEdge"), ("pageInfo", "PageInfo")],
    "MessageEdge": [("node", "Message"), ("cursor", None)],
    "Message": [("text", None), ("versions", "Message"), ("parts", "MessagePart"), ("conversation", "Conversation")],
    "MessagePart": [("__typename", None)],
    "PageInfo": [("hasNextPage", None)],
    "Nonsense": [("nonsense", None)],
}
NAMES = ["A", "B", "C", "D"]
SIZES = st.sampled_from(["", "first: 3", "last: 7", "first: $n", "last: $m", "first: 1000", "first: null", "last: -1"])
DIRECTIVES = st.sampled_from(["", "", "", " @skip(if: $no)", " @include(if: true) @include(if: true)"])


@st.composite
def selection_sets(draw: st.DrawFn, type: str, spreads: list[str], depth: int) -> str:
    chosen = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["field", "field", "field", "spread", "inline"]))
        directives = draw(DIRECTIVES)
        if kind == "spread" and spreads:
            chosen.append(f"...{draw(st.sampled_from(spreads))}{directives}")
        elif kind == "inline" and depth:
            on = draw(st.sampled_from(["", f" on {type}", " on Message"]))
            inside = draw(selection_sets(on.removeprefix(" on ") or type, spreads, depth - 1))
            chosen.append(f"...{on}{directives}{inside}")
        else:
            name, inner = draw(st.sampled_from(FIELDS[type]))
            alias = draw(st.sampled_from(["", "", "other: ", f"{name}: "]))
            paged = name in ("conversations", "messages") and draw(SIZES)
            below = draw(selection_sets(inner, spreads, depth - 1)) if inner and depth else ""
            chosen.append(f"{alias}{name}{f'({paged})' if paged else ''}{directives}{below}")
    return f"{{ {' '.join(chosen)} }}"


@st.composite
def documents(draw: st.DrawFn) -> str:
    """A query with fragments, of which each may spread those after it, and some that nothing defines."""
    parts = ["query ($n: Int = 5, $m: Int, $no: Boolean!)" + draw(selection_sets("Query", [*NAMES, "Unknown"], 4))]
    for index, name in enumerate(NAMES):
        type = draw(st.sampled_from(list(FIELDS)))
        parts.append(f"fragment {name} on {type} {draw(selection_sets(type, NAMES[index + 1 :], 3))}")
    return " ".join(parts)


VARIABLES = st.fixed_dictionaries({}, optional={"n": st.none() | st.integers(-5, 200), "m": st.integers(-5, 200)})


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents(), VARIABLES)
def test_a_document_measures_what_it_expands_to(text: str, variables: dict[str, Any]) -> None:
    document = parse(text)
    plain = expand(document, variables)
    [cost] = DocumentMeter(SCHEMA, WIDE).measure(document).values()
    assert cost.given(variables) == plain.cost
    # Unused fragments have directives too.
    directives = max(plain.directives, text.count("@"))
    exact = replace(
        WIDE, depth=plain.depth, aliases=plain.aliases, root_fields=plain.root_fields, directives=directives
    )
    DocumentMeter(SCHEMA, exact).measure(document)
    for limit in ("depth", "aliases", "root_fields", "directives"):
        allowed = getattr(exact, limit)
        if allowed:
            with pytest.raises(GraphQLError, match=str(allowed)):
                DocumentMeter(SCHEMA, replace(WIDE, **{limit: allowed - 1})).measure(document)


def refusal(text: str, limits: DocumentLimits = LIMITS, variables: dict[str, Any] | None = None) -> str:
    """Why a document is refused, or nothing."""
    documents = DocumentCache(SCHEMA, limits, introspection=True)
    errors = documents.check(documents.prepare(text), None, variables)
    return errors[0].message if errors else ""


def nested(levels: int) -> str:
    return (
        "{ conversation(id: 1) { messages(first: 1) { edges { node { "
        + "parent { " * (levels - 5)
        + "id"
        + "}" * levels
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{ viewer { " + "id " * 2000 + "} }", "more than 2000 tokens, comments included; at most 2000"),
        ("#\n" * 2500 + "{ viewer { id } }", "more than 2000 tokens, comments included; at most 2000"),
        (nested(23), "The document is 23 levels deep; at most 16 are allowed."),
        ("{ viewer { " + " ".join(f"a{i}: id" for i in range(31)) + "} }", "has 31 aliases; at most 30 are allowed."),
        ("{ " + "viewer { id } " * 21 + "}", "has 21 root fields; at most 20 are allowed."),
        ("{ viewer { id" + " @skip(if: true)" * 51 + "} }", "has 51 directives; at most 50 are allowed."),
        (
            "{ conversations(first: 100) { edges { node { messages(first: 100) { edges { cursor } } } } } }",
            "costs 20301 ",
        ),
        ("{ viewer { id } }" + " " * LONGEST_DOCUMENT, "has 50017 characters; at most 50000 are allowed."),
        ("{ viewer { id } }" + "\r\n" * MOST_LINES, "has 3001 lines; at most 3000 are allowed."),
        (
            " ".join(f"query q{i} {{ viewer {{ id }} }}" for i in range(11)),
            "has 11 operations; at most 10 are allowed.",
        ),
        (
            "{ conversation(id: " + "[" * 9 + "]" * 9 + ") { id } }",
            "has literals 9 levels deep; at most 8 are allowed.",
        ),
    ],
)
def test_a_refusal_names_the_limit_and_what_the_document_has(text: str, message: str) -> None:
    assert message in refusal(text)


def test_the_limits_of_a_schema_are_those_that_it_is_given() -> None:
    strict = DocumentLimits(tokens=40, depth=2, aliases=0, root_fields=1, directives=0, cost=2)
    assert refusal("{ viewer { id } }", strict) == ""
    assert "tokens" in refusal("{ viewer { id } }" + "#\n" * 40, strict)
    assert "deep" in refusal("{ viewer { usage { inputTokens } } }", strict)
    assert "aliases" in refusal("{ me: viewer { id } }", strict)
    assert "root fields" in refusal("{ viewer { id } tasks { __typename } }", strict)
    assert "directives" in refusal("{ viewer { id @skip(if: false) } }", strict)
    assert "costs 3 " in refusal("{ viewer { id __typename } }", strict)


def test_the_cost_depends_on_the_variables_of_the_request() -> None:
    text = (
        "query ($n: Int = 3) { conversations(first: $n) { ...List } } "
        "fragment List on ConversationConnection { edges { node { messages(last: $n) { edges { cursor } } } } }"
    )
    limits = replace(LIMITS, cost=200)
    assert refusal(text, limits) == ""
    assert refusal(text, limits, {"n": 5}) == ""
    assert "costs 20301 " in refusal(text, limits, {"n": 100})
    assert "costs 20301 " in refusal(text, limits, {"n": 10**30})
    assert "costs 861 " in refusal(text, limits, {"n": None})


def test_a_cost_that_no_variable_changes_is_known_beforehand() -> None:
    [cost] = DocumentMeter(SCHEMA, LIMITS).measure(parse("{ viewer { ...A } } fragment A on Viewer { id }")).values()
    assert cost.fixed == 2


def test_fragments_that_double_each_other_are_countless() -> None:
    doubling = "".join(f"fragment F{i} on Viewer {{ a: id ...F{i + 1} ...F{i + 1} }} " for i in range(120))
    text = f"{{ viewer {{ ...F0 }} }} {doubling} fragment F120 on Viewer {{ id }}"
    assert f"has {COUNTLESS} or more aliases" in refusal(text)


def test_circles_of_fragments_are_refused_for_what_they_are() -> None:
    circle = "{ viewer { ...A } } fragment A on Viewer { id ...B } fragment B on Viewer { ...A ...Unknown }"
    assert "Unknown fragment" in refusal(circle) or "within itself" in refusal(circle)


INTROSPECTION = [
    get_introspection_query(),
    get_introspection_query(
        descriptions=True,
        specified_by_url=True,
        directive_is_repeatable=True,
        schema_description=True,
        input_value_deprecation=True,
    ),
]


@pytest.mark.parametrize("text", INTROSPECTION)
def test_introspection_is_free_of_depth_and_cost(text: str) -> None:
    assert refusal(text) == ""
    assert refusal(text, replace(LIMITS, depth=1, cost=1)) == ""


def test_fields_that_only_look_like_introspection_are_not_free() -> None:
    assert "40 levels deep" in refusal("{ viewer " + "{ __type " * 39 + "}" * 39 + "}")


def test_the_document_of_a_large_front_end_passes() -> None:
    """Forty fragments, twenty of them side by side, as generators of typed documents write them."""
    parts = [
        "query Page($id: ID!, $n: Int) { conversation(id: $id) { __typename ...Head ...List } }",
        "fragment Head on Conversation { __typename id title archivedAt usage { inputTokens outputTokens } }",
        "fragment List on Conversation { id messages(last: $n) { edges { node { id ",
        *(f"...M{i}" for i in range(20)),
        "} cursor } pageInfo { hasNextPage } } }",
        *(
            f"fragment M{i} on Message {{ __typename id role status text usage {{ ...U{i} }} }} "
            f"fragment U{i} on Usage {{ inputTokens outputTokens }}"
            for i in range(20)
        ),
    ]
    assert refusal("\n".join(parts)) == ""


def inside(selection: str, more: str = "") -> str:
    return "query { conversation(id: 1) { " + selection + "} }" + more


#: Documents that are slow by design: how often a piece is repeated is what is tried.
COUNTS = st.integers(1, 1000)
PIECES = st.sampled_from(
    [
        "__typename ",
        "unknown ",
        "usage ",
        "title { id } ",
        "usage { inputTokens } ",
        "... { usage { inputTokens } } ",
        "... on Conversation { id title } ",
        "... on Message { text } ",
        "messages(first: 1) { __typename } ",
        "messages(first: 1, last: 2, after: 3, before: 4, leaf: 5) { pageInfo { hasNextPage } } ",
        "messages { edges { node { parent { versions { id text } } } } } ",
        "...F0 ",
        "...Unknown ",
        "messages(leaf: $a) { __typename } ",
        "title @skip(if: $a) ",
        "# comment\n",
        "\n",
        ", ",
    ]
)
LITERALS = st.sampled_from(
    ["1 ", '"\\n" ', '"\\u0041" ', "{a: 1} ", "[] ", "$a ", "9" * 50 + " ", '"""\n \\""" """', "null ", "UP ", "1.5e3 "]
)


@st.composite
def repeated(draw: st.DrawFn) -> str:
    return inside("".join(draw(PIECES) * draw(COUNTS) for _ in range(draw(st.integers(1, 3)))))


@st.composite
def spread(draw: st.DrawFn) -> str:
    """Fragments of which each spreads some of the later ones, reached from several operations."""
    count, width, operations = draw(st.integers(1, 200)), draw(st.integers(0, 40)), draw(st.integers(1, 10))
    piece = draw(PIECES).replace("...F0 ", "")
    queries = "".join(f"query Q{i}($a: ID) {{ conversation(id: $a) {{ ...F{i} }} }} " for i in range(operations))
    if draw(st.booleans()):
        beside = "".join(f"...F{i} " for i in range(count))
        queries = f"query {{ conversation(id: 1) {{ {beside} }} }} "
    fragments = [
        f"fragment F{i} on Conversation {{ {piece}"
        + "".join(f"...F{j} " for j in range(i + 1, min(i + 1 + width, count)))
        + "} "
        for i in range(count)
    ]
    return queries + "".join(fragments)


@st.composite
def valued(draw: st.DrawFn) -> str:
    """Long and nested literals where something else is expected."""
    levels = draw(st.integers(0, 10))
    literals = draw(LITERALS) * draw(COUNTS) + draw(LITERALS) * draw(COUNTS)
    value = "[" * levels + literals + "]" * levels
    if draw(st.booleans()):
        name = draw(st.sampled_from(["a", "title"]))
        unknown = "a: 1 " * draw(COUNTS)
        return f"mutation {{ addTask(input: {{ {name}: {value} {unknown} }}) {{ task {{ id }} }} }}"
    return "query($a: Int) { " + f"conversations(first: {value}) {{ __typename }} " * draw(st.integers(1, 19)) + "}"


@st.composite
def escaped(draw: st.DrawFn) -> str:
    """Long strings, then as many tokens as fit."""
    text = draw(st.sampled_from(["\\n", "\\u0041", "\\u{1F600}", "é", "a", '\\"'])) * draw(st.integers(1, 48_000))
    lines, count = "\n" * draw(st.integers(0, 3500)), draw(COUNTS)
    document = draw(
        st.sampled_from(
            [
                f'{{ conversation(id: "{text}") {{ {draw(PIECES) * count} }} }}',
                f'mutation {{ addTask(input: {{ a: "{text}" {"a: 1 " * count} }}) {{ task {{ id }} }} }}',
                f'query({"$a: ID = 1 " * count}) {{ conversation(id: "{text}") {{ id }} }}',
            ]
        )
    )
    return lines + document


@st.composite
def declared(draw: st.DrawFn) -> str:
    """Variables, directives, and definitions that do not belong in a request."""
    kind = draw(st.sampled_from(["ID", "[ID!]!", "Int = 1", "AddTaskInput", "Unknown", "[" * 7 + "ID" + "]" * 7]))
    name = draw(st.sampled_from(["$a", "$a{}"]))
    variables = "".join(f"{name.format(i)}: {kind} " for i in range(draw(COUNTS)))
    directives = draw(st.sampled_from(["@a ", "@skip(if: true) ", "@skip ", "@include(if: $a) "])) * draw(COUNTS)
    foreign = "type A { a: B @a } " * draw(st.integers(0, 200))
    return f"query({variables}) {{ viewer {{ id {directives} }} }} {foreign}"


@st.composite
def introspecting(draw: st.DrawFn) -> str:
    """Types within types, over and over."""
    levels, count = draw(st.integers(1, 40)), draw(COUNTS)
    inner = draw(st.sampled_from(["name ", "fields { name } ", "ofType { name } ", "...F ", "__typename "])) * count
    field = draw(st.sampled_from(['__type(name: "A") {', "ofType {", "fields { type {", "__schema {"]))
    chain = field * levels + inner + "}" * field.count("{") * levels
    fragment = "fragment F on __Type { name " + "fields { name } " * draw(st.integers(0, 200)) + "}"
    return f'{{ __type(name: "A") {{ {chain} }} }} {fragment}'


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.one_of(repeated(), spread(), valued(), escaped(), declared(), introspecting()))
def test_no_document_holds_the_event_loop_for_long(text: str) -> None:
    times = work_to_prepare(text[:100_000]) / work_to_prepare(PLAIN)
    target(times)
    assert times < MOST_WORK


def work_to_prepare(text: str) -> int:
    """Calls and returns, of Python's functions and of C's: the same on every machine, and in step with the time."""
    cache = DocumentCache(SCHEMA, LIMITS, introspection=True)
    work = 0

    def count(frame: FrameType, event: str, arg: object) -> None:
        nonlocal work
        work += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        cache.prepare(text)
    finally:
        sys.setprofile(before)
    return work
