"""Values of another type, of another shape, or of no use where they stand are refused by the name of the argument."""

from typing import Any

import pytest
from graphql import get_named_type, is_non_null_type

from persistence.database import Database
from tests.acceptance.owners import User
from tests.acceptance.ways import UUIDS, WAYS, Way
from tests.client import SEND
from tests.service.inputs import (
    CREATE,
    HALF,
    HOLES,
    NODE,
    RATE,
    REGENERATE,
    SPENT,
    UPDATE,
    UPDATE_TASK,
    Home,
    alice,
    assert_refused,
    home,
    names,
    ways_of,
)

__all__ = ["alice", "home"]

#: What is no value of a type, whatever the argument; a new type fails its tests until it has a line here.
OTHER_TYPES: dict[str, list[Any]] = {
    "String": [7, 1.5, True, [], ["x"], {}, {"x": "x"}],
    "ID": [1.5, True, [], ["x"], {}, {"x": "x"}],
    "Int": [1.5, "1", True, [], [1, 2], {}, HALF, 2**31, -(2**31) - 1, 10**30, 1e308],
    "Boolean": [0, 1, 1.0, "true", "", [], [True, False], {}, HALF],
    "DateTime": [0, 1.5, True, "", "yesterday", "\0", HALF, "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", [], {}],
    "Rating": ["SIDEWAYS", "up", "", "\0", HALF, 1, True, [], ["UP", "DOWN"], {}, "x" * 10_000],
}


def _takes_null(way: Way) -> bool:
    taken: Any = way.definition
    for name in way.path:
        taken = (taken.args if taken is way.definition else get_named_type(taken.type).fields)[name]
    return not is_non_null_type(taken.type)


@pytest.mark.parametrize("type", sorted({way.type for way in WAYS}))
async def test_a_value_of_another_type_is_refused_by_name(type: str, alice: User, database: Database) -> None:
    if type not in OTHER_TYPES:
        pytest.fail(f"arguments may be {type}: say in OTHER_TYPES what is none")
    for way in ways_of(type):
        null = [] if _takes_null(way) else [None]
        await assert_refused(alice, way, [*OTHER_TYPES[type], *null], database, by_us=False)


async def test_an_id_with_half_of_a_character_is_refused(alice: User, database: Database) -> None:
    for way in UUIDS:
        id = alice.owned[way.kinds[0]]
        ids = [*HOLES, HALF * 36, id[:-1] + HALF, id + HALF, id + "\0", id[:-1] + "\0", id.upper(), 7, -1, 10**40]
        await assert_refused(alice, way, ids, database, by_us=True)


async def test_null_keeps_or_takes_away_as_the_contract_says(home: Home) -> None:
    await home.take(UPDATE, home.given(UPDATE, title="Named."), home.given(UPDATE, archived=None))
    [task, kept] = await home.take(
        UPDATE_TASK, home.given(UPDATE_TASK, notes="Notes."), home.given(UPDATE_TASK, title=None)
    )
    assert kept == task == {"updateTask": {"task": {"title": "A task.", "notes": "Notes."}}}
    [taken] = await home.take(UPDATE_TASK, home.given(UPDATE_TASK, notes=None))
    assert taken == {"updateTask": {"task": {"title": "A task.", "notes": None}}}
    [unnamed] = await home.take(UPDATE, home.given(UPDATE, title=None))
    assert unnamed == {"updateConversation": {"conversation": {"title": None}}}
    await home.take(CREATE, home.given(CREATE, title=None))
    await home.take(RATE, home.given(RATE, rating=None, comment=None))


async def test_a_parent_must_be_a_reply_in_a_conversation_that_is_named(home: Home) -> None:
    naming = "input.parentId: "
    await home.refuse(SEND, naming, {"input": {"text": "Hi.", "parentId": home.reply}})
    for parent in (home.question, f"{home.reply}x", HALF, "\0", ""):
        await home.refuse(SEND, naming, home.given(SEND, parentId=parent))
    [edited] = await home.take(SEND, home.given(SEND, parentId=None))
    assert edited["sendMessage"]["message"]["parent"] is None
    [followed] = await home.take(SEND, home.given(SEND, parentId=home.reply))
    assert followed["sendMessage"]["message"]["parent"]["id"] == home.reply


async def test_only_a_reply_can_be_regenerated_or_rated(home: Home) -> None:
    for document in (REGENERATE, RATE):
        await home.refuse(document, "input.messageId: ", home.given(document, messageId=home.question))


async def test_an_unknown_rating_in_the_document_is_refused(home: Home) -> None:
    await home.refuse('mutation { rateMessage(input: {messageId: "x", rating: UPP}) { message { id } } }', "UPP", {})


async def test_an_input_object_of_another_shape_is_refused(home: Home) -> None:
    shapes: list[Any] = [None, "Hi.", 7, [], {}, {"words": "Hi."}, {"text": "Hi.", "words": "Hi."}]
    await home.refuse(SEND, "input", *({"input": shape} for shape in shapes), {})
    await home.refuse(NODE, "id", {})


async def test_the_ends_of_all_time_are_times_or_refused(home: Home) -> None:
    times = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00", "9999-12-31T23:59:59", None]
    await home.take(SPENT, *({"since": time} for time in times))
    for time in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        answer = await home.send(SPENT, {"since": time})
        assert answer.keys() == {"data"} or names(answer, "since"), answer


async def test_a_number_of_thousands_of_digits_is_refused(home: Home) -> None:
    digits = "1" * 5_000
    for document in (
        "{ tasks(first: %s) { edges { cursor } } }",
        "{ tasks(first: 1e%s) { edges { cursor } } }",
        "{ node(id: %s) { id } }",
        "query ($n: Int = %s) { tasks(first: $n) { edges { cursor } } }",
        "mutation { addTask(input: {title: %s}) { task { id } } }",
    ):
        await home.refuse(document % digits, "", {})
