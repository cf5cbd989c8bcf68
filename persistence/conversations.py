"""Every statement on conversations. Each names the owner: another's conversation is not found."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, and_, case, func, literal, text
from sqlalchemy import select as select_columns
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from persistence.pages import Page, Window, fetch_page
from persistence.tables import Conversation, Message

CONVERSATION_SEARCH = Conversation.metadata.tables["conversation"].c.search
MESSAGE_SEARCH = Message.metadata.tables["message"].c.search


async def insert_conversation(session: AsyncSession, owner_id: str, title: str | None) -> Conversation:
    conversation = Conversation(owner_id=owner_id, title=title)
    session.add(conversation)
    await session.flush()
    await session.refresh(conversation)
    return conversation


async def find_owned_conversations(
    session: AsyncSession, owner_id: str, ids: Collection[UUID]
) -> Sequence[Conversation]:
    """Those of `ids` that the owner has, in no order."""
    query = select(Conversation).where(Conversation.owner_id == owner_id, col(Conversation.id).in_(ids))
    return (await session.scalars(query)).all()


async def lock_owned_conversation(session: AsyncSession, owner_id: str, conversation_id: UUID) -> Conversation | None:
    """The conversation, which no other transaction changes until this one ends."""
    query = (
        select(Conversation)
        .where(Conversation.owner_id == owner_id, Conversation.id == conversation_id)
        .with_for_update()
    )
    return (await session.scalars(query)).one_or_none()


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


async def list_conversations(
    session: AsyncSession, owner_id: str, window: Window, *, archived: bool, search: str | None
) -> Page[Conversation]:
    """Newest activity first; with `search`, those in which title or a message has its words."""
    query = select(Conversation).where(
        Conversation.owner_id == owner_id,
        col(Conversation.archived_at).is_not(None) if archived else col(Conversation.archived_at).is_(None),
    )
    if search is not None:
        question = func.search_query(owner_id, search)
        titled = select_columns(col(Conversation.id)).where(CONVERSATION_SEARCH.op("@@")(question))
        spoken = select_columns(col(Message.conversation_id)).where(MESSAGE_SEARCH.op("@@")(question))
        query = query.where(col(Conversation.id).in_(titled.union(spoken)))
    key = (col(Conversation.updated_at), col(Conversation.id))
    return await fetch_page(session, query, window, key, descending=True)


UPDATE_CONVERSATION = text("""
    update conversation set
        title = case when :renamed then cast(:title as text) else title end,
        archived_at = case cast(:archived as boolean)
            when true then coalesce(archived_at, now()) when false then null else archived_at end,
        updated_at = now(),
        revision = revision + 1,
        changed_revision = revision + 1
    where id = :id and owner_id = :owner_id
    returning *
""")


async def update_conversation(
    session: AsyncSession, owner_id: str, conversation_id: UUID, *, changes: dict[str, Any]
) -> Conversation | None:
    """Set `title` (None lets the model name it again) and `archived`, where `changes` has them."""
    parameters = {
        "id": conversation_id,
        "owner_id": owner_id,
        "renamed": "title" in changes,
        "title": changes.get("title"),
        "archived": changes.get("archived"),
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
# that it writes have cost; those that wait for their user have none.
DELETE_RUNS = text("""
    with gone as (
        select run.message_id from run join message on message.id = run.message_id
        where message.conversation_id = :id
        order by run.message_id for update of run
    ), spent as (
        insert into spending (owner_id, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens)
        select :owner_id, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens
        from message join run on run.message_id = message.id
        where message.conversation_id = :id and run.parked and input_tokens is not null
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
