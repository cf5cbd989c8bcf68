"""What a search costs: the owner's own messages, however many others have."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import event, make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection

from persistence.conversations import is_cheap_to_walk, list_conversations
from persistence.database import Database
from persistence.pages import Window

# Four messages each. All have a word that begins with `word`; their numbers are rare.
FILL = (
    """
    insert into conversation (id, owner_id, title, updated_at)
    select gen_random_uuid(), :owner || n % :owners, 'Title ' || n, now() - make_interval(secs => n)
    from generate_series(1, :conversations) n
    """,
    """
    insert into message (id, conversation_id, owner_id, depth, jump_id, jump_depth, role, status, parts, search)
    select gen_random_uuid(), id, owner_id, n, gen_random_uuid(), 0, 'ASSISTANT', 'COMPLETE', '[]',
        searchable(owner_id, concat('word', n, ' common words, number', substr(title, 7)))
    from conversation, generate_series(0, 3) n where owner_id ^@ :owner
    """,
    "select gin_clean_pending_list('conversation_search'), gin_clean_pending_list('message_search')",
    "analyze conversation, message",
)
OWNER = "small0"


async def fill(connection: AsyncConnection, owner: str, conversations: int, owners: int = 1) -> None:
    """Give owners whose names begin with `owner` this many conversations."""
    for statement in FILL:
        names = {name: value for name, value in locals().items() if f":{name}" in statement}
        await connection.execute(text(statement), names)


@pytest.fixture
async def connection(database: Database, database_url: str) -> AsyncIterator[AsyncConnection]:
    """One to a database with 100 conversations of an owner and nothing else, not even what was deleted."""
    name = f"search_{uuid4().hex}"
    async with database.connection() as creating:
        await creating.execute(text(f"create database {name}"))
        own = Database(make_url(database_url).set(database=name).render_as_string(hide_password=False))
        await own.migrate()
        async with own.engine.connect() as connection:
            await fill(connection, "small", 100)
            yield connection
        await own.close()
        await creating.execute(text(f"drop database {name} with (force)"))


async def count_pages(connection: AsyncConnection, search: str) -> int:
    """How many pages PostgreSQL reads for a search of the owner."""
    executed: list[tuple[str, Any]] = []

    def record(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        executed.append((statement, parameters))

    event.listen(connection.sync_connection, "before_cursor_execute", record)
    await list_conversations(connection, OWNER, Window(20), archived=False, search=search)
    event.remove(connection.sync_connection, "before_cursor_execute", record)
    pages = 0
    for statement, parameters in executed:
        [[plan]] = await connection.exec_driver_sql(f"explain (analyze, format json) {statement}", parameters)
        pages += plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"]
    return pages


async def test_a_search_reads_as_much_among_many_owners_as_alone(connection: AsyncConnection) -> None:
    searches = ["word", "words comm", "number7", "nothing"]
    alone = [await count_pages(connection, search) for search in searches]
    await fill(connection, "other", 5000, owners=50)
    among_others = [await count_pages(connection, search) for search in searches]
    # The indexes have grown by a level.
    assert [after <= before * 1.5 for before, after in zip(alone, among_others, strict=True)] == [True] * len(searches)


async def test_a_word_that_many_have_is_found_on_the_newest_conversations(connection: AsyncConnection) -> None:
    assert await count_pages(connection, "word") < await count_pages(connection, "nothing") / 2


async def test_an_owner_of_many_looks_up_what_is_rare(connection: AsyncConnection) -> None:
    await fill(connection, "many", 501)
    everywhere = ["word", "nothing or word", "number1 comm", '-"a b" word']
    rare = ["nothing", "word nothing", '"word nothing"', "nothing comm", '-"common words"', "o'brien", "''", "-"]
    for search in everywhere + rare:
        assert await is_cheap_to_walk(connection, OWNER, search)
        assert await is_cheap_to_walk(connection, "many0", search) is (search in everywhere)


async def test_both_ways_find_the_same(connection: AsyncConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    for search in ("word", "word1 number7", "title 9", "-word", '"common words" -number', "words or title"):
        found = []
        for walk in (True, False):

            async def is_cheap(*_: object, walk: bool = walk) -> bool:
                return walk

            monkeypatch.setattr("persistence.conversations.is_cheap_to_walk", is_cheap)
            page = await list_conversations(connection, OWNER, Window(100), archived=False, search=search)
            found.append([conversation.id for conversation in page.rows])
        assert found[0] == found[1]
