"""Messages are a tree: a branch is read page by page, from either end, whatever grows beside it."""

import math
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from persistence import exchanges
from persistence.branches import Branch, Place, fetch_branches, find_places_above, place_below
from persistence.conversations import insert_conversation
from persistence.database import Database
from persistence.identifiers import new_id
from persistence.pages import Page, Window
from persistence.tables import Message
from tests.client import Client, GraphQLFailed, Sent
from tests.model import ScriptedModel, last_text, say

MESSAGES = """
query ($id: ID!, $first: Int, $after: String, $last: Int, $before: String, $leaf: ID, $through: ID) {
  conversation(id: $id) {
    messages(first: $first, after: $after, last: $last, before: $before, leaf: $leaf, through: $through) {
      edges { cursor node { id text role } }
      pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    }
  }
}
"""
RELATIVES = """
query ($id: ID!) { message(id: $id) { parent { id } versions { id role parent { id } } conversation { id } } }
"""
REGENERATE = """
mutation ($input: RegenerateMessageInput!) { regenerateMessage(input: $input) {
  conversation { id } reply { id parent { id } } finishedReply { id status text }
} }
"""


async def read_page(client: Client, conversation: str, **arguments: Any) -> dict[str, Any]:
    data = await client.execute(MESSAGES, id=conversation, **arguments)
    page: dict[str, Any] = data["conversation"]["messages"]
    return page


async def read_texts(client: Client, conversation: str, **arguments: Any) -> list[str]:
    """The texts on one page of a branch."""
    page = await read_page(client, conversation, **arguments)
    return [edge["node"]["text"] for edge in page["edges"]]


async def walk(client: Client, conversation: str, leaf: str, size: int, *, backwards: bool) -> list[str]:
    """The texts of a branch, read page by page; no page is empty and each tells truly whether there is more."""
    texts: list[str] = []
    cursor = None
    while True:
        window = {"last": size, "before": cursor} if backwards else {"first": size, "after": cursor}
        page = await read_page(client, conversation, leaf=leaf, **window)
        info, edges = page["pageInfo"], page["edges"]
        ahead, behind = ("Previous", "Next") if backwards else ("Next", "Previous")
        assert info[f"has{behind}Page"] is (cursor is not None)
        assert 1 <= len(edges) <= size
        found = [edge["node"]["text"] for edge in edges]
        texts = found + texts if backwards else texts + found
        if not info[f"has{ahead}Page"]:
            return texts
        cursor = info["startCursor" if backwards else "endCursor"]


async def relatives(client: Client, id: str) -> tuple[str | None, list[str]]:
    """A message's parent, and its versions, each of which has the same parent."""
    message = (await client.execute(RELATIVES, id=id))["message"]
    assert all(version["parent"] == message["parent"] for version in message["versions"])
    return message["parent"] and message["parent"]["id"], [version["id"] for version in message["versions"]]


async def regenerate(client: Client, id: str) -> str:
    """A finished new version of a reply."""
    payload = (await client.execute(REGENERATE, input={"messageId": id}))["regenerateMessage"]
    assert payload["finishedReply"]["status"] == "COMPLETE"
    return str(payload["reply"]["id"])


@pytest.fixture
def echo(model: ScriptedModel) -> ScriptedModel:
    """The model, which answers a question with it and the number of its request."""
    model.by(lambda request: say(f"{last_text(request)} {len(model.requests)}"))
    return model


async def ask(client: Client, text: str, **more: Any) -> Sent:
    sent, reply = await client.ask(text, **more)
    assert reply["status"] == "COMPLETE"
    return sent


async def test_an_edit_is_a_version_beside_the_old_one_on_a_branch_of_its_own(ann: Client, echo: ScriptedModel) -> None:
    one = await ask(ann, "one")
    two = await ask(ann, "two", conversationId=one.conversation)
    edit = await ask(ann, "zwei", conversationId=one.conversation, parentId=one.reply)
    assert await relatives(ann, two.message) == await relatives(ann, edit.message)
    assert await relatives(ann, edit.message) == (one.reply, [two.message, edit.message])
    assert await relatives(ann, edit.reply) == (edit.message, [edit.reply])

    new, old = ["one", "one 1", "zwei", "zwei 3"], ["one", "one 1", "two", "two 2"]
    assert await read_texts(ann, one.conversation) == new
    assert await read_texts(ann, one.conversation, leaf=edit.reply) == new
    assert await read_texts(ann, one.conversation, leaf=two.reply) == old
    assert await read_texts(ann, one.conversation, leaf=one.message) == ["one"]
    # What the model was told is the branch.
    said = [message["content"][0]["text"] for message in echo.requests[-1]["messages"]]
    assert said == new[:-1]

    three = await ask(ann, "drei", conversationId=one.conversation)
    assert await relatives(ann, three.message) == (edit.reply, [three.message])
    back = await ask(ann, "three", conversationId=one.conversation, parentId=two.reply)
    assert await read_texts(ann, one.conversation) == [*old, "three", "three 5"]
    assert await relatives(ann, back.message) == (two.reply, [back.message])


async def test_the_newest_branch_through_a_message_is_found_from_the_message_alone(
    ann: Client, echo: ScriptedModel
) -> None:
    one = await ask(ann, "one")
    two = await ask(ann, "two", conversationId=one.conversation)
    three = await ask(ann, "three", conversationId=one.conversation)
    edit = await ask(ann, "zwei", conversationId=one.conversation, parentId=one.reply)
    aside = await ask(ann, "tres", conversationId=one.conversation, parentId=two.reply)

    old = ["one", "one 1", "two", "two 2"]
    assert await read_texts(ann, one.conversation, through=two.message) == [*old, "tres", "tres 5"]
    assert await read_texts(ann, one.conversation, through=three.message) == [*old, "three", "three 3"]
    assert await read_texts(ann, one.conversation, through=aside.reply) == [*old, "tres", "tres 5"]
    assert await read_texts(ann, one.conversation, through=edit.message) == ["one", "one 1", "zwei", "zwei 4"]
    # At every fork the newest version is taken, though an older one may have the newest message below it.
    assert await read_texts(ann, one.conversation, through=one.message) == ["one", "one 1", "zwei", "zwei 4"]


async def test_a_leaf_and_a_message_on_the_way_are_not_given_together(ann: Client, echo: ScriptedModel) -> None:
    one = await ask(ann, "one")
    with pytest.raises(GraphQLFailed) as failure:
        await read_page(ann, one.conversation, leaf=one.reply, through=one.message)
    assert failure.value.codes == ["BAD_USER_INPUT"]


async def test_a_null_parent_edits_the_first_message(ann: Client, echo: ScriptedModel) -> None:
    one = await ask(ann, "one")
    await ask(ann, "two", conversationId=one.conversation)
    edit = await ask(ann, "eins", conversationId=one.conversation, parentId=None)
    third = await ask(ann, "uno", conversationId=one.conversation, parentId=None)
    assert await relatives(ann, one.message) == (None, [one.message, edit.message, third.message])
    assert await relatives(ann, third.message) == await relatives(ann, one.message)
    assert await read_texts(ann, one.conversation) == ["uno", "uno 4"]
    assert await read_texts(ann, one.conversation, leaf=edit.reply) == ["eins", "eins 3"]
    assert len(echo.requests[-1]["messages"]) == 1

    begun = await ask(ann, "one", parentId=None)
    assert begun.conversation != one.conversation
    assert await relatives(ann, begun.message) == (None, [begun.message])


async def test_regenerating_adds_a_version_of_the_reply(ann: Client, echo: ScriptedModel) -> None:
    one = await ask(ann, "one")
    two = await ask(ann, "two", conversationId=one.conversation)
    second = await regenerate(ann, two.reply)
    third = await regenerate(ann, second)
    assert await relatives(ann, third) == (two.message, [two.reply, second, third])
    assert await relatives(ann, two.message) == (one.reply, [two.message])
    assert await read_texts(ann, one.conversation) == ["one", "one 1", "two", "two 4"]
    assert [request["messages"] for request in echo.requests[2:]] == [echo.requests[1]["messages"]] * 2

    first = await regenerate(ann, one.reply)
    assert await read_texts(ann, one.conversation) == ["one", "one 5"]
    assert await relatives(ann, first) == (one.message, [one.reply, first])
    assert await read_texts(ann, one.conversation, leaf=second) == ["one", "one 1", "two", "two 3"]


async def test_a_place_that_a_message_cannot_take_is_refused(ann: Client, bob: Client) -> None:
    one, other, foreign = await ask(ann, "one"), await ask(ann, "other"), await ask(bob, "foreign")
    places: list[tuple[dict[str, Any], str]] = [
        ({"parentId": one.reply}, "BAD_USER_INPUT"),
        ({"conversationId": one.conversation, "parentId": one.message}, "BAD_USER_INPUT"),
        ({"conversationId": one.conversation, "parentId": "x"}, "BAD_USER_INPUT"),
        ({"conversationId": one.conversation, "parentId": other.reply}, "FORBIDDEN"),
        ({"conversationId": one.conversation, "parentId": foreign.reply}, "FORBIDDEN"),
        ({"conversationId": foreign.conversation, "parentId": foreign.reply}, "FORBIDDEN"),
        ({"conversationId": foreign.conversation}, "FORBIDDEN"),
        ({"conversationId": str(new_id())}, "FORBIDDEN"),
    ]
    for place, code in places:
        with pytest.raises(GraphQLFailed) as failure:
            await ann.send("two", **place)
        assert failure.value.codes == [code], place
    for id, code in ((one.message, "BAD_USER_INPUT"), (foreign.reply, "FORBIDDEN"), (str(new_id()), "FORBIDDEN")):
        with pytest.raises(GraphQLFailed) as failure:
            await regenerate(ann, id)
        assert failure.value.codes == [code]
    assert await read_texts(ann, one.conversation) == ["one", "Hello."]


async def test_a_leaf_or_a_cursor_of_elsewhere_is_refused(ann: Client, bob: Client) -> None:
    one, other, foreign = await ask(ann, "one"), await ask(ann, "other"), await ask(bob, "foreign")
    for leaf in (other.reply, foreign.reply, str(new_id()), one.conversation):
        with pytest.raises(GraphQLFailed) as failure:
            await read_page(ann, one.conversation, leaf=leaf)
        assert failure.value.codes == ["FORBIDDEN"]
    elsewhere = (await read_page(ann, other.conversation))["pageInfo"]["startCursor"]
    for window in ({"after": elsewhere}, {"before": elsewhere}, {"leaf": "x"}, {"after": ""}, {"first": 1, "last": 1}):
        with pytest.raises(GraphQLFailed) as failure:
            await read_page(ann, one.conversation, **window)
        assert failure.value.codes == ["BAD_USER_INPUT"]


async def test_every_branch_is_walked_both_ways(ann: Client, echo: ScriptedModel) -> None:
    branches: dict[str, list[str]] = {}
    trunk = await ask(ann, "0")
    conversation, leaf, texts = trunk.conversation, trunk.reply, ["0", "0 1"]
    for number in range(1, 7):
        below = len(echo.requests) + 1
        sent = await ask(ann, str(number), conversationId=conversation, parentId=leaf)
        beside = await ask(ann, f"{number}b", conversationId=conversation, parentId=leaf)
        branches[beside.reply] = [*texts, f"{number}b", f"{number}b {below + 1}"]
        leaf, texts = sent.reply, [*texts, str(number), f"{number} {below}"]
    branches[leaf] = texts
    for leaf, texts in branches.items():
        for size in (3, 100):
            for backwards in (False, True):
                assert await walk(ann, conversation, leaf, size, backwards=backwards) == texts
    # The default page is the last 20 of the branch of the newest message, here that beside the trunk's end.
    assert await read_texts(ann, conversation) == branches[beside.reply]


# Below, the statements themselves.


async def grow(
    session: AsyncSession, choose: random.Random, size: int, straightness: float
) -> tuple[Branch, dict[UUID, list[UUID]]]:
    """A random tree, of questions that stand where sendMessage puts them; gives each message's branch too."""
    conversation = await insert_conversation(session, "ann", None)
    branches: dict[UUID, list[UUID]] = {}
    newest: UUID | None = None
    for number in range(size):
        parent = newest
        if newest is not None and choose.random() > straightness:
            parent = choose.choice([None, *branches])
        above = [] if parent is None else await find_places_above(session, conversation.id, parent)
        question = exchanges.question(conversation, place_below(above, new_id()), parent, str(number))
        values = {name: getattr(question, name) for name in Message.model_fields}
        session.add(Message(**{**values, "created_at": datetime.now(UTC)}))
        await session.flush()
        branches[question.id] = [*(branches[parent] if parent else ()), question.id]
        newest = question.id
    conversation.newest_message_id = newest
    await session.flush()
    return Branch(conversation.id), branches


def expected_page(branch: Sequence[UUID], window: Window) -> Page[UUID]:
    """The page that a plain list gives."""
    low = 0 if window.after is None else window.after[0] + 1
    high = len(branch) if window.before is None else min(window.before[0], len(branch))
    depths = list(range(low, high))
    depths = depths[-window.limit :] if window.from_end else depths[: window.limit]
    if not depths:
        return Page([], has_previous=window.after is not None, has_next=window.before is not None)
    return Page([branch[depth] for depth in depths], depths[0] > 0, depths[-1] < len(branch) - 1)


def all_windows(length: int, limit: int) -> Iterator[Window]:
    """Every page of a walk over a branch from either end."""
    for edge in range(0, length, limit):
        yield Window(limit, after=(edge - 1,) if edge else None)
        yield Window(limit, from_end=True, before=(length - edge,) if edge else None)


def random_window(choose: random.Random, length: int) -> Window:
    def edge() -> tuple[int] | None:
        return choose.choice([None, (choose.randrange(length + 3),)])

    return Window(choose.choice([1, 2, 5, 20, 100]), choose.random() < 0.5, edge(), edge())


@pytest.mark.parametrize(("seed", "straightness"), [(1, 0.6), (2, 0.95), (3, 1.0)])
async def test_every_page_of_a_random_tree_is_that_of_a_plain_model(
    database: Database, seed: int, straightness: float
) -> None:
    choose = random.Random(seed)
    async with database.engine.connect() as connection, AsyncSession(connection, autoflush=False) as session:
        tree, branches = await grow(session, choose, 300, straightness)
        asked: list[tuple[Branch, Window]] = []
        lists: list[list[UUID]] = []
        for leaf in [*choose.sample(list(branches), 15), None]:
            branch = branches[leaf] if leaf else list(branches.values())[-1]
            windows = [*all_windows(len(branch), 7), *(random_window(choose, len(branch)) for _ in range(20))]
            asked += [(Branch(tree.conversation_id, leaf), window) for window in windows]
            lists += [branch] * len(windows)
        pages = await fetch_branches(session, "ann", asked)
        for (_, window), branch, page in zip(asked, lists, pages, strict=True):
            found = Page([row.id for row in page.rows], page.has_previous, page.has_next)
            assert found == expected_page(branch, window), window
        assert all(not page.rows for page in await fetch_branches(session, "bob", asked[:50]))


def lay_out(length: int) -> list[Place]:
    """The places of a branch, from its first message on."""
    places = [place_below([], new_id())]
    while len(places) < length:
        places.append(place_below([places[-1], places[places[-1].jump_depth]], new_id()))
    return places


COLUMNS = (
    "id",
    "conversation_id",
    "owner_id",
    "parent_id",
    "depth",
    "jump_id",
    "jump_depth",
    "role",
    "status",
    "parts",
)


async def fill(session: AsyncSession, length: int) -> Branch:
    """A conversation that is one branch of so many messages."""
    conversation = await insert_conversation(session, "ann", None)
    places = lay_out(length)
    records = [
        (
            place.id,
            conversation.id,
            "ann",
            places[place.depth - 1].id if place.depth else None,
            place.depth,
            place.jump_id,
            place.jump_depth,
            "ASSISTANT" if place.depth % 2 else "USER",
            "COMPLETE",
            '[{"type": "text", "text": "Some words that a message has."}]',
        )
        for place in places
    ]
    raw: Any = (await (await session.connection()).get_raw_connection()).driver_connection
    await raw.copy_records_to_table("message", records=records, columns=COLUMNS)
    return Branch(conversation.id, places[-1].id)


def steps(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan's nodes."""
    yield plan
    for inner in plan.get("Plans", ()):
        yield from steps(inner)


async def explain_page(connection: AsyncConnection, branch: Branch, window: Window) -> tuple[int, set[str]]:
    """How many buffers the statement of `fetch_branches` touches for a page, and how it reads tables."""
    statements: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        statements.append((statement, parameters))

    event.listen(connection.sync_connection, "before_cursor_execute", note)
    async with AsyncSession(connection, autoflush=False) as session:
        [page] = await fetch_branches(session, "ann", [(branch, window)])
    event.remove(connection.sync_connection, "before_cursor_execute", note)
    assert len(page.rows) == window.limit
    [(statement, parameters)] = statements
    explain = f"explain (analyze, buffers, format json) {statement}"
    [[answer]] = await connection.exec_driver_sql(explain, parameters)
    plan = answer[0]["Plan"]
    reads = {f"{step['Node Type']} on {step['Relation Name']}" for step in steps(plan) if "Relation Name" in step}
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"], reads


async def test_a_page_of_a_hundred_thousand_messages_costs_what_one_of_twenty_does(database: Database) -> None:
    async with database.engine.connect() as connection, AsyncSession(connection, autoflush=False) as session:
        short, long = await fill(session, 20), await fill(session, 100_000)
        await session.execute(text("analyze message"))
        base, _ = await explain_page(connection, short, Window(20, from_end=True))
        print(f"\nthe page of 20 messages: {base} buffers")
        windows = {"last page": Window(20, from_end=True), "first page": Window(20)}
        for depth in (20, 1_000, 33_333, 50_000, 99_979):
            windows[f"page before {depth:,}"] = Window(20, from_end=True, before=(depth,))
            windows[f"page after {depth:,}"] = Window(20, after=(depth,))
        for name, window in windows.items():
            buffers, reads = await explain_page(connection, long, window)
            print(f"of 100,000 messages the {name}: {buffers} buffers, {sorted(reads)}")
            # Twenty rows and the way to them; parent by parent the way would cost a thousand times as much.
            assert buffers < 3 * base, name
            # A table of two conversations may well be read whole.
            of_messages = {read for read in reads if read.endswith(" on message")}
            assert {read.partition(" on ")[0] for read in of_messages} <= {"Index Scan", "Index Only Scan"}


def test_any_depth_is_a_few_hops_away() -> None:
    places, choose = lay_out(100_000), random.Random(5)
    for _ in range(500):
        place, target = choose.choice(places), choose.randrange(100_000)
        hops = 0
        while place.depth > target:
            place = places[place.jump_depth if place.jump_depth >= target else place.depth - 1]
            hops += 1
        assert hops <= 2 * math.log2(100_000) + 2
