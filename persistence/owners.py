"""Every statement on all that one owner has: to hand it over, or to delete it for good."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from asyncpg import Connection
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import SQLModel

from persistence.conversations import DELETE_CONVERSATION, DELETE_RUNS, lock_owned_conversation
from persistence.database import Database
from persistence.statements import Executor, compile_statement, fetch
from persistence.tables import Conversation, Message, Spending, Task

#: Columns that say where a row is kept, and nothing of its owner that the others do not say.
INTERNAL = frozenset(
    {"owner_id", "depth", "jump_id", "jump_depth", "attempt", "restarts"}
    | {"revision", "added_revision", "changed_revision"}
)
#: Rows that are in memory at the same time.
PAGE = 50
#: Rows that one transaction deletes at the most, beside one conversation and its runs.
BATCH = 500


def _exported(table: type[SQLModel], internal: Iterable[str] = ()) -> str:
    """All columns but those; a column that a migration adds is handed over without a change here."""
    return ", ".join(name for name in table.model_fields if name not in INTERNAL.union(internal))


READ_CONVERSATIONS = text(f"""
    select {_exported(Conversation)} from conversation where owner_id = :owner_id order by id
""")  # noqa: S608 - a constant
# A message comes after the one that it follows.
READ_MESSAGES = text(f"""
    select {_exported(Message, ["conversation_id"])} from message
    where conversation_id = :conversation_id and owner_id = :owner_id order by created_at, depth, id
""")  # noqa: S608 - a constant
READ_TASKS = text(f"""
    select {_exported(Task)} from task where owner_id = :owner_id order by created_at, id
""")  # noqa: S608 - a constant
READ_SPENDING = text(f"""
    select {_exported(Spending, ["id"])} from spending where owner_id = :owner_id order by spent_at
""")  # noqa: S608 - a constant


@asynccontextmanager
async def snapshot(database: Database) -> AsyncIterator["Connection[Any]"]:
    """A connection that sees one moment, however long it reads."""
    async with database.driver() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        yield connection


async def read_owner(connection: "Connection[Any]", owner_id: str) -> AsyncGenerator[tuple[str, dict[str, Any]]]:
    """All that is stored about an owner: of each row its kind (conversation, message, task, usage) and its columns.

    A conversation is followed by its messages. Needs a transaction, and memory for some rows.
    """
    async for conversation in _read(connection, READ_CONVERSATIONS, {"owner_id": owner_id}):
        yield "conversation", conversation
        of_it = {"owner_id": owner_id, "conversation_id": conversation["id"]}
        async for message in _read(connection, READ_MESSAGES, of_it):
            yield "message", message
    async for task in _read(connection, READ_TASKS, {"owner_id": owner_id}):
        yield "task", task
    async for usage in _read(connection, READ_SPENDING, {"owner_id": owner_id}):
        yield "usage", usage


async def _read(
    connection: "Connection[Any]", statement: TextClause, parameters: Mapping[str, Any]
) -> AsyncIterator[dict[str, Any]]:
    compiled = compile_statement(statement)
    values = [parameters[name] for name, _ in compiled.parameters]
    async for record in connection.cursor(compiled.sql, *values, prefetch=PAGE):
        yield dict(record.items())


COUNT_OWNED = text("""
    select
        (select count(*) from conversation where owner_id = :owner_id) as conversation,
        (select count(*) from conversation join message on message.conversation_id = conversation.id
            where conversation.owner_id = :owner_id) as message,
        (select count(*) from task where owner_id = :owner_id) as task,
        (select count(*) from spending where owner_id = :owner_id) as usage
""")


async def count_owned(executor: Executor, owner_id: str) -> dict[str, int]:
    """How many rows of each kind an owner has."""
    [row] = await fetch(executor, COUNT_OWNED, {"owner_id": owner_id})
    return dict(zip(("conversation", "message", "task", "usage"), row, strict=True))


CANCEL_RUNS = text("""
    with owned as (
        select message_id from run where owner_id = :owner_id and not parked order by message_id for update
    )
    update run set cancel_requested = true from owned where run.message_id = owned.message_id
    returning run.message_id
""")


async def cancel_runs(executor: Executor, owner_id: str) -> list[UUID]:
    """Ask the nodes to end all replies of an owner that are written or wait for a node; gives their ids."""
    return [row[0] for row in await fetch(executor, CANCEL_RUNS, {"owner_id": owner_id})]


# What nobody writes can be deleted without waiting, and so can what a node has let go of without a word.
COUNT_WRITTEN = text("""
    select count(*) from run where owner_id = :owner_id and held and not parked and lease_until > now()
""")


async def count_written(executor: Executor, owner_id: str) -> int:
    """How many replies of an owner some node writes."""
    [row] = await fetch(executor, COUNT_WRITTEN, {"owner_id": owner_id})
    return int(row[0])


FIND_CONVERSATIONS = text("select id from conversation where owner_id = :owner_id limit :limit")


async def find_some_conversations(executor: Executor, owner_id: str) -> list[UUID]:
    rows = await fetch(executor, FIND_CONVERSATIONS, {"owner_id": owner_id, "limit": BATCH})
    return [row[0] for row in rows]


DELETE_MESSAGES = text("""
    delete from message where id in (select id from message where conversation_id = :id limit :limit) returning id
""")


@dataclass(frozen=True, slots=True)
class Deleted:
    """What one transaction has deleted of a conversation."""

    messages: int
    #: Replies that were under way.
    running: Sequence[UUID]
    #: Whether nothing of the conversation is left.
    whole: bool


async def delete_some_messages(session: AsyncSession, owner_id: str, conversation_id: UUID) -> Deleted | None:
    """Delete a batch of a conversation's messages, and the conversation with the last; None where there is none."""
    if await lock_owned_conversation(session, owner_id, conversation_id) is None:
        return None
    running = (await session.scalars(DELETE_RUNS, {"id": conversation_id, "owner_id": owner_id})).all()
    messages = len((await session.execute(DELETE_MESSAGES, {"id": conversation_id, "limit": BATCH})).all())
    whole = messages < BATCH
    if whole:
        await session.execute(DELETE_CONVERSATION, {"id": conversation_id})
    return Deleted(messages, running, whole)


DELETE_TASKS = text("""
    delete from task where id in (select id from task where owner_id = :owner_id limit :limit) returning id
""")
DELETE_SPENDING = text("""
    delete from spending where id in (select id from spending where owner_id = :owner_id limit :limit) returning id
""")


async def delete_some_tasks(executor: Executor, owner_id: str) -> int:
    """Delete a batch of an owner's tasks; gives how many."""
    return len(await fetch(executor, DELETE_TASKS, {"owner_id": owner_id, "limit": BATCH}))


async def delete_some_spending(executor: Executor, owner_id: str) -> int:
    """Delete a batch of what is noted of an owner's usage; gives how many.

    The last of all: what a node tells of a reply that it lost is noted only for an owner who has usage.
    """
    return len(await fetch(executor, DELETE_SPENDING, {"owner_id": owner_id, "limit": BATCH}))
