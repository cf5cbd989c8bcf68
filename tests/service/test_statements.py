"""What reading costs: a fixed number of statements, and indexes for those that look for rows."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from persistence.branches import Branch, fetch_branches
from persistence.conversations import is_cheap_to_walk, list_conversations
from persistence.database import Database
from persistence.messages import find_keyed_reply, find_owned_siblings
from persistence.pages import Window
from persistence.runs import CLAIM_RUNS, EXTEND_LEASES, claim_runs
from persistence.tasks import list_tasks
from tests.client import Client

CONVERSATIONS = """
query ($first: Int!) { conversations(first: $first) { edges { node {
  id title usage { inputTokens } cursor
  messages(last: 1) { edges { node { ...all } } pageInfo { hasPreviousPage } }
} } } }
"""
MESSAGES = """
query ($id: ID!, $last: Int!) { conversation(id: $id) {
  messages(last: $last) { edges { node { ...all } } pageInfo { hasPreviousPage } }
} }
"""
NODE = """
query ($id: ID!) { node(id: $id) { id ... on Message { ...all } ... on Conversation { title } ... on Task { notes } } }
"""
ALL = """
fragment all on Message {
  id text status parts { __typename } usage { outputTokens } rating cursor
  conversation { id title usage { inputTokens } }
  parent { id text versions { id text } }
  versions { id text parent { id } conversation { id } }
}
"""
REGENERATE = "mutation ($id: ID!) { regenerateMessage(input: {messageId: $id}) { finishedReply { id } } }"

#: How the worker's statements begin, which it repeats of itself.
POLLS = tuple(statement.text.split()[:4] for statement in (CLAIM_RUNS, EXTEND_LEASES))


async def count_statements(client: Client, query: str, **variables: Any) -> tuple[int, dict[str, Any]]:
    """How many statements the server executes for an operation, and its data."""
    statements = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.split()[:4] not in POLLS:
            statements.append(statement)

    fetch = asyncpg.Connection.fetch

    async def note_of_driver(connection: Any, statement: str, *values: Any) -> Any:
        note(connection, None, statement)
        return await fetch(connection, statement, *values)

    event.listen(Engine, "before_cursor_execute", note)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncpg.Connection, "fetch", note_of_driver)
        try:
            data = await client.execute(query, **variables)
        finally:
            event.remove(Engine, "before_cursor_execute", note)
    return len(statements), data


async def test_a_page_of_conversations_takes_as_many_statements_as_a_short_one(ann: Client) -> None:
    asked = await asyncio.gather(*(ann.ask(str(number)) for number in range(20)))
    await asyncio.gather(*(ann.execute(REGENERATE, id=sent.reply) for sent, _ in asked))
    few, data = await count_statements(ann, CONVERSATIONS + ALL, first=2)
    assert len(data["conversations"]["edges"]) == 2
    many, data = await count_statements(ann, CONVERSATIONS + ALL, first=20)
    edges = data["conversations"]["edges"]
    assert len(edges) == 20
    for edge in edges:
        [message] = [edge["node"] for edge in edge["node"]["messages"]["edges"]]
        assert len(message["versions"]) == 2
        assert message["parent"]["versions"] and message["conversation"]["id"] == edge["node"]["id"]
    # The list; then of each: branches, conversations, parents, versions, their parents and conversations, theirs.
    assert 1 < many == few <= 8


async def test_a_page_of_messages_takes_as_many_statements_as_a_short_one(ann: Client) -> None:
    sent, _ = await ann.ask("0")
    for number in range(1, 10):
        await ann.execute(REGENERATE, id=sent.reply)
        sent, _ = await ann.ask(str(number), conversationId=sent.conversation)
    few, _ = await count_statements(ann, MESSAGES + ALL, id=sent.conversation, last=2)
    many, data = await count_statements(ann, MESSAGES + ALL, id=sent.conversation, last=20)
    found = [edge["node"] for edge in data["conversation"]["messages"]["edges"]]
    assert len(found) == 20
    assert [len(message["versions"]) for message in found] == [1, 2] * 9 + [1, 1]
    assert 1 < many == few <= 8


async def test_a_node_takes_one_statement_for_each_type_that_it_may_be(ann: Client) -> None:
    sent, _ = await ann.ask("one")
    task = (await ann.execute('mutation { addTask(input: {title: "T"}) { task { id } } }'))["addTask"]["task"]["id"]
    plain = "query ($id: ID!) { node(id: $id) { id } }"
    for id, most in ((sent.conversation, 1), (sent.reply, 2), (task, 3)):
        count, _ = await count_statements(ann, plain, id=id)
        assert 1 <= count <= most
    many = " ".join(
        f'n{n}: node(id: "{id}") {{ id }}'
        for n, id in enumerate([sent.conversation, task, sent.message, sent.reply] * 5)
    )
    count, data = await count_statements(ann, f"{{ {many} }}")
    assert len(data) == 20
    assert count <= 3
    with_fields, _ = await count_statements(ann, NODE + ALL, id=sent.reply)
    assert with_fields <= 8


# Plans. The rows are never committed: no worker sees the runs, and they are gone at the end.

FILL = (
    """
    insert into conversation (id, owner_id, title, updated_at, archived_at)
    select gen_random_uuid(), 'owner ' || n % 50, 'Title ' || n, now() - make_interval(secs => n),
        case when n % 10 = 0 then now() end
    from generate_series(1, 5000) n
    """,
    """
    insert into message (id, conversation_id, owner_id, depth, jump_id, jump_depth, role, status, parts, search)
    select gen_random_uuid(), c.id, c.owner_id, n, gen_random_uuid(), 0,
        case n % 2 when 0 then 'USER' else 'ASSISTANT' end, 'COMPLETE',
        json_build_array(json_build_object('type', 'text', 'text', repeat('Many words. ', 20))),
        searchable(c.owner_id, 'Word ' || md5(c.title || n % 50) || ' and common words')
    from conversation c, generate_series(0, 3) n
    """,
    # Nearly all are being written, by whatever nodes.
    """
    insert into run (message_id, owner_id, after_id, created_at, lease_until)
    select id, owner_id, gen_random_uuid(), now() - make_interval(secs => random() * 60),
        now() + make_interval(secs => case row_number() over () % 500 when 0 then -1 else 9 end)
    from message where role = 'ASSISTANT' limit 5000
    """,
    """
    insert into task (id, owner_id, title, created_at)
    select gen_random_uuid(), 'owner ' || n % 50, 'T', now() - make_interval(secs => n) from generate_series(1, 5000) n
    """,
    # What autovacuum does after a while.
    "select gin_clean_pending_list('conversation_search'), gin_clean_pending_list('message_search')",
    "analyze conversation, message, run, task",
)
OWNER = "owner 7"


@pytest.fixture(scope="module")
async def filled(database: Database) -> AsyncIterator[AsyncConnection]:
    """A connection that sees some thousand rows of fifty owners."""
    async with database.engine.connect() as connection:
        for statement in FILL:
            await connection.execute(text(statement))
        yield connection


def steps(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan's nodes."""
    yield plan
    for inner in plan.get("Plans", ()):
        yield from steps(inner)


class _Caught(Exception):
    """A statement, with its parameters, that was about to be executed."""


def _catch(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
    raise _Caught(statement, parameters)


Run = Callable[[AsyncSession], Awaitable[Any]]


async def explain(connection: AsyncConnection, run: Run) -> list[dict[str, Any]]:
    """The two plans of the statement that `run` would execute first: for its parameters, and for any.

    PostgreSQL takes either, once the same connection has executed a statement some times.
    """
    event.listen(connection.sync_connection, "before_cursor_execute", _catch)
    try:
        async with AsyncSession(connection, autoflush=False) as session:
            with pytest.raises(_Caught) as caught:
                await run(session)
    finally:
        event.remove(connection.sync_connection, "before_cursor_execute", _catch)
    statement, parameters = caught.value.args
    [[custom]] = await connection.exec_driver_sql(f"explain (format json) {statement}", parameters)
    raw: Any = (await connection.get_raw_connection()).driver_connection
    await raw.execute(f"set local plan_cache_mode = force_generic_plan; prepare explained as {statement}")
    nothing = ", ".join(["null"] * len(parameters))
    generic = await raw.fetchval(f"explain (format json) execute explained({nothing})")
    await raw.execute("deallocate explained; set local plan_cache_mode = auto")
    return [answer[0]["Plan"] for answer in (custom, generic)]


def reads(plan: dict[str, Any]) -> set[str]:
    """How a plan finds rows: the indexes it uses, and the tables that it reads whole."""
    return {
        step.get("Index Name") or f"all of {step['Relation Name']}"
        for step in steps(plan)
        if step["Node Type"].endswith("Scan") and ("Index Name" in step or step["Node Type"] == "Seq Scan")
    }


async def any_conversation(connection: AsyncConnection) -> tuple[UUID, datetime]:
    query = text("select id, updated_at from conversation where owner_id = :owner limit 1")
    id, updated_at = (await connection.execute(query, {"owner": OWNER})).one()
    return id, updated_at


@pytest.mark.parametrize("from_end", [False, True])
@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("archived", [False, True])
async def test_a_page_of_the_list_comes_from_its_index(
    filled: AsyncConnection, from_end: bool, bounded: bool, archived: bool
) -> None:
    id, updated_at = await any_conversation(filled)
    window = Window(20, from_end, after=(updated_at, id) if bounded else None)
    list_page = partial(list_conversations, owner_id=OWNER, window=window, archived=archived, search=None)
    for plan in await explain(filled, list_page):
        assert reads(plan) == {"conversation_by_activity"}
        assert bounded or archived or "Sort" not in {step["Node Type"] for step in steps(plan)}


QUESTIONS = ["nothing", "word", "title 1", '"common words"', "-word"]


def decide(patch: pytest.MonkeyPatch, *, walk: bool) -> None:
    """Let searches go this way, whatever is cheap."""

    async def is_cheap_to_walk(*_: object) -> bool:
        return walk

    patch.setattr("persistence.conversations.is_cheap_to_walk", is_cheap_to_walk)


@pytest.mark.parametrize("question", QUESTIONS)
async def test_a_search_that_looks_up_uses_the_indexes_of_titles_and_messages(
    filled: AsyncConnection, question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide(monkeypatch, walk=False)
    search = partial(list_conversations, owner_id=OWNER, window=Window(20), archived=False, search=question)
    for plan in await explain(filled, search):
        assert {"conversation_search", "message_search"} <= reads(plan)
        assert not any(read.startswith("all of") for read in reads(plan))


@pytest.mark.parametrize("question", QUESTIONS)
async def test_a_search_that_walks_reads_the_owners_conversations_alone(
    filled: AsyncConnection, question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide(monkeypatch, walk=True)
    search = partial(list_conversations, owner_id=OWNER, window=Window(20), archived=False, search=question)
    for plan in await explain(filled, search):
        assert reads(plan) == {"conversation_by_activity", "message_by_change"}
        assert "Sort" not in {step["Node Type"] for step in steps(plan)}


async def test_how_to_search_is_decided_by_indexes(filled: AsyncConnection) -> None:
    for plan in await explain(filled, lambda session: is_cheap_to_walk(session, OWNER, "word")):
        assert reads(plan) == {"conversation_by_activity", "message_by_change"}


async def test_a_claim_reads_no_more_than_the_runs(filled: AsyncConnection) -> None:
    for plan in await explain(filled, lambda session: claim_runs(filled, 1000, 10)):
        # 5,000 runs are some dozen pages: to read them all is cheaper than an index that each heartbeat changes.
        assert reads(plan) <= {
            "all of run",
            "run_by_age",
            "run_pkey",
            "message_pkey",
            "conversation_pkey",
            "spending_by_owner",
            "all of spending",
        }
        assert "message_pkey" in reads(plan)


async def test_what_else_is_read_comes_from_an_index(filled: AsyncConnection) -> None:
    id, _ = await any_conversation(filled)
    window = Window(20, from_end=True)
    statements: dict[str, tuple[Run, set[str]]] = {
        "branch": (
            lambda session: fetch_branches(session, OWNER, [(Branch(id), window)]),
            {"conversation_pkey", "message_pkey"},
        ),
        "versions": (lambda session: find_owned_siblings(session, OWNER, [id]), {"message_siblings"}),
        "key": (lambda session: find_keyed_reply(session, OWNER, "send:k"), {"message_idempotency_key"}),
        "tasks": (lambda session: list_tasks(session, OWNER, window, done=None), {"task_by_age"}),
    }
    for name, (run, indexes) in statements.items():
        for plan in await explain(filled, run):
            assert reads(plan) == indexes, name
