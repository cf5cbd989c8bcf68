"""Every statement on conversations. Each names the owner: another's conversation is not found."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, and_, case, literal, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from persistence.identifiers import new_id
from persistence.pages import Page, Window, fetch_page
from persistence.statements import Executor, columns, fetch, fetch_rows
from persistence.tables import Conversation, Message

INSERT_CONVERSATION = text(f"""
    insert into conversation (id, owner_id, title, model)
    values (:id, :owner_id, :title, :model) returning {columns(Conversation)}
""")  # noqa: S608 - a constant


async def insert_conversation(
    executor: Executor, owner_id: str, title: str | None, model: str | None = None
) -> Conversation:
    parameters = {"id": new_id(), "owner_id": owner_id, "title": title, "model": model}
    [conversation] = await fetch_rows(executor, Conversation, INSERT_CONVERSATION, parameters)
    return conversation


FIND_CONVERSATIONS = text(f"""
    select {columns(Conversation)} from conversation where owner_id = :owner_id and id = any(:ids)
""")  # noqa: S608 - a constant


async def find_owned_conversations(executor: Executor, owner_id: str, ids: Collection[UUID]) -> Sequence[Conversation]:
    """Those of `ids` that the owner has, in no order."""
    return await fetch_rows(executor, Conversation, FIND_CONVERSATIONS, {"owner_id": owner_id, "ids": list(ids)})


LOCK_CONVERSATION = text(f"""
    select {columns(Conversation)} from conversation where owner_id = :owner_id and id = :id for update
""")  # noqa: S608 - a constant


async def lock_owned_conversation(executor: Executor, owner_id: str, conversation_id: UUID) -> Conversation | None:
    """The conversation, which no other transaction changes until this one ends."""
    parameters = {"owner_id": owner_id, "id": conversation_id}
    rows = await fetch_rows(executor, Conversation, LOCK_CONVERSATION, parameters)
    return rows[0] if rows else None


async def find_changes(
    session: AsyncSession, owner_id: str, conversation_id: UUID, after: int | None, limit: int
) -> tuple[Conversation, Sequence[Message]] | None:
    """The conversation, and its messages that changed after a revision (None: none), both of one moment.

    A message that was added after the revision stands at the one at which it was added, any other at its last
    change. At most `limit`, in that order. None where the owner has no such conversation.
    """
    changed_after = literal(None, BigInteger) if after is None else literal(after, BigInteger)
    place = case(
        (col(Message.added_revision) > changed_after, col(Message.added_revision)),
        else_=col(Message.changed_revision),
    )
    query = (
        select(Conversation, Message)
        .outerjoin(
            Message,
            and_(
                col(Message.conversation_id) == col(Conversation.id),
                col(Message.changed_revision) > changed_after,
            ),
        )
        .where(Conversation.owner_id == owner_id, Conversation.id == conversation_id)
        .order_by(place, col(Message.id))
        .limit(limit)
    )
    rows = (await session.execute(query)).all()
    return (rows[0][0], [row[1] for row in rows if row[1] is not None]) if rows else None


# A search finds the same in two ways. One looks through the owner's conversations in the order of the list, up to the
# end of the page: it costs what the owner's own messages cost, and little where many of them have the words. The other
# asks the indexes of words, which read all owners' messages with the unfinished last word: for an owner of many
# conversations, of which the newest do not have the words.
IS_CHEAP_TO_WALK = text("""
    select not exists (select from conversation where owner_id = :owner_id offset 500) or exists (
        select from (
            select id from conversation where owner_id = :owner_id order by updated_at desc, id desc limit 20
        ) as newest join message on message.conversation_id = newest.id
        where (message.search @@ (select search_query(:owner_id, :search))) is true
    )
""")


async def is_cheap_to_walk(executor: Executor, owner_id: str, search: str) -> bool:
    """Whether to look through the owner's conversations for these words."""
    [(cheap,)] = await fetch(executor, IS_CHEAP_TO_WALK, {"owner_id": owner_id, "search": search})
    return bool(cheap)


# A subselect's value is unknown to the planner: it would else plan each search anew, by the words it has counted.
_QUERY = "(select search_query(:owner_id, :search))"
# With `is true` a match cannot be looked up in the index of words; with an offset a subselect runs row by row.
WALKED = f"""((search @@ {_QUERY}) is true or exists (
    select from message where conversation_id = conversation.id and (search @@ {_QUERY}) is true offset 0
))"""
LOOKED_UP = f"""id in (
    select id from conversation where search @@ {_QUERY}
    union select conversation_id from message where search @@ {_QUERY}
)"""  # noqa: S608 - a constant


async def list_conversations(
    executor: Executor, owner_id: str, window: Window, *, archived: bool, search: str | None
) -> Page[Conversation]:
    """Newest activity first; with `search`, those in which title or a message has its words."""
    condition = f"owner_id = :owner_id and archived_at is {'not null' if archived else 'null'}"
    parameters = {"owner_id": owner_id}
    if search is not None:
        condition += f" and {WALKED if await is_cheap_to_walk(executor, owner_id, search) else LOOKED_UP}"
        parameters["search"] = search
    key = ("updated_at", "id")
    return await fetch_page(executor, Conversation, condition, parameters, window, key, descending=True)


# Its columns by name: for a `*`, a newer version's column would break what this one has prepared.
UPDATE_CONVERSATION = text(f"""
    update conversation set
        title = case when :renamed then cast(:title as text) else title end,
        archived_at = case cast(:archived as boolean)
            when true then coalesce(archived_at, now()) when false then null else archived_at end,
        model = case when :chosen then cast(:model as text) else model end,
        updated_at = now(),
        revision = revision + 1,
        changed_revision = revision + 1
    where id = :id and owner_id = :owner_id
    returning {columns(Conversation)}
""")  # noqa: S608 - a constant


async def update_conversation(
    session: AsyncSession, owner_id: str, conversation_id: UUID, *, changes: dict[str, Any]
) -> Conversation | None:
    """Set `title` (None: it is named again), `archived` and `model` (None: the default), where `changes` has them."""
    parameters = {
        "id": conversation_id,
        "owner_id": owner_id,
        "renamed": "title" in changes,
        "title": changes.get("title"),
        "archived": changes.get("archived"),
        "chosen": "model" in changes,
        "model": changes.get("model"),
    }
    query = select(Conversation).from_statement(UPDATE_CONVERSATION)
    return (await session.execute(query, parameters)).scalar_one_or_none()


NAME_CONVERSATION = text("""
    update conversation set title = :title, revision = revision + 1, changed_revision = revision + 1
    where id = :id and title is null
""")


async def name_conversation(session: AsyncSession, conversation_id: UUID, title: str) -> None:
    """Give a conversation the model's title, unless it has one."""
    await session.execute(NAME_CONVERSATION, {"id": conversation_id, "title": title})


# Before the messages, which would take their runs along: their ids tell whom to wake. A node tells what the replies
# that it writes have cost; those that no node holds have none. There is a row for each reply that was begun, by which
# that node knows an owner who was not deleted as well.
DELETE_RUNS = text("""
    with gone as (
        select run.message_id from run join message on message.id = run.message_id
        where message.conversation_id = :id
        order by run.message_id for update of run
    ), spent as (
        insert into spending (owner_id, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens)
        select :owner_id,
            coalesce(case when not run.held then input_tokens end, 0),
            coalesce(case when not run.held then output_tokens end, 0),
            coalesce(case when not run.held then cache_read_tokens end, 0),
            coalesce(case when not run.held then cache_write_tokens end, 0)
        from message join run on run.message_id = message.id
        where message.conversation_id = :id and run.attempt > 0
    )
    delete from run using gone where run.message_id = gone.message_id returning run.message_id
""")
DELETE_CONVERSATION = text("delete from conversation where id = :id")


async def delete_conversation(session: AsyncSession, owner_id: str, conversation_id: UUID) -> Sequence[UUID] | None:
    """Delete it with its messages and runs; gives the replies that were under way, None where there is none."""
    if await lock_owned_conversation(session, owner_id, conversation_id) is None:
        return None
    running = (await session.scalars(DELETE_RUNS, {"id": conversation_id, "owner_id": owner_id})).all()
    await session.execute(DELETE_CONVERSATION, {"id": conversation_id})
    return running
