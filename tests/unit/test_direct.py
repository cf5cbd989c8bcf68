"""What is written without executing an operation is what executing it gives."""

from typing import Any

import orjson
import pytest
from graphql import ExecutionResult, execute
from hypothesis import given, settings
from hypothesis import strategies as st

from runs.log import ReasoningDelta, TextDelta
from schema import message_stream
from schema.direct import TemplateCache
from schema.root import create_schema

SCHEMA = create_schema()
TEMPLATES = TemplateCache(SCHEMA)

FIELDS = {
    "MessageStreamEvent": ["cursor", "__typename"],
    "TextDelta": ["cursor", "part", "offset", "text", "__typename"],
    "ReasoningDelta": ["cursor", "part", "offset", "text", "__typename"],
    "MessageFinished": ["message { id status }"],
    "ToolCallStarted": ["toolCall { id }", "part"],
}
ALIASES = st.sampled_from(["", "", "", "a: ", "text: ", "cursor: ", "b1: ", "__x: "])
DIRECTIVES = st.sampled_from(
    ["", "", "", " @include(if: $yes)", " @skip(if: $yes)", " @skip(if: $unset)", " @skip(if: $unset)"]
)


VARIABLES = {
    "yes": "$yes: Boolean! = true",
    "unset": "$unset: Boolean! = false",
}


@st.composite
def selections(draw: st.DrawFn, type: str = "MessageStreamEvent", depth: int = 0) -> str:
    """A selection set on a type, with aliases, fragments and directives."""
    chosen = []
    for _ in range(draw(st.integers(1, 4))):
        directive = draw(DIRECTIVES)
        if depth < 3 and draw(st.booleans()):
            inner = type if type != "MessageStreamEvent" else draw(st.sampled_from(list(FIELDS)))
            chosen.append(f"... on {inner}{directive} {draw(selections(inner, depth + 1))}")
        else:
            field = draw(st.sampled_from(FIELDS[type]))
            # Two fields of one alias must be the same field: aliases are made of the field's name.
            alias = draw(ALIASES)
            name = field.split(" ")[0]
            alias = alias and f"{alias[:-2]}_{name.strip('_')}: "
            head, brace, rest = field.partition(" {")
            chosen.append(f"{alias}{head}{directive}{brace}{rest}")
    return "{ " + " ".join(chosen) + " }"


@st.composite
def operations(draw: st.DrawFn) -> str:
    alias = draw(st.sampled_from(["", "", "events: "]))
    inner = draw(selections())
    named = draw(st.booleans())
    body = "{ ...events cursor }" if named else inner
    fragment = f" fragment events on MessageStreamEvent {inner}" if named else ""
    declared = [text for name, text in VARIABLES.items() if f"${name}" in body + fragment]
    head = "subscription" + (f" ({', '.join(declared)})" if declared else "")
    return f'{head} {{ {alias}messageStream(messageId: "x") {body} }}{fragment}'


def write_plainly(query: str, variables: dict[str, Any], event: object) -> bytes:
    document = SCHEMA.documents.prepare(query).document
    assert document is not None
    result = execute(SCHEMA._schema, document, root_value=event, variable_values=variables)
    assert isinstance(result, ExecutionResult)
    assert not result.errors
    return orjson.dumps(result.data)


@settings(max_examples=400, deadline=None)
@given(
    query=operations(),
    variables=st.dictionaries(st.sampled_from(["yes", "unset"]), st.booleans()),
    text=st.text(max_size=30),
    offset=st.integers(0, 2**31 - 1),
    part=st.integers(0, 1000),
    cursor=st.text("ABCxyz019-_", min_size=1, max_size=40),
    thinks=st.booleans(),
)
def test_a_template_gives_what_plain_execution_gives(
    query: str, variables: dict[str, bool], text: str, offset: int, part: int, cursor: str, thinks: bool
) -> None:
    if SCHEMA.documents.prepare(query).errors:
        return
    templates = TEMPLATES.find(query, None, variables)
    assert templates is not None
    if thinks:
        template, piece = templates.reasoning, ReasoningDelta(offset + len(text), part, offset, text)
        event: object = message_stream.ReasoningDelta(cursor=cursor, part=part, offset=offset, text=text)
    else:
        template, piece = templates.text, TextDelta(offset + len(text), part, offset, text)  # type: ignore[assignment]
        event = message_stream.TextDelta(cursor=cursor, part=part, offset=offset, text=text)
    assert template.fill(piece, cursor) == write_plainly(query, variables, event)


def test_most_of_the_generated_operations_are_valid() -> None:
    valid = []

    @settings(max_examples=100, deadline=None, database=None)
    @given(query=operations())
    def collect(query: str) -> None:
        valid.append(not SCHEMA.documents.prepare(query).errors)

    collect()
    assert sum(valid) > len(valid) / 2


@pytest.mark.parametrize(
    "text", ['"quoted"', "back\\slash", "line\nfeed", "\u2028", "</script>", "é👍", "{}", "cursor"]
)
def test_text_is_written_as_json(text: str) -> None:
    templates = TEMPLATES.find(
        'subscription { messageStream(messageId: "x") { ... on TextDelta { text } } }', None, None
    )
    assert templates is not None
    assert orjson.loads(templates.text.fill(TextDelta(1, 0, 0, text), "c")) == {"messageStream": {"text": text}}


def test_templates_are_made_once_for_all_who_select_the_same() -> None:
    query = "subscription ($id: ID!, $yes: Boolean!) { messageStream(messageId: $id) { cursor @include(if: $yes) } }"
    first = TEMPLATES.find(query, None, {"id": "a", "yes": True})
    assert TEMPLATES.find(query, None, {"id": "b", "yes": True}) is first
    assert TEMPLATES.find(query, None, {"id": "b", "yes": False}) is not first


@pytest.mark.parametrize("first", [{}, {"yes": None}])
def test_a_switch_that_is_null_is_not_its_default(first: dict[str, Any]) -> None:
    cache = TemplateCache(SCHEMA)
    query = "subscription ($yes: Boolean = true) { messageStream(messageId: 1) { cursor @include(if: $yes) } }"
    cache.find(query, None, first)
    assert cache.find(query, None, {}) is not None
    # The error is for who executes it to tell.
    assert cache.find(query, None, {"yes": None}) is None


def test_variables_that_are_not_declared_make_no_templates_of_their_own() -> None:
    query = 'subscription ($yes: Boolean!) { messageStream(messageId: "x") { cursor @include(if: $yes) } }'
    first = TEMPLATES.find(query, None, {"yes": True})
    assert TEMPLATES.find(query, None, {"yes": True, **{f"more{number}": True for number in range(9)}}) is first
