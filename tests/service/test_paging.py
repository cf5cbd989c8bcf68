"""Lists page by page: each conversation and task once and in order, also while others move."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from persistence.database import Database
from tests.client import Client, GraphQLFailed
from tests.model import ScriptedModel, say
from tests.service.conversations import LIST, create, insert_conversations, list_titles, lister, update, walk

TASKS = """
query ($first: Int, $after: String, $last: Int, $before: String, $done: Boolean) {
  tasks(first: $first, after: $after, last: $last, before: $before, done: $done) {
    edges { cursor node { id title done } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""


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
