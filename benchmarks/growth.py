"""Whether reading costs more when the database is full: `python -m benchmarks.growth`.

Makes two databases, a small and a large one, in which `user0` has the same: 100 conversations of 10 messages, and one
of 200. Then it runs the server's own statements for `user0` in both, and prints their plans and their times.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any
from uuid import UUID

from sqlalchemy import event, make_url, text
from sqlalchemy.ext.asyncio import AsyncSession

from benchmarks.seed import Amount, seed
from benchmarks.subjects import BUILD
from persistence.branches import Branch, fetch_branches
from persistence.conversations import list_conversations
from persistence.database import Database
from persistence.embedded import run_postgres
from persistence.pages import Window

OWNER = "user0"
_WARM_UP, _TIMES = 30, 300
_SMALL = Amount(conversations=100, messages=1000)
_LONG = Amount(conversations=1, messages=200)
_PAGE = 20


@dataclass(frozen=True)
class Question:
    """One read of the server's: `ask` is given a session and the id of the long conversation."""

    title: str
    ask: Callable[[AsyncSession, UUID], Awaitable[Any]]


@dataclass(frozen=True)
class Answer:
    """Microseconds of a read: the median that passed, and this process's own CPU time; and PostgreSQL's plan."""

    wall: float
    cpu: float
    plan: str


async def _read_history(session: AsyncSession, conversation_id: UUID) -> None:
    await fetch_branches(session, OWNER, [(Branch(conversation_id), Window(_PAGE + 1, from_end=True))])


async def _read_messages(session: AsyncSession, conversation_id: UUID) -> None:
    window = Window(_PAGE, from_end=True, before=(_LONG.depth // 2,))
    await fetch_branches(session, OWNER, [(Branch(conversation_id), window)])


async def _list_conversations(session: AsyncSession, conversation_id: UUID) -> None:
    await list_conversations(session, OWNER, Window(_PAGE), archived=False, search=None)


async def _search_rare(session: AsyncSession, conversation_id: UUID) -> None:
    await list_conversations(session, OWNER, Window(_PAGE), archived=False, search="conversation0")


async def _search_common(session: AsyncSession, conversation_id: UUID) -> None:
    await list_conversations(session, OWNER, Window(_PAGE), archived=False, search="word4242")


async def _search_beginning(session: AsyncSession, conversation_id: UUID) -> None:
    await list_conversations(session, OWNER, Window(_PAGE), archived=False, search="word42")


async def _search_every(session: AsyncSession, conversation_id: UUID) -> None:
    await list_conversations(session, OWNER, Window(_PAGE), archived=False, search="word")


async def _search_nothing(session: AsyncSession, conversation_id: UUID) -> None:
    await list_conversations(session, OWNER, Window(_PAGE), archived=False, search="nothing")


QUESTIONS = (
    Question("the history window: the last 21 messages", _read_history),
    Question("a page of 20 messages in the middle", _read_messages),
    Question("a page of 20 conversations", _list_conversations),
    Question("a search for a rare word", _search_rare),
    Question("a search for a word of each hundredth message", _search_common),
    Question("a search for a beginning that most messages have", _search_beginning),
    Question("a search for a beginning that every message has", _search_every),
    Question("a search for a word that nobody has", _search_nothing),
)


async def _ask(database: Database, question: Question, conversation_id: UUID) -> Answer:
    async def ask_once() -> None:
        async with database.session() as session:
            await question.ask(session, conversation_id)

    for _ in range(_WARM_UP):
        await ask_once()
    walls, cpu = [], time.process_time_ns()
    for _ in range(_TIMES):
        begin = time.perf_counter_ns()
        await ask_once()
        walls.append((time.perf_counter_ns() - begin) / 1000)
    spent = (time.process_time_ns() - cpu) / 1000 / _TIMES
    return Answer(median(walls), spent, await _explain(database, ask_once))


async def _explain(database: Database, ask: Callable[[], Awaitable[None]]) -> str:
    """PostgreSQL's plans for the statements of `ask`, as it runs them."""
    statements: list[tuple[str, Any]] = []

    def record(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    event.listen(database.engine.sync_engine, "before_cursor_execute", record)
    await ask()
    event.remove(database.engine.sync_engine, "before_cursor_execute", record)
    plans = []
    async with database.connection() as connection:
        for statement, parameters in statements:
            lines = await connection.exec_driver_sql(f"explain (analyze, buffers) {statement}", parameters)
            plans.append("\n".join(lines.scalars()))
    return "\n".join(plans)


async def _find_long_conversation(database: Database) -> UUID:
    query = "select id from conversation where owner_id = :owner order by revision desc limit 1"
    async with database.connection() as connection:
        found = await connection.scalar(text(query), {"owner": OWNER})
    assert isinstance(found, UUID)
    return found


async def _prepare(server_url: str, amount: Amount) -> str:
    """The URL of a database with this much in it, and one long conversation; made where it is missing."""
    name = f"growth-{amount.conversations}-{amount.messages}-{amount.owners}"
    url = make_url(server_url).set(database=name).render_as_string(hide_password=False)
    server = Database(server_url)
    async with server.connection() as connection:
        exists = await connection.scalar(text("select 1 from pg_database where datname = :name"), {"name": name})
        if not exists:
            await connection.exec_driver_sql(f'create database "{name}"')
    await server.close()
    if not exists:
        print(f"filling {name}: {amount.conversations:,} conversations, {amount.messages:,} messages", flush=True)
        database = Database(url)
        await database.migrate()
        await database.close()
        await seed(url, amount)
        await seed(url, _LONG)
    return url


async def _compare(server_url: str, amount: Amount) -> None:
    small, large = [Database(await _prepare(server_url, each)) for each in (_SMALL, amount)]
    places = [(database, await _find_long_conversation(database)) for database in (small, large)]
    answers = []
    for question in QUESTIONS:
        # One right after the other, so that what else the machine does hits both.
        before, after = [await _ask(database, question, conversation_id) for database, conversation_id in places]
        answers.append((question, before, after))
        print(f"\n### {question.title}, {amount.messages:,} messages\n\n```\n{after.plan}\n```", flush=True)
    print(f"\n{_write_table(answers, amount)}")
    for database in (small, large):
        await database.close()


def _write_table(answers: Sequence[tuple[Question, Answer, Answer]], amount: Amount) -> str:
    lines = [
        f"| µs in a database of | {_SMALL.messages:,} messages | {amount.messages:,} messages | ratio | client CPU |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for question, before, after in answers:
        ratio = after.wall / before.wall
        cpu = f"{before.cpu:,.0f} → {after.cpu:,.0f}"
        lines.append(f"| {question.title} | {before.wall:,.0f} | {after.wall:,.0f} | {ratio:.2f} | {cpu} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.growth", description=__doc__)
    parser.add_argument("--conversations", type=int, default=100_000)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--owners", type=int, default=1000, help="1: all of it belongs to the user who reads")
    chosen = parser.parse_args()
    with run_postgres(BUILD / "growth", settings={"max_wal_size": "8GB"}) as url:
        asyncio.run(_compare(url, Amount(chosen.conversations, chosen.messages, chosen.owners)))


if __name__ == "__main__":
    main()
