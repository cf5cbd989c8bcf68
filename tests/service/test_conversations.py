"""Conversations and tasks: made, changed, listed, found, deleted."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from agent.messages_wire import Answer, Text
from persistence.conversations import lock_owned_conversation
from persistence.database import Database
from tests.client import Client, GraphQLFailed
from tests.conftest import ConnectClient, StartServer, until
from tests.model import ScriptedModel, last_text, say

CREATE = """
mutation ($title: String) { createConversation(input: {title: $title}) { conversation { ...all } } }
fragment all on Conversation {
  id title createdAt updatedAt archivedAt
  usage { inputTokens outputTokens cacheReadTokens cacheWriteTokens }
  messages { edges { node { id } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } }
}
"""
UPDATE = """
mutation ($input: UpdateConversationInput!) {
  updateConversation(input: $input) { conversation { id title updatedAt archivedAt } }
}
"""
DELETE = "mutation ($id: ID!) { deleteConversation(input: {id: $id}) { deletedId } }"
READ = """
query ($id: ID!) { conversation(id: $id) {
  id title updatedAt archivedAt usage { inputTokens outputTokens cacheReadTokens cacheWriteTokens }
} }
"""
LIST = """
query ($first: Int, $after: String, $last: Int, $before: String, $search: String, $archived: Boolean! = false) {
  conversations(
    first: $first, after: $after, last: $last, before: $before, search: $search, archived: $archived
  ) {
    edges { cursor node { id title updatedAt archivedAt } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""
RATE = """
mutation ($input: RateMessageInput!) { rateMessage(input: $input) { message { id rating status text } } }
"""
SPENT = """
query ($since: DateTime) { viewer { usage(since: $since) {
  inputTokens outputTokens cacheReadTokens cacheWriteTokens
} } }
"""
NODE = """
query ($id: ID!) { node(id: $id) {
  __typename id
  ... on Conversation { title }
  ... on Message { text }
  ... on Task { notes }
} }
"""
TASK = "task { id title notes done createdAt updatedAt }"
TASKS = """
query ($first: Int, $after: String, $last: Int, $before: String, $done: Boolean) {
  tasks(first: $first, after: $after, last: $last, before: $before, done: $done) {
    edges { cursor node { id title done } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""

Read = Callable[..., Awaitable[dict[str, Any]]]


async def create(client: Client, title: str | None = None) -> str:
    """A new conversation's id."""
    data = await client.execute(CREATE, title=title)
    return str(data["createConversation"]["conversation"]["id"])


async def update(client: Client, id: str, **changes: Any) -> dict[str, Any]:
    """The conversation after it was changed."""
    data = await client.execute(UPDATE, input={"id": id, **changes})
    conversation: dict[str, Any] = data["updateConversation"]["conversation"]
    return conversation


async def read(client: Client, id: str) -> dict[str, Any]:
    conversation: dict[str, Any] = (await client.execute(READ, id=id))["conversation"]
    return conversation


async def list_titles(client: Client, **arguments: Any) -> list[str]:
    """The titles on one page of conversations."""
    edges = (await client.execute(LIST, **arguments))["conversations"]["edges"]
    return [edge["node"]["title"] for edge in edges]


def lister(client: Client, **fixed: Any) -> Read:
    """Reads pages of the list of conversations."""

    async def read_page(**window: Any) -> dict[str, Any]:
        page: dict[str, Any] = (await client.execute(LIST, **fixed, **window))["conversations"]
        return page

    return read_page


async def walk(
    read_page: Read, size: int, *, backwards: bool, between: Callable[[], Awaitable[Any]] | None = None
) -> list[dict[str, Any]]:
    """All nodes in list order, read page by page; no page is empty and each tells truly whether there is more."""
    ahead, behind, end = ("Previous", "Next", "startCursor") if backwards else ("Next", "Previous", "endCursor")
    nodes: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = await read_page(**({"last": size, "before": cursor} if backwards else {"first": size, "after": cursor}))
        info, edges = page["pageInfo"], page["edges"]
        assert info[f"has{behind}Page"] is (cursor is not None)
        assert 1 <= len(edges) <= size
        assert [info["startCursor"], info["endCursor"]] == [edges[0]["cursor"], edges[-1]["cursor"]]
        found = [edge["node"] for edge in edges]
        nodes = found + nodes if backwards else nodes + found
        if not info[f"has{ahead}Page"]:
            return nodes
        cursor = info[end]
        if between is not None:
            await between()


async def insert_conversations(database: Database, owner: str, count: int, *, archived: bool = False) -> list[str]:
    """Conversations of which five at a time share their moment of activity; gives their ids in list order."""
    ids = [uuid4() for _ in range(count)]
    statement = text("""
        insert into conversation (id, owner_id, title, updated_at, archived_at)
        values (:id, :owner, :title, timestamptz '2020-01-01' + make_interval(secs => :second),
            case when :archived then now() end)
    """)
    rows = [
        {"id": id, "owner": owner, "title": f"{n:02}", "second": n // 5, "archived": archived}
        for n, id in enumerate(ids)
    ]
    async with database.connection() as connection:
        await connection.execute(statement, rows)

    def newest_first(n: int) -> tuple[int, UUID]:
        return n // 5, ids[n]

    return [str(ids[n]) for n in sorted(range(count), key=newest_first, reverse=True)]


async def test_a_new_conversation_is_empty(ann: Client) -> None:
    made = (await ann.execute(CREATE, title="Plans"))["createConversation"]["conversation"]
    assert made["title"] == "Plans"
    assert made["createdAt"] == made["updatedAt"]
    assert made["archivedAt"] is None
    assert set(made["usage"].values()) == {0}
    nothing = {"hasNextPage": False, "hasPreviousPage": False, "startCursor": None, "endCursor": None}
    assert made["messages"] == {"edges": [], "pageInfo": nothing}
    assert await list_titles(ann) == ["Plans"]


@pytest.mark.parametrize("title", ["", " \n", "x" * 201, "a\x00b"])
async def test_a_title_that_cannot_be_one_is_bad_user_input(ann: Client, title: str) -> None:
    id = await create(ann, "x" * 200)
    for attempt in (create(ann, title), update(ann, id, title=title)):
        with pytest.raises(GraphQLFailed) as failure:
            await attempt
        assert failure.value.codes == ["BAD_USER_INPUT"]
    assert await list_titles(ann) == ["x" * 200]


async def test_the_model_names_a_conversation_only_where_the_user_has_not(
    start_server: StartServer, connect_client: ConnectClient, model: ScriptedModel
) -> None:
    model.by(lambda request: say("Bread at home" if request["model"] == "scripted-titles" else "Flour first."))
    async with start_server(titles=True) as titling:
        ann = connect_client("ann", url=titling.url)
        id = await create(ann, "Mine")
        await ann.ask("How do I bake?", conversationId=id)
        assert (await update(ann, id))["title"] == "Mine"
        assert "scripted-titles" not in {request["model"] for request in model.requests}

        assert (await update(ann, id, title=None))["title"] is None

        async def is_named() -> bool:
            # Again where the server that all tests share, which gives no names, took the run.
            await ann.ask("And then?", conversationId=id)
            return bool((await read(ann, id))["title"] == "Bread at home")

        await until(is_named)
        assert (await update(ann, id, title="Mine again"))["title"] == "Mine again"
        await ann.ask("Thanks.", conversationId=id)
        assert (await read(ann, id))["title"] == "Mine again"


async def test_archiving_takes_a_conversation_out_of_the_list_until_it_is_taken_back(ann: Client) -> None:
    id = await create(ann, "Old")
    await create(ann, "New")
    archived = await update(ann, id, archived=True)
    assert archived["archivedAt"] is not None
    assert archived["title"] == "Old"
    assert await list_titles(ann) == ["New"]
    assert await list_titles(ann, archived=True) == ["Old"]

    again = await update(ann, id, archived=True, title="Older")
    assert again["archivedAt"] == archived["archivedAt"]
    assert (await update(ann, id, archived=None))["archivedAt"] == archived["archivedAt"]

    assert (await update(ann, id, archived=False))["archivedAt"] is None
    assert sorted(await list_titles(ann)) == ["New", "Older"]
    assert await list_titles(ann, archived=True) == []


async def test_deleting_takes_everything_but_what_was_spent(
    ann: Client, model: ScriptedModel, database: Database
) -> None:
    model.by(lambda request: say("Yes.", first_token_delay=60 if last_text(request) == "Slow?" else 0))
    sent, _ = await ann.ask("Is it?")
    task = (await ann.execute(f'mutation {{ addTask(input: {{title: "Stay"}}) {{ {TASK} }} }}'))["addTask"]["task"]
    spent = await ann.execute(SPENT)
    assert spent["viewer"]["usage"]["inputTokens"] > 0
    running = await ann.send("Slow?", conversationId=sent.conversation)
    waiting = await ann.send("And?", conversationId=sent.conversation)

    data = await ann.execute(DELETE, id=sent.conversation)
    assert data["deleteConversation"]["deletedId"] == sent.conversation
    for id in (sent.conversation, sent.message, sent.reply, running.reply, waiting.reply):
        with pytest.raises(GraphQLFailed) as failure:
            await ann.execute(NODE, id=id)
        assert failure.value.codes == ["FORBIDDEN"]
    async with database.connection() as connection:
        for table in ("conversation", "message", "run"):
            assert (await connection.execute(text(f"select count(*) from {table}"))).scalar() == 0

    async def is_still_spent() -> bool:
        # What the running reply has cost comes to it a moment later.
        usage = (await ann.execute(SPENT))["viewer"]["usage"]
        return all(usage[kind] >= count for kind, count in spent["viewer"]["usage"].items())

    await until(is_still_spent)
    assert (await ann.execute(NODE, id=task["id"]))["node"]["id"] == task["id"]
    await until(lambda: model.open_streams == 0)


async def test_another_users_conversation_and_none_at_all_are_refused_alike(ann: Client, bob: Client) -> None:
    id = await create(ann, "Ann's")
    errors = []
    for target in (id, str(uuid4())):
        for attempt in (
            read(bob, target),
            update(bob, target, title="Bob's"),
            update(bob, target, archived=True),
            bob.execute(DELETE, id=target),
        ):
            with pytest.raises(GraphQLFailed) as failure:
                await attempt
            assert failure.value.codes == ["FORBIDDEN"]
            errors.append(failure.value.errors[0]["message"])
    assert len(set(errors)) == 1
    assert (await read(ann, id))["title"] == "Ann's"
    assert await list_titles(bob) == []


async def test_deleting_and_the_end_of_a_reply_do_not_lock_each_other_out(
    ann: Client, model: ScriptedModel, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async def two_wait_for_locks() -> bool:
        query = text("select count(*) = 2 from pg_stat_activity where wait_event_type = 'Lock'")
        async with database.connection() as connection:
            return bool((await connection.execute(query)).scalar())

    model.script(Answer([Text("word " * 20)], tokens_per_second=5))
    sent = await ann.send("Write.")
    await until(lambda: model.open_streams == 1)
    async with database.transaction() as sending:
        # As another sendMessage does: first the deletion waits behind it, then the end of the reply.
        await lock_owned_conversation(sending, "ann", UUID(sent.conversation))
        deleting = asyncio.create_task(ann.execute(DELETE, id=sent.conversation))
        await until(two_wait_for_locks)
    assert (await deleting)["deleteConversation"] == {"deletedId": sent.conversation}
    await asyncio.sleep(0.2)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("backwards", [False, True])
async def test_a_walk_over_fifty_conversations_meets_each_once_and_in_order(
    ann: Client, database: Database, backwards: bool
) -> None:
    expected = await insert_conversations(database, "ann", 50)
    await insert_conversations(database, "bob", 5)
    for size in (7, 10, 50):
        met = await walk(lister(ann), size, backwards=backwards)
        assert [conversation["id"] for conversation in met] == expected


async def test_a_walk_meets_what_stays_once_and_in_order_while_others_move(ann: Client, database: Database) -> None:
    before = await insert_conversations(database, "ann", 50)
    moved: list[str] = []

    async def move_one_that_was_met_and_one_that_was_not() -> None:
        for id in (before[len(moved)], before[-1 - len(moved)]):
            await update(ann, id, title="moved")
            moved.append(id)

    met = await walk(lister(ann), 7, backwards=False, between=move_one_that_was_met_and_one_that_was_not)
    ids = [conversation["id"] for conversation in met]
    assert len(moved) > 10
    assert len(set(ids)) == len(ids)
    assert [id for id in ids if id not in moved] == [id for id in before if id not in moved]
    # What moved is now before the first page.
    page = (await ann.execute(LIST, first=len(moved)))["conversations"]
    assert [edge["node"]["id"] for edge in page["edges"]] == moved[::-1]


@pytest.mark.parametrize("backwards", [False, True])
async def test_a_walk_keeps_to_the_archived_or_to_the_others(ann: Client, database: Database, backwards: bool) -> None:
    kept = await insert_conversations(database, "ann", 12)
    archived = await insert_conversations(database, "ann", 11, archived=True)
    for expected, flag in ((kept, False), (archived, True)):
        met = await walk(lister(ann, archived=flag), 4, backwards=backwards)
        assert [conversation["id"] for conversation in met] == expected


async def test_both_ends_of_a_window_hold(ann: Client, database: Database) -> None:
    expected = await insert_conversations(database, "ann", 20)
    edges = (await ann.execute(LIST, first=20))["conversations"]["edges"]
    between = {"after": edges[4]["cursor"], "before": edges[15]["cursor"]}
    for window, piece in (({"first": 3}, slice(5, 8)), ({"last": 3}, slice(12, 15)), ({"first": 100}, slice(5, 15))):
        page = (await ann.execute(LIST, **between, **window))["conversations"]
        assert [edge["node"]["id"] for edge in page["edges"]] == expected[piece]


@pytest.mark.parametrize(
    "window",
    [{"first": 1, "last": 1}, {"first": 0}, {"last": 101}, {"first": -1}, {"after": "x"}, {"before": "W10"}],
)
async def test_a_window_that_cannot_be_one_is_bad_user_input(ann: Client, window: dict[str, Any]) -> None:
    for query in (LIST, TASKS):
        with pytest.raises(GraphQLFailed) as failure:
            await ann.execute(query, **window)
        assert failure.value.codes == ["BAD_USER_INPUT"]


async def test_activity_brings_a_conversation_to_the_top(ann: Client, model: ScriptedModel) -> None:
    first, second, third = [await create(ann, title) for title in ("first", "second", "third")]
    assert await list_titles(ann) == ["third", "second", "first"]
    await update(ann, first, title="first, renamed")
    assert await list_titles(ann) == ["first, renamed", "third", "second"]
    model.script(say("Yes.", first_token_delay=0.5))
    sent = await ann.send("Is it?", conversationId=second)
    assert await list_titles(ann) == ["second", "first, renamed", "third"]
    await update(ann, third, archived=True)
    await update(ann, third, archived=False)
    await ann.finished(sent.reply)
    assert await list_titles(ann) == ["second", "third", "first, renamed"]


async def test_a_conversation_sums_what_its_replies_cost(ann: Client, model: ScriptedModel) -> None:
    def cost(times: int) -> dict[str, int]:
        return {
            "inputTokens": 11 * times,
            "outputTokens": 7 * times,
            "cacheReadTokens": 3 * times,
            "cacheWriteTokens": 2 * times,
        }

    answer = say("Yes.", input_tokens=11, output_tokens=7, cache_read_tokens=3, cache_write_tokens=2)
    model.script(answer)
    sent, reply = await ann.ask("Is it?")
    assert reply["usage"] == (await read(ann, sent.conversation))["usage"] == cost(1)
    await ann.ask("Really?", conversationId=sent.conversation)
    await ann.ask("Another one?")
    await ann.execute(
        "mutation ($id: ID!) { regenerateMessage(input: {messageId: $id}) { finishedReply { id } } }", id=sent.reply
    )
    assert (await read(ann, sent.conversation))["usage"] == cost(3)
    assert (await ann.message(sent.message))["usage"] is None
    assert (await ann.execute(SPENT))["viewer"]["usage"] == cost(4)
    assert (await ann.execute(SPENT, since="2000-01-01T00:00:00Z"))["viewer"]["usage"] == cost(4)
    assert (await ann.execute(SPENT, since="2999-01-01T00:00:00Z"))["viewer"]["usage"] == cost(0)


@pytest.fixture
async def library(ann: Client, bob: Client, model: ScriptedModel) -> None:
    """Ann's conversations by title: bread, travel and odd; Bob's has the words of all."""
    replies = {
        "How do I bake a sourdough loaf?": "Feed the starter twice a day, then knead gently.",
        "Where should I go in spring?": "Lisbon is lovely; the well-known trams climb, says example.org/trams today.",
        "What's 'it' & that | these ! those : (them) * \\ <-> 👍 smiley?": "Naïve café, 日本語, O'Brien's déjà-vu.",
    }
    model.by(lambda request: say(replies[last_text(request)]))
    for title, question in zip(("Bread", "Travel plans", "Odd"), replies, strict=True):
        await ann.ask(question, conversationId=await create(ann, title))
        await bob.ask(question, conversationId=await create(bob, f"Bob's {title}"))


@pytest.fixture(params=[True, False], ids=["walked", "looked up"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the two ways to search, whatever is cheap."""

    async def is_cheap_to_walk(*_: object) -> bool:
        return bool(request.param)

    monkeypatch.setattr("persistence.conversations.is_cheap_to_walk", is_cheap_to_walk)


WORDS = {
    "bread": ["Bread"],
    "TRAVEL": ["Travel plans"],
    "travel plans": ["Travel plans"],
    "sourdough": ["Bread"],
    "starter": ["Bread"],
    "knead starter": ["Bread"],
    "sourd": ["Bread"],
    "sourdough lo": ["Bread"],
    "sour loaf": [],
    "starter sourdough": [],
    "sourdough or lisbon": ["Travel plans", "Bread"],
    '"starter twice"': ["Bread"],
    '"starter twi"': ["Bread"],
    '"twice starter"': [],
    "lisbon -trams": [],
    "lisbon -bread": ["Travel plans"],
    "naïve": ["Odd"],
    "日本": ["Odd"],
    "o'brien": ["Odd"],
    "smiley 👍": ["Odd"],
    "what's those": ["Odd"],
    "cheese": [],
    "bob": [],
}
COMPOUNDS = {
    "well-known": ["Travel plans"],
    '"the well-known trams"': ["Travel plans"],
    "example.org/trams": ["Travel plans"],
    "lisbon -well-known": [],
    'lisbon -"is lovely"': [],
    'lisbon -"lovely trams"': ["Travel plans"],
}


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("expected", [WORDS, COMPOUNDS], ids=["words", "compounds"])
async def test_search_finds_titles_questions_and_replies_of_ones_own(
    ann: Client, library: None, expected: dict[str, list[str]]
) -> None:
    found: dict[str, Any] = {}
    for question in expected:
        try:
            found[question] = await list_titles(ann, search=question)
        except GraphQLFailed as failure:
            found[question] = failure.codes
    assert found == expected


SIGNS = [*"'\"&|!:*()\\<>-%_@$?", "''", '""', ":*", "a:*", "'a':*", "!a", "a & !b", "a <-> b", "(a", "a)", "\\'"]
OPERATORS = ["or", "or or", "a or", "--", "-a", '-"a b"', '"a b" -"c d"', "-a-b", "a -b-c"]
ODDITIES = [
    "",
    " ",
    "\n\t",
    "a " * 100,
    "x" * 200,
    "@" + "0" * 32,
    "\u202e\u0301",
    "👍",
    "👩‍👩‍👧 :)",
    "$1",
    ":id",
    "{}",
    "%s",
]


@pytest.mark.usefixtures("way")
async def test_no_character_does_harm_in_a_search(ann: Client) -> None:
    await create(ann, "Bread")
    harm: dict[str, Any] = {}
    for question in [*SIGNS, *OPERATORS, *ODDITIES, "'; drop table message; --"]:
        try:
            await list_titles(ann, search=question)
        except GraphQLFailed as failure:
            harm[question] = failure.codes
    assert harm == {}
    assert await list_titles(ann) == ["Bread"]


@pytest.mark.parametrize("question", ["x" * 201, "a\x00b"])
async def test_a_search_that_cannot_be_one_is_bad_user_input(ann: Client, question: str) -> None:
    with pytest.raises(GraphQLFailed) as failure:
        await list_titles(ann, search=question)
    assert failure.value.codes == ["BAD_USER_INPUT"]


@pytest.mark.usefixtures("way")
async def test_search_follows_renaming_archiving_and_deleting(ann: Client) -> None:
    sent, _ = await ann.ask("Tell me of cheese.")
    await update(ann, sent.conversation, title="Bread")
    await update(ann, sent.conversation, title="Wine")
    assert await list_titles(ann, search="bread") == []
    assert await list_titles(ann, search="wine") == ["Wine"]
    await update(ann, sent.conversation, archived=True)
    assert await list_titles(ann, search="cheese") == []
    assert await list_titles(ann, search="cheese", archived=True) == ["Wine"]
    await ann.execute(DELETE, id=sent.conversation)
    for word in ("cheese", "wine"):
        assert await list_titles(ann, search=word, archived=True) == []


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("backwards", [False, True])
async def test_a_walk_over_what_was_found_meets_each_once_and_in_order(
    ann: Client, database: Database, backwards: bool
) -> None:
    expected = await insert_conversations(database, "ann", 30)
    await insert_conversations(database, "bob", 30)
    # Titles are two digits: "1" finds ten of them.
    met = await walk(lister(ann, search="1"), 3, backwards=backwards)
    titles = [conversation["title"] for conversation in met]
    assert sorted(titles) == [str(n) for n in range(10, 20)]
    assert [id for id in expected if id in {conversation["id"] for conversation in met}] == [
        conversation["id"] for conversation in met
    ]


async def test_a_rating_is_set_changed_and_cleared(ann: Client, bob: Client, database: Database) -> None:
    sent, _ = await ann.ask("Is it?")
    before = await read(ann, sent.conversation)

    async def rate(**given: Any) -> Any:
        data = await ann.execute(RATE, input={"messageId": sent.reply, **given})
        return data["rateMessage"]["message"]["rating"], (await ann.message(sent.reply))["rating"]

    async def comment() -> Any:
        async with database.connection() as connection:
            query = text("select rating_comment from message where id = :id")
            return (await connection.execute(query, {"id": UUID(sent.reply)})).scalar()

    assert await rate(rating="UP", comment="Just so.") == ("UP", "UP")
    assert await comment() == "Just so."
    assert await rate(rating="DOWN") == ("DOWN", "DOWN")
    assert await comment() is None
    assert await rate(rating=None) == (None, None)
    assert (await read(ann, sent.conversation))["usage"] == before["usage"]

    for client, id, comment_given, code in (
        (ann, sent.message, "", "BAD_USER_INPUT"),
        (ann, sent.reply, "x" * 2001, "BAD_USER_INPUT"),
        (ann, str(uuid4()), "", "FORBIDDEN"),
        (bob, sent.reply, "", "FORBIDDEN"),
    ):
        with pytest.raises(GraphQLFailed) as failure:
            await client.execute(RATE, input={"messageId": id, "rating": "UP", "comment": comment_given})
        assert failure.value.codes == [code]


async def test_node_gives_each_type_to_its_owner_alone(ann: Client, bob: Client) -> None:
    sent, _ = await ann.ask("Is it?")
    task = (await ann.execute(f'mutation {{ addTask(input: {{title: "T", notes: "N"}}) {{ {TASK} }} }}'))["addTask"]
    nodes: dict[str, dict[str, Any]] = {
        sent.conversation: {"__typename": "Conversation", "title": None},
        sent.message: {"__typename": "Message", "text": "Is it?"},
        sent.reply: {"__typename": "Message", "text": "Hello."},
        task["task"]["id"]: {"__typename": "Task", "notes": "N"},
    }
    for id, expected in nodes.items():
        assert (await ann.execute(NODE, id=id))["node"] == {"id": id, **expected}
        with pytest.raises(GraphQLFailed) as failure:
            await bob.execute(NODE, id=id)
        assert failure.value.codes == ["FORBIDDEN"]
    for id, code in ((str(uuid4()), "FORBIDDEN"), ("", "BAD_USER_INPUT"), ("{" + sent.reply + "}", "BAD_USER_INPUT")):
        with pytest.raises(GraphQLFailed) as failure:
            await ann.execute(NODE, id=id)
        assert failure.value.codes == [code]


async def test_a_task_is_added_changed_completed_and_deleted(ann: Client, bob: Client) -> None:
    async def mutate(client: Client, mutation: str, **input: Any) -> dict[str, Any]:
        type = mutation[0].upper() + mutation[1:]
        selection = "deletedId" if mutation == "deleteTask" else TASK
        query = f"mutation ($input: {type}Input!) {{ {mutation}(input: $input) {{ {selection} }} }}"
        payload = (await client.execute(query, input=input))[mutation]
        task: dict[str, Any] = payload.get("task", payload)
        return task

    added = await mutate(ann, "addTask", title="Buy flour", notes="Rye.")
    id = added["id"]
    assert (added["title"], added["notes"], added["done"]) == ("Buy flour", "Rye.", False)

    renamed = await mutate(ann, "updateTask", id=id, title="Buy rye")
    assert (renamed["title"], renamed["notes"]) == ("Buy rye", "Rye.")
    assert renamed["updatedAt"] > added["updatedAt"] and renamed["createdAt"] == added["createdAt"]
    assert (await mutate(ann, "updateTask", id=id, title=None))["title"] == "Buy rye"
    assert (await mutate(ann, "updateTask", id=id, notes=None))["notes"] is None
    assert (await mutate(ann, "completeTask", id=id))["done"] is True
    assert (await mutate(ann, "completeTask", id=id))["done"] is True
    assert (await mutate(ann, "completeTask", id=id, done=False))["done"] is False

    refused: list[tuple[Client, str, dict[str, Any], str]] = [
        (bob, "updateTask", {"id": id, "title": "Bob's"}, "FORBIDDEN"),
        (bob, "completeTask", {"id": id}, "FORBIDDEN"),
        (bob, "deleteTask", {"id": id}, "FORBIDDEN"),
        (ann, "addTask", {"title": " "}, "BAD_USER_INPUT"),
        (ann, "addTask", {"title": "x" * 201}, "BAD_USER_INPUT"),
        (ann, "updateTask", {"id": id, "title": ""}, "BAD_USER_INPUT"),
        (ann, "updateTask", {"id": id, "notes": "x" * 10_001}, "BAD_USER_INPUT"),
    ]
    for client, mutation, input, code in refused:
        with pytest.raises(GraphQLFailed) as failure:
            await mutate(client, mutation, **input)
        assert failure.value.codes == [code]

    assert await mutate(ann, "deleteTask", id=id) == {"deletedId": id}
    with pytest.raises(GraphQLFailed) as failure:
        await mutate(ann, "deleteTask", id=id)
    assert failure.value.codes == ["FORBIDDEN"]


@pytest.mark.parametrize("backwards", [False, True])
async def test_a_walk_over_tasks_meets_each_once_oldest_first(ann: Client, database: Database, backwards: bool) -> None:
    statement = text("""
        insert into task (id, owner_id, title, done, created_at)
        select gen_random_uuid(), owner, n, n % 3 = 0, timestamptz '2020-01-01' + make_interval(secs => n / 4)
        from unnest(array['ann', 'bob']) owner, generate_series(1, 30) n
    """)
    async with database.connection() as connection:
        await connection.execute(statement)

    async def read_page(**window: Any) -> dict[str, Any]:
        page: dict[str, Any] = (await ann.execute(TASKS, **window))["tasks"]
        return page

    for done, count in ((None, 30), (True, 10), (False, 20)):

        async def read_done(done: bool | None = done, **window: Any) -> dict[str, Any]:
            return await read_page(done=done, **window)

        met = await walk(read_done, 7, backwards=backwards)
        assert len({task["id"] for task in met}) == len(met) == count
        ages = [(int(task["title"]) // 4, UUID(task["id"])) for task in met]
        assert ages == sorted(ages)
        assert done is None or {task["done"] for task in met} == {done}
