"""Text that is too long, says nothing or cannot be stored is refused; any other is stored as it was given."""

import json

import pytest

from persistence.database import Database
from tests.acceptance.owners import User, codes
from tests.acceptance.ways import CURSORS, Way
from tests.client import SEND, GraphQLFailed
from tests.service.inputs import (
    ADD_TASK,
    HALF,
    HOLES,
    LISTS,
    NODE,
    RATE,
    SPENT,
    Home,
    alice,
    ask,
    assert_refused,
    home,
    names,
    ways_of,
)

__all__ = ["alice", "home"]

SEARCH = "query ($search: String) { conversations(search: $search) { edges { cursor } } }"

#: The longest text that each argument and input field takes, in characters, and whether it may say nothing.
#: A new one fails its tests until it has a line here.
TEXTS: dict[str, tuple[int, bool]] = {
    "Query.conversations.search": (200, True),
    "SendMessageInput.text": (32_000, False),
    "SendMessageInput.idempotencyKey": (200, False),
    "RegenerateMessageInput.idempotencyKey": (200, False),
    "ResolveToolCallInput.note": (2_000, True),
    "RateMessageInput.comment": (2_000, True),
    "CreateConversationInput.title": (200, False),
    "UpdateConversationInput.title": (200, False),
    "AddTaskInput.title": (200, False),
    "AddTaskInput.notes": (10_000, True),
    "UpdateTaskInput.title": (200, False),
    "UpdateTaskInput.notes": (10_000, True),
}
BLANKS = ["", " ", "\n\t ", "\u00a0\u2003"]
MODELS = [way for way in ways_of("String") if way.path[-1] == "model"]
STRINGS = [way for way in ways_of("String") if way not in CURSORS and way not in MODELS]


@pytest.mark.parametrize("way", STRINGS, ids=str)
async def test_a_text_that_is_too_long_or_cannot_be_stored_is_refused(
    way: Way, alice: User, database: Database
) -> None:
    if way.coordinate not in TEXTS:
        pytest.fail(f"{way.coordinate} is a text that no test covers: add to TEXTS how long it may be")
    longest, may_be_blank = TEXTS[way.coordinate]
    refused = ["x" * (longest + 1), "👍" * (longest + 1), " " * (longest + 1), *HOLES]
    await assert_refused(alice, way, [*refused, *([] if may_be_blank else BLANKS)], database, by_us=True)


@pytest.mark.parametrize("way", STRINGS, ids=str)
async def test_a_text_of_any_length_up_to_its_limit_is_taken(way: Way, alice: User) -> None:
    longest, may_be_blank = TEXTS[way.coordinate]
    for words in ("x", "👍", "é" * longest, "👍" * longest, *(BLANKS if may_be_blank else [])):
        answer = await ask(alice, way, words)
        # Whether the object is in a state for it is another question.
        assert set(codes(answer)) <= {"CONFLICT"}, (words[:20], answer)


@pytest.mark.parametrize("way", MODELS, ids=str)
async def test_a_model_that_is_not_offered_is_refused(way: Way, alice: User, database: Database) -> None:
    refused = ["x", "scripted ", "Scripted", "scripted-titles", "👍" * 1000, *HOLES, *BLANKS]
    await assert_refused(alice, way, refused, database, by_us=True)


async def test_a_text_is_stored_as_it_was_given(home: Home) -> None:
    for words in (
        " a ",
        "a\r\nb",
        "\u202eabc",
        "e\u0301",
        "\ufeff.",
        "\x01\x7f",
        "'; drop table task; --",
        HALF + "\udc4d",
    ):
        [task] = await home.take(ADD_TASK, {"input": {"title": words, "notes": words}})
        # In the request, two halves in escapes are one character.
        given = json.loads(json.dumps(words))
        assert (task["addTask"]["task"]["title"], task["addTask"]["task"]["notes"]) == (given, given)


async def test_a_search_that_cannot_be_used_is_refused(home: Home) -> None:
    await home.refuse(SEARCH, "search: ", *({"search": words} for words in ("x" * 201, *HOLES)))


async def test_any_other_search_is_answered(home: Home) -> None:
    words = ["", " ", "x" * 200, "👍" * 200, "!", "& | !", "'", '"', "a:*", "<->", "\\", "%", "\u0301", "a -", "or"]
    await home.take(SEARCH, *({"search": word} for word in words), {"search": None})


async def test_half_of_a_character_is_refused_wherever_it_stands(home: Home) -> None:
    await home.refuse(NODE, "id: ", {"id": HALF}, {"id": HALF * 36}, {"id": "\0"})
    await home.refuse(f'{{ node(id: "{HALF}") {{ id }} }}', "", {})
    await home.refuse(f"{{ viewer {{ id }} }} {HALF}", "", {})
    await home.refuse(LISTS["tasks"], "first", {"id": home.task, "first": HALF})


async def test_half_of_a_character_is_refused_where_the_error_repeats_it(home: Home) -> None:
    await home.refuse(RATE, "rating", home.given(RATE, rating=HALF))
    await home.refuse(SEND, "input", home.given(SEND, **{HALF: 1}))
    await home.refuse(SPENT, "since", {"since": HALF})
    assert names(await home.send("query Mine { viewer { id } }", {}, operationName=HALF), "operation")


async def test_half_of_a_character_that_the_error_repeats_is_refused_on_a_socket_too(home: Home) -> None:
    async with home.ann.socket() as socket:
        with pytest.raises(GraphQLFailed) as failure:
            async for _ in socket.subscribe(RATE, home.given(RATE, rating=HALF)):
                pass
    assert names({"errors": failure.value.errors}, "rating")
