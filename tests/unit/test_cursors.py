"""What an id or a cursor says is read back; all that was not written as one is refused by name, and in no other way."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import permutations
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from persistence.pages import Window
from persistence.tables import Conversation, Message, Task
from resolvers.errors import BadUserInput
from runs.follow import Cursor
from schema import scalars
from schema.paging import read_window

#: No deadline: other work on the machine is no failure.
quick = settings(deadline=None, derandomize=True)

IDS = st.uuids(allow_nil=True)
#: Every time that PostgreSQL's rows can have and Python can say.
TIMES = st.datetimes(timezones=st.just(UTC))
INTS = st.integers(0, 2**31 - 1)


@dataclass(frozen=True)
class Kind:
    """One kind of cursor: `write` and `read` take the id of the object that it belongs to first."""

    name: str
    values: st.SearchStrategy[Any]
    write: Callable[[UUID, Any], str]
    read: Callable[[UUID, str], Any]
    argument: str = "after"
    #: Of one object: another's cursor is refused.
    bound: bool = True


def _conversation_key(time: datetime, id: UUID) -> str:
    return scalars.conversation_cursor(Conversation(id=id, owner_id="ann", updated_at=time))


def _task_key(time: datetime, id: UUID) -> str:
    return scalars.task_cursor(Task(id=id, owner_id="ann", title="A task.", created_at=time))


def _depth(conversation_id: UUID, depth: int) -> str:
    message = Message(
        owner_id="ann",
        conversation_id=conversation_id,
        depth=depth,
        jump_id=UUID(int=0),
        role="USER",
        status="COMPLETE",
    )
    return scalars.message_cursor(message)


KINDS = [
    Kind(
        "conversations",
        st.tuples(TIMES, IDS),
        lambda _, key: _conversation_key(*key),
        lambda _, cursor: scalars.read_conversation_cursor("before", cursor),
        argument="before",
        bound=False,
    ),
    Kind(
        "tasks",
        st.tuples(TIMES, IDS),
        lambda _, key: _task_key(*key),
        lambda _, cursor: scalars.read_task_cursor("before", cursor),
        argument="before",
        bound=False,
    ),
    Kind(
        "messages",
        st.tuples(INTS),
        lambda id, key: _depth(id, *key),
        lambda id, cursor: scalars.message_cursor_reader(id)("before", cursor),
        argument="before",
    ),
    Kind(
        "a message's stream",
        st.builds(Cursor, INTS, INTS),
        lambda id, place: scalars.StreamCursors(id).write(place),
        lambda id, cursor: scalars.StreamCursors(id).read(cursor),
    ),
    Kind(
        "a conversation's stream",
        st.integers(0, 2**63 - 1),
        scalars.revision_cursor,
        scalars.read_revision_cursor,
    ),
]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
#: Any character, halves of surrogate pairs among them.
ANY_TEXT = st.text(st.characters())
BASE64 = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=", max_size=60)


def encode(fields: Any) -> str:
    """A cursor with these fields, written as ours are."""
    return base64.urlsafe_b64encode(orjson.dumps(fields)).decode().rstrip("=")


def decode(cursor: str) -> list[Any]:
    fields: list[Any] = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    return fields


def assert_ours_or_refused(kind: Kind, id: UUID, cursor: str) -> None:
    """A reader takes a text only where it is, to the letter, what is written for what it reads."""
    try:
        value = kind.read(id, cursor)
    except BadUserInput as refusal:
        assert str(refusal).startswith(f"{kind.argument}: ")
    else:
        assert kind.write(id, value) == cursor


def assert_refused(kind: Kind, id: UUID, cursor: str) -> None:
    with pytest.raises(BadUserInput, match=f"^{kind.argument}: is not a cursor of this "):
        kind.read(id, cursor)


@every_kind
@quick
@given(data=st.data())
def test_a_cursor_is_read_as_it_was_written(kind: Kind, data: st.DataObject) -> None:
    id, value = data.draw(IDS), data.draw(kind.values)
    assert kind.read(id, kind.write(id, value)) == value


@every_kind
@quick
@given(id=IDS, text=ANY_TEXT | BASE64 | JSON.map(encode))
def test_a_text_that_is_no_cursor_is_refused(kind: Kind, id: UUID, text: str) -> None:
    assert_ours_or_refused(kind, id, text)


@every_kind
@quick
@given(data=st.data())
def test_a_cursor_with_characters_changed_is_refused(kind: Kind, data: st.DataObject) -> None:
    id = data.draw(IDS)
    cursor = kind.write(id, data.draw(kind.values))
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(cursor))] * 2)))
    piece = data.draw(BASE64 | ANY_TEXT | st.just(cursor))
    assert_ours_or_refused(kind, id, cursor[:start] + piece + cursor[end:])


@every_kind
@quick
@given(data=st.data())
def test_a_cursor_with_a_field_changed_is_refused(kind: Kind, data: st.DataObject) -> None:
    id = data.draw(IDS)
    fields = decode(kind.write(id, data.draw(kind.values)))
    place = data.draw(st.integers(0, len(fields) - 1))
    old = fields[place]
    # Also what Python holds for equal, or reads as the same id: 1.0 and true for 1, capitals, braces.
    alike = [float(old), bool(old)] if isinstance(old, int) else [old.upper(), f"{{{old}}}", f"urn:uuid:{old}"]
    changed = data.draw(st.sampled_from(alike) | JSON)
    assert_ours_or_refused(kind, id, encode([*fields[:place], changed, *fields[place + 1 :]]))
    assert_refused(kind, id, encode([*fields, changed]))
    assert_refused(kind, id, encode(fields[:-1]))


@every_kind
@pytest.mark.parametrize("depth", [200, 300, 2_000, 100_000])
def test_a_cursor_that_is_nested_deep_is_refused(kind: Kind, depth: int) -> None:
    nested = base64.urlsafe_b64encode(b"[" * depth + b"]" * depth).decode().rstrip("=")
    assert_refused(kind, UUID(int=0), nested)


@every_kind
def test_a_huge_cursor_is_refused(kind: Kind) -> None:
    for text in ("A" * 1_000_000, encode(["x" * 1_000_000]), encode([0] * 100_000), encode({"c": 0})):
        assert_refused(kind, UUID(int=0), text)


@pytest.mark.parametrize(("kind", "other"), list(permutations(KINDS, 2)), ids=lambda kind: kind.name)
@quick
@given(data=st.data())
def test_a_cursor_of_another_kind_is_refused(kind: Kind, other: Kind, data: st.DataObject) -> None:
    id = data.draw(IDS)
    assert_refused(kind, id, other.write(id, data.draw(other.values)))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.bound], ids=lambda kind: kind.name)
@quick
@given(data=st.data())
def test_a_cursor_of_another_object_is_refused(kind: Kind, data: st.DataObject) -> None:
    id, other = data.draw(IDS), data.draw(IDS)
    assume(id != other)
    assert_refused(kind, id, kind.write(other, data.draw(kind.values)))


@quick
@given(id=IDS)
def test_an_id_is_read_as_it_was_written(id: UUID) -> None:
    assert scalars.parse_id("id", str(id)) == id
    assert scalars.parse_optional_id("id", str(id)) == id


@quick
@given(id=IDS, data=st.data())
def test_a_text_that_is_no_id_is_refused(id: UUID, data: st.DataObject) -> None:
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, 36)] * 2)))
    piece = data.draw(st.text("0123456789abcdefABCDEF-{} _", max_size=36) | ANY_TEXT)
    changed = str(id)[:start] + piece + str(id)[end:]
    alike = st.sampled_from(
        [str(id).upper(), id.hex, f"{{{id}}}", id.urn, f" {id}", f"{id}\n", str(id).replace("0", "٠")]
    )
    for text in (piece, changed, data.draw(alike)):
        try:
            read = scalars.parse_id("input.id", text)
        except BadUserInput as refusal:
            assert str(refusal) == "input.id: is not an id"
        else:
            assert str(read) == text


SIZES = st.none() | st.integers(-5, 105) | st.integers()
CURSORS = st.none() | st.just("x")


@quick
@given(first=SIZES, last=SIZES, after=CURSORS, before=CURSORS)
def test_a_window_has_1_to_100_rows_or_is_refused(
    first: int | None, last: int | None, after: str | None, before: str | None
) -> None:
    def read() -> Window:
        return read_window(first, after, last, before, lambda argument, cursor: (argument, cursor))

    wrong = [name for name, size in (("first", first), ("last", last)) if size is not None and not 1 <= size <= 100]
    if first is not None and last is not None:
        wrong = ["last"]
    if wrong:
        with pytest.raises(BadUserInput, match=f"^{wrong[0]}: "):
            read()
    else:
        window = read()
        assert window.limit == (first or last or 20)
        assert window.from_end == (last is not None)
        assert window.after == (after and ("after", after))
        assert window.before == (before and ("before", before))
