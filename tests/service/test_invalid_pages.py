"""A page of an impossible size is refused, and so is a cursor that is none of the list or of the stream."""

import base64
import json
from typing import Any
from uuid import uuid4

import pytest

from persistence.database import Database
from tests.acceptance.owners import User, codes
from tests.acceptance.ways import CURSORS, Way, cursors_of
from tests.client import GraphQLFailed, Reading
from tests.service.inputs import HALF, LISTS, Home, alice, ask, assert_refused, home, names, ways_of

__all__ = ["alice", "home"]

HEX = uuid4().hex
NO_TIMES: list[Any] = ["0", "", None, [0], {}, 10**18, -(10**18), 1e300, 2**64]
NO_IDS: list[Any] = [5, None, True, 0.5, [], ["x"], {}, "", "x", HEX[:-1], f"{HEX}0"]
#: Fields of a cursor: its kind `k`, then a time and an id, or a conversation's tag and a depth.
FORGED: list[Any] = [
    *(None, True, 7, "k", {}, {"k": 0}, [], ["k"], ["k", 0], ["k", 0, HEX, 0], ["", 0, HEX], [["k"], 0, HEX]),
    *(["k", time, HEX] for time in NO_TIMES),
    *(["k", 0, id] for id in NO_IDS),
]
GARBAGE = ["", " ", "x", "====", "💥", HALF, "\0", "a" * 5000, "W10=", "null", "W1tbW1tb", "../../etc", "' or 1=1 --"]


def forge(fields: Any) -> str:
    """A cursor with these fields, written as the server writes them."""
    written = json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(written.encode()).decode().rstrip("=")


@pytest.mark.parametrize("way", ways_of("Int"), ids=str)
async def test_a_page_of_an_impossible_size_is_refused(way: Way, alice: User, database: Database) -> None:
    assert way.path[-1] in ("first", "last"), "a number that no test covers"
    await assert_refused(alice, way, [0, -1, 101, 2**31 - 1, -(2**31)], database, by_us=True)
    for size in (1, 100, 1.0, None):
        assert codes(await ask(alice, way, size)) == []


@pytest.mark.parametrize("asked", LISTS)
async def test_a_page_from_both_ends_is_refused(asked: str, home: Home) -> None:
    both = [{"first": 1, "last": 1}, {"first": 100, "last": 0}]
    await home.refuse(LISTS[asked], "last: ", *({"id": home.conversation, **sizes} for sizes in both))


@pytest.mark.parametrize("asked", LISTS)
async def test_a_page_of_any_other_size_is_given(asked: str, home: Home) -> None:
    sizes: list[dict[str, Any]] = [
        {},
        {"first": 1},
        {"first": 100},
        {"last": 1},
        {"last": 100},
        {"first": 1, "last": None},
    ]
    await home.take(LISTS[asked], *({"id": home.conversation, **size} for size in sizes))


@pytest.mark.parametrize("way", CURSORS, ids=str)
async def test_what_is_no_cursor_of_ours_is_refused(way: Way, alice: User, database: Database) -> None:
    [own, *_] = await cursors_of(alice, way)
    tampered = [own[:-1], own[1:], own + "A", own + "=", own.swapcase(), f" {own}", f"{own}\n", own * 2]
    await assert_refused(alice, way, [*GARBAGE, *tampered], database, by_us=True)


@pytest.mark.parametrize("way", [way for way in CURSORS if way.parent == "Subscription"], ids=str)
async def test_a_cursor_of_a_place_that_no_stream_has_is_refused(way: Way, alice: User, database: Database) -> None:
    [own] = await cursors_of(alice, way)
    assert codes(await ask(alice, way, own)) == []
    fields = json.loads(base64.urlsafe_b64decode(own + "=" * (-len(own) % 4)))
    wrong: list[Any] = [-1, 10**6, 2**31 - 1, 2**31, 2**62, 2**63, 1.5, "0", None, True, [], {}]
    forged = [forge([*fields[:place], value, *fields[place + 1 :]]) for place in range(len(fields)) for value in wrong]
    await assert_refused(alice, way, [*forged, forge([*fields, 0]), forge(fields[:-1])], database, by_us=True)


@pytest.mark.parametrize("asked", LISTS)
@pytest.mark.parametrize("argument", ["after", "before"])
async def test_a_malformed_cursor_is_refused(asked: str, argument: str, home: Home) -> None:
    forged = [forge(json.loads(json.dumps(fields).replace('"k"', f'"{asked[0]}"'))) for fields in FORGED]
    own = (await home.cursors(asked))[0]
    tampered = [own[:-1], own + "A", own + "=", own.swapcase(), f" {own}", f"{own}\n"]
    cursors = ({"id": home.conversation, argument: cursor} for cursor in (*forged, *GARBAGE, *tampered))
    await home.refuse(LISTS[asked], f"{argument}: ", *cursors)
    await home.take(LISTS[asked], {"id": home.conversation, argument: own})


@pytest.mark.parametrize("asked", LISTS)
async def test_a_cursor_of_another_list_is_refused(asked: str, home: Home) -> None:
    elsewhere, _ = await home.ann.ask("Elsewhere.")
    objects = "query ($c: ID!, $m: ID!) { conversation(id: $c) { cursor } message(id: $m) { cursor } }"
    [streams] = await home.take(objects, {"c": home.conversation, "m": home.reply})
    foreign = [stream["cursor"] for stream in streams.values()]
    for other in LISTS.keys() - {asked}:
        foreign += await home.cursors(other)
    assert len(foreign) >= 4
    for argument in ("after", "before"):
        given = ({"id": home.conversation, argument: cursor} for cursor in foreign)
        await home.refuse(LISTS[asked], f"{argument}: ", *given)
    if asked == "messages":
        own = await home.cursors("messages")
        await home.refuse(LISTS[asked], "after: ", *({"id": elsewhere.conversation, "after": c} for c in own))


async def test_a_cursor_of_a_list_is_none_of_a_stream(home: Home) -> None:
    for asked in LISTS:
        for cursor in await home.cursors(asked):
            with pytest.raises(GraphQLFailed) as failure:
                await home.ann.read(home.reply, Reading(cursor=cursor))
            assert names({"errors": failure.value.errors}, "after: ")
