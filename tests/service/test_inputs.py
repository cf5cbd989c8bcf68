"""What cannot be used is refused by name and stores nothing; what is our own fault is told to the log alone."""

import base64
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from uuid import uuid4

import pytest
from graphql import get_named_type, is_non_null_type
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import SQLModel

from persistence.database import Database
from tests.acceptance.owners import User, codes, furnish, over_socket, stored
from tests.acceptance.ways import CURSORS, UUIDS, WAYS, Way, call, cursors_of
from tests.client import SEND, Client, GraphQLFailed, Reading, Sent
from tests.model import ScriptedModel

CREATE = "mutation ($input: CreateConversationInput!) { createConversation(input: $input) { conversation { id } } }"
UPDATE = "mutation ($input: UpdateConversationInput!) { updateConversation(input: $input) { conversation { title } } }"
ADD_TASK = "mutation ($input: AddTaskInput!) { addTask(input: $input) { task { id title notes } } }"
UPDATE_TASK = "mutation ($input: UpdateTaskInput!) { updateTask(input: $input) { task { title notes } } }"
RATE = "mutation ($input: RateMessageInput!) { rateMessage(input: $input) { message { rating } } }"
REGENERATE = "mutation ($input: RegenerateMessageInput!) { regenerateMessage(input: $input) { reply { id } } }"
SEARCH = "query ($search: String) { conversations(search: $search) { edges { cursor } } }"
NODE = "query ($id: ID!) { node(id: $id) { id } }"
SPENT = "query ($since: DateTime) { viewer { usage(since: $since) { inputTokens } } }"

PAGE = "(first: $first, after: $after, last: $last, before: $before) { edges { cursor } }"
PAGED = "query ($id: ID!, $first: Int, $after: String, $last: Int, $before: String) { node(id: $id) { id } %s }"
LISTS = {
    "conversations": PAGED % f"conversations{PAGE}",
    "tasks": PAGED % f"tasks{PAGE}",
    "messages": PAGED % f"conversation(id: $id) {{ messages{PAGE} }}",
}
#: Half of a character: with the other half it is a thumb up.
HALF = "\ud83d"


class Home:
    """Ann's conversation of one exchange, and her task."""

    def __init__(self, ann: Client, database: Database, sent: Sent, task: str) -> None:
        self.ann, self.database = ann, database
        self.conversation, self.question, self.reply = sent.conversation, sent.message, sent.reply
        self.task = task

    async def send(self, document: str, variables: dict[str, Any], **more: Any) -> dict[str, Any]:
        """The whole answer. Goes out in ASCII: half of a character has no other way."""
        body = json.dumps({"query": document, "variables": variables, **more})
        response = await self.ann.http.post("/graphql", content=body, headers={"Content-Type": "application/json"})
        answer: dict[str, Any] = response.json() if response.text.startswith("{") else {"text": response.text}
        return answer

    async def take(self, document: str, *given: dict[str, Any]) -> list[dict[str, Any]]:
        """The data of the operation with each of these variables; fails where it is refused with some."""
        answers = {json.dumps(variables)[:200]: await self.send(document, variables) for variables in given}
        assert {variables: answer for variables, answer in answers.items() if answer.keys() != {"data"}} == {}
        return [answer["data"] for answer in answers.values()]

    async def refuse(self, document: str, naming: str, *given: dict[str, Any]) -> None:
        """Fails unless the operation is refused with each of these variables, by name, and stores nothing."""
        before = await self.rows()
        answers = {json.dumps(variables)[:200]: await self.send(document, variables) for variables in given}
        assert {variables: answer for variables, answer in answers.items() if not _names(answer, naming)} == {}
        assert await self.rows() == before

    async def rows(self) -> list[str]:
        """All that is stored, as text."""
        found: list[str] = []
        async with self.database.connection() as connection:
            for table in SQLModel.metadata.sorted_tables:
                found += await connection.scalars(text(f"select to_jsonb(t)::text from {table.name} t"))
        return sorted(found)

    async def cursors(self, asked: str) -> list[str]:
        """The cursors of one of the lists."""
        [data] = await self.take(LISTS[asked], {"id": self.conversation})
        found = data["conversation"]["messages"] if asked == "messages" else data[asked]
        return [edge["cursor"] for edge in found["edges"]]

    def given(self, document: str, **more: Any) -> dict[str, Any]:
        """Variables with which a mutation is taken, and `more` in its input."""
        least: dict[str, dict[str, Any]] = {
            SEND: {"text": "Hi.", "conversationId": self.conversation},
            RATE: {"messageId": self.reply, "rating": "UP"},
            REGENERATE: {"messageId": self.reply},
            CREATE: {},
            UPDATE: {"id": self.conversation},
            ADD_TASK: {"title": "Title."},
            UPDATE_TASK: {"id": self.task},
        }
        return {"input": {**least[document], **more}}


def _names(answer: dict[str, Any], argument: str) -> bool:
    errors = answer.get("errors") or []
    codes = {error["extensions"]["code"] for error in errors}
    return codes == {"BAD_USER_INPUT"} and argument in errors[0]["message"]


@pytest.fixture
async def home(ann: Client, database: Database) -> Home:
    sent, _ = await ann.ask("A question.")
    added = await ann.execute(ADD_TASK, input={"title": "A task."})
    return Home(ann, database, sent, added["addTask"]["task"]["id"])


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
HOLES = ["\0", "a\0b", HALF, f"a{HALF}", f"{HALF}b", "\udc4d", "\udc4d\ud83d"]
#: What is no value of a type, whatever the argument; a new type fails its tests until it has a line here.
OTHER_TYPES: dict[str, list[Any]] = {
    "String": [7, 1.5, True, [], ["x"], {}, {"x": "x"}],
    "ID": [1.5, True, [], ["x"], {}, {"x": "x"}],
    "Int": [1.5, "1", True, [], [1, 2], {}, HALF, 2**31, -(2**31) - 1, 10**30, 1e308],
    "Boolean": [0, 1, 1.0, "true", "", [], [True, False], {}, HALF],
    "DateTime": [0, 1.5, True, "", "yesterday", "\0", HALF, "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", [], {}],
    "Rating": ["SIDEWAYS", "up", "", "\0", HALF, 1, True, [], ["UP", "DOWN"], {}, "x" * 10_000],
}


@pytest.fixture
async def alice(ann: Client, model: ScriptedModel) -> User:
    """Ann, with one of everything."""
    return await furnish(ann, model)


async def ask(user: User, way: Way, value: Any) -> dict[str, Any]:
    """What the user is answered who gives this value that way. Goes out in ASCII: half of a character has no other."""
    operation = call(user, way, value)
    if operation.kind == "subscription":
        return await over_socket(user, operation, patience=1) or {}
    body = json.dumps({"query": operation.document, "variables": operation.variables})
    response = await user.client.http.post("/graphql", content=body, headers={"Content-Type": "application/json"})
    answer: dict[str, Any] = response.json()
    return answer


async def assert_refused(user: User, way: Way, values: Iterable[Any], database: Database, *, by_us: bool) -> None:
    """Each value is refused by the name of the argument and stores nothing; `by_us`, in our own words."""
    before = await stored(database)
    taken = {}
    for value in values:
        answer = await ask(user, way, value)
        start = f"{'.'.join(way.path)}: " if by_us else ""
        if not _names(answer, way.path[-1]) or not answer["errors"][0]["message"].startswith(start):
            taken[f"{way}: {value!r}"[:100]] = answer
    assert taken == {}
    assert await stored(database) == before


def _takes_null(way: Way) -> bool:
    taken: Any = way.definition
    for name in way.path:
        taken = (taken.args if taken is way.definition else get_named_type(taken.type).fields)[name]
    return not is_non_null_type(taken.type)


def _ways(type: str) -> list[Way]:
    return [way for way in WAYS if way.type == type]


@pytest.mark.parametrize("type", sorted({way.type for way in WAYS}))
async def test_a_value_of_another_type_is_refused_by_name(type: str, alice: User, database: Database) -> None:
    if type not in OTHER_TYPES:
        pytest.fail(f"arguments may be {type}: say in OTHER_TYPES what is none")
    for way in _ways(type):
        null = [] if _takes_null(way) else [None]
        await assert_refused(alice, way, [*OTHER_TYPES[type], *null], database, by_us=False)


MODELS = [way for way in _ways("String") if way.path[-1] == "model"]
STRINGS = [way for way in _ways("String") if way not in CURSORS and way not in MODELS]


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


async def test_an_id_with_half_of_a_character_is_refused(alice: User, database: Database) -> None:
    for way in UUIDS:
        id = alice.owned[way.kinds[0]]
        ids = [*HOLES, HALF * 36, id[:-1] + HALF, id + HALF, id + "\0", id[:-1] + "\0", id.upper(), 7, -1, 10**40]
        await assert_refused(alice, way, ids, database, by_us=True)


@pytest.mark.parametrize("way", _ways("Int"), ids=str)
async def test_a_page_of_an_impossible_size_is_refused(way: Way, alice: User, database: Database) -> None:
    assert way.path[-1] in ("first", "last"), "a number that no test covers"
    await assert_refused(alice, way, [0, -1, 101, 2**31 - 1, -(2**31)], database, by_us=True)
    for size in (1, 100, 1.0, None):
        assert codes(await ask(alice, way, size)) == []


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


async def test_a_search_that_cannot_be_used_is_refused(home: Home) -> None:
    await home.refuse(SEARCH, "search: ", *({"search": words} for words in ("x" * 201, *HOLES)))


async def test_any_other_search_is_answered(home: Home) -> None:
    words = ["", " ", "x" * 200, "👍" * 200, "!", "& | !", "'", '"', "a:*", "<->", "\\", "%", "\u0301", "a -", "or"]
    await home.take(SEARCH, *({"search": word} for word in words), {"search": None})


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


def forge(fields: Any) -> str:
    """A cursor with these fields, written as the server writes them."""
    written = json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(written.encode()).decode().rstrip("=")


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
            assert _names({"errors": failure.value.errors}, "after: ")


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


async def test_half_of_a_character_is_refused_wherever_it_stands(home: Home) -> None:
    await home.refuse(NODE, "id: ", {"id": HALF}, {"id": HALF * 36}, {"id": "\0"})
    await home.refuse(f'{{ node(id: "{HALF}") {{ id }} }}', "", {})
    await home.refuse(f"{{ viewer {{ id }} }} {HALF}", "", {})
    await home.refuse(LISTS["tasks"], "first", {"id": home.task, "first": HALF})


async def test_half_of_a_character_is_refused_where_the_error_repeats_it(home: Home) -> None:
    await home.refuse(RATE, "rating", home.given(RATE, rating=HALF))
    await home.refuse(SEND, "input", home.given(SEND, **{HALF: 1}))
    await home.refuse(SPENT, "since", {"since": HALF})
    assert _names(await home.send("query Mine { viewer { id } }", {}, operationName=HALF), "operation")


async def test_half_of_a_character_that_the_error_repeats_is_refused_on_a_socket_too(home: Home) -> None:
    async with home.ann.socket() as socket:
        with pytest.raises(GraphQLFailed) as failure:
            async for _ in socket.subscribe(RATE, home.given(RATE, rating=HALF)):
                pass
    assert _names({"errors": failure.value.errors}, "rating")


async def test_the_ends_of_all_time_are_times_or_refused(home: Home) -> None:
    times = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00", "9999-12-31T23:59:59", None]
    await home.take(SPENT, *({"since": time} for time in times))
    for time in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        answer = await home.send(SPENT, {"since": time})
        assert answer.keys() == {"data"} or _names(answer, "since"), answer


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


#: In the text of an error of ours, which nobody but the log may see.
PRIVATE = "the password is hunter2"
#: Functions, and an operation of Ann's that calls each.
FAILING: dict[str, Callable[[Home], Awaitable[dict[str, Any]]]] = {
    "persistence.tasks.list_tasks": lambda home: home.send(LISTS["tasks"], {"id": home.task}),
    "persistence.tasks.insert_task": lambda home: home.send(ADD_TASK, home.given(ADD_TASK)),
    "persistence.exchanges.insert_exchange": lambda home: home.send(SEND, home.given(SEND)),
    "persistence.branches.fetch_branches": lambda home: home.send(LISTS["messages"], {"id": home.conversation}),
    "persistence.conversations.update_conversation": lambda home: home.send(UPDATE, home.given(UPDATE)),
    "persistence.messages.find_owned_messages": lambda home: _follow(home),
    "schema.subscription.convert_news": lambda home: _follow(home),
}


async def _follow(home: Home) -> dict[str, Any]:
    """Follow the reply; the errors that its stream ends with."""
    with pytest.raises(GraphQLFailed) as failure:
        await home.ann.read(home.reply)
    return {"errors": failure.value.errors}


@pytest.mark.parametrize("function", FAILING)
@pytest.mark.parametrize("failure", [RuntimeError, KeyError])
async def test_an_error_of_ours_is_masked_and_the_log_has_its_id(
    function: str,
    failure: type[Exception],
    home: Home,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise failure(PRIVATE)

    before = await home.rows()
    monkeypatch.setattr(function, fail)
    answer = await FAILING[function](home)
    assert await home.rows() == before
    [error] = answer["errors"]
    assert error["message"] == "Something went wrong on the server."
    assert error["extensions"].keys() == {"code", "id"}
    assert error["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    _assert_silent(answer, PRIVATE, failure.__name__)
    [record] = [record for record in caplog.records if error["extensions"]["id"] in record.getMessage()]
    assert record.levelname == "ERROR"
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == str(failure(PRIVATE))


async def test_an_error_of_the_database_shows_no_sql(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(session: AsyncSession, *_: Any, **__: Any) -> None:
        await session.execute(text("select private from task where title = :title"), {"title": PRIVATE})

    monkeypatch.setattr("persistence.tasks.list_tasks", fail)
    answer = await home.send("{ tasks { edges { cursor } } }", {})
    assert answer["errors"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    _assert_silent(answer, PRIVATE, "private", "select", "asyncpg", "sqlalche")


def _assert_silent(answer: dict[str, Any], *private: str) -> None:
    shown = json.dumps(answer)
    assert [words for words in (*private, "Traceback", ".py", "persistence") if words in shown] == []


async def test_a_field_that_fails_leaves_the_others_their_data(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError(PRIVATE)

    monkeypatch.setattr("persistence.conversations.find_owned_conversations", fail)
    query = "query ($id: ID!) { conversation(id: $id) { id } viewer { id } }"
    answer = await home.send(query, {"id": home.conversation})
    assert answer["data"] == {"conversation": None, "viewer": {"id": "ann"}}
    assert [error["path"] for error in answer["errors"]] == [["conversation"]]
