"""Every statement on messages. Those for users name the owner: another's message is not found."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, DateTime, bindparam, column, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from persistence.branches import Place
from persistence.tables import Conversation, Message


async def find_owned_messages(session: AsyncSession, owner_id: str, ids: Collection[UUID]) -> Sequence[Message]:
    """Those of `ids` that the owner has, in no order."""
    query = select(Message).where(Message.owner_id == owner_id, col(Message.id).in_(ids))
    return (await session.scalars(query)).all()


SIBLING_GROUP = Message.metadata.tables["message"].c.sibling_group


async def find_owned_siblings(session: AsyncSession, owner_id: str, groups: Collection[UUID]) -> Sequence[Message]:
    """Messages with the same parent, oldest first; a group is a parent's id, or the conversation's for a first."""
    query = (
        select(Message)
        .where(Message.owner_id == owner_id, SIBLING_GROUP.in_(groups))
        .order_by(col(Message.created_at), col(Message.id))
    )
    return (await session.scalars(query)).all()


async def find_keyed_reply(session: AsyncSession, owner_id: str, key: str) -> Message | None:
    """The reply that the owner's mutation with this idempotency key asked for."""
    query = select(Message).where(Message.owner_id == owner_id, Message.idempotency_key == key)
    return (await session.scalars(query)).one_or_none()


def question(conversation: Conversation, place: Place, parent_id: UUID | None, text: str) -> Message:
    """A user's message, not yet stored."""
    return Message(
        id=place.id,
        conversation_id=conversation.id,
        owner_id=conversation.owner_id,
        parent_id=parent_id,
        depth=place.depth,
        jump_id=place.jump_id,
        jump_depth=place.jump_depth,
        role="USER",
        status="COMPLETE",
        parts=[{"type": "text", "text": text}],
    )


def reply(conversation: Conversation, place: Place, parent_id: UUID, key: str | None) -> Message:
    """A reply that is still to be written, not yet stored."""
    return Message(
        id=place.id,
        conversation_id=conversation.id,
        owner_id=conversation.owner_id,
        parent_id=parent_id,
        depth=place.depth,
        jump_id=place.jump_id,
        jump_depth=place.jump_depth,
        role="ASSISTANT",
        status="QUEUED",
        parts=[],
        idempotency_key=key,
    )


_PLACED = "id, conversation_id, owner_id, parent_id, depth, jump_id, jump_depth, role, status, parts"

# The clock, not the time at which the transaction began: it may have waited for the conversation's lock since.
INSERT_QUESTION = text(f"""
    insert into message ({_PLACED}, added_revision, changed_revision, created_at, finished_at, search)
    values (:id, :conversation_id, :owner_id, :parent_id, :depth, :jump_id, :jump_depth, :role, :status, :parts,
        :revision, :revision, clock_timestamp(), clock_timestamp(), searchable(:owner_id, :text))
    returning created_at, finished_at
""").bindparams(bindparam("parts", type_=JSON))  # noqa: S608 - a constant


async def insert_question(session: AsyncSession, conversation: Conversation, message: Message) -> None:
    """Store a question; the conversation must be locked, and `insert_reply` must follow."""
    conversation.revision += 1
    parameters = message.model_dump(include=set(_PLACED.split(", ")))
    parameters |= {"text": message.parts[0]["text"], "revision": conversation.revision}
    message.created_at, message.finished_at = (await session.execute(INSERT_QUESTION, parameters)).one()


# The reply, its run, and the conversation's mark of both, in one round trip.
INSERT_REPLY = (
    text(f"""
    with reply as (
        insert into message ({_PLACED}, idempotency_key, added_revision, changed_revision, created_at)
        values (:id, :conversation_id, :owner_id, :parent_id, :depth, :jump_id, :jump_depth, :role, :status,
            :parts, :idempotency_key, :revision, :revision, clock_timestamp())
        returning created_at
    ), started as (
        insert into run (message_id, owner_id, after_id) values (:id, :owner_id, :after_id)
    )
    update conversation set newest_message_id = :id, updated_at = clock_timestamp(), revision = :revision
    from reply where conversation.id = :conversation_id
    returning reply.created_at, conversation.updated_at
""")  # noqa: S608 - a constant
    .bindparams(bindparam("parts", type_=JSON))
    .columns(column("created_at", DateTime(timezone=True)), column("updated_at", DateTime(timezone=True)))
)


async def insert_reply(
    session: AsyncSession, conversation: Conversation, message: Message, after_id: UUID | None
) -> None:
    """Store a reply with its run, which begins when the reply `after_id` is written.

    The conversation must be locked: its revision is counted here.
    """
    conversation.revision += 1
    parameters = message.model_dump(include={*_PLACED.split(", "), "idempotency_key"})
    parameters |= {"after_id": after_id, "revision": conversation.revision}
    row = (await session.execute(INSERT_REPLY, parameters)).one()
    message.created_at, conversation.updated_at = row
    conversation.newest_message_id = message.id


RATE_MESSAGE = text("""
    update message set rating = :rating, rating_comment = :comment
    where id = :id and owner_id = :owner_id and role = 'ASSISTANT'
    returning *
""")


async def rate_message(
    session: AsyncSession, owner_id: str, message_id: UUID, rating: str | None, comment: str | None
) -> Message | None:
    """Set or clear the owner's opinion of a reply; None where the owner has no such reply."""
    query = select(Message).from_statement(RATE_MESSAGE)
    parameters = {"id": message_id, "owner_id": owner_id, "rating": rating, "comment": comment}
    return (await session.execute(query, parameters)).scalar_one_or_none()


SUM_SPENDING = text("""
    select coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0),
        coalesce(sum(cache_read_tokens), 0), coalesce(sum(cache_write_tokens), 0)
    from spending
    where owner_id = :owner_id
        and spent_at >= coalesce(cast(:since as timestamptz), date_trunc('day', now(), 'UTC'))
""").bindparams(bindparam("since", type_=DateTime(timezone=True)))


async def sum_spending(session: AsyncSession, owner_id: str, since: datetime | None) -> tuple[int, int, int, int]:
    """Input, output, cache-read and cache-write tokens since a time (default: the start of the UTC day)."""
    row: Any = (await session.execute(SUM_SPENDING, {"owner_id": owner_id, "since": since})).one()
    return int(row[0]), int(row[1]), int(row[2]), int(row[3])


SUM_TODAY = text("""
    select coalesce(
        sum(input_tokens) + sum(output_tokens) + sum(cache_read_tokens) + sum(cache_write_tokens), 0
    ), now()
    from spending
    where owner_id = :owner_id and spent_at >= date_trunc('day', now(), 'UTC')
""")


async def sum_today(session: AsyncSession, owner_id: str) -> tuple[int, datetime]:
    """Tokens of every kind since the UTC day began, and the time by the database's clock, which tells the day."""
    row: Any = (await session.execute(SUM_TODAY, {"owner_id": owner_id})).one()
    return int(row[0]), row[1]


RECORD_DELETED = text("""
    insert into spending (owner_id, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens)
    select :owner_id, :input_tokens, :output_tokens, :cache_read_tokens, :cache_write_tokens
    where not exists (select from message where id = :id)
""")


async def record_deleted(session: AsyncSession, owner_id: str, message_id: UUID, usage: Mapping[str, int]) -> None:
    """Note tokens that a reply had cost when it was deleted; nothing where the reply is still there."""
    await session.execute(RECORD_DELETED, {"owner_id": owner_id, "id": message_id, **usage})


SAVE_PARKED = text("""
    with told as (
        update conversation set updated_at = clock_timestamp(), revision = revision + 1 where id = :conversation_id
        returning revision
    ), resumed as (
        update run set parked = :waits and not cancel_requested, lease_until = now() where message_id = :id
    )
    update message set
        parts = :parts, changed_revision = told.revision,
        status = case when :waits then 'AWAITING_APPROVAL' else 'QUEUED' end
    from told where message.id = :id
""").bindparams(bindparam("parts", type_=JSON))


async def save_parked(session: AsyncSession, message: Message, parts: list[dict[str, Any]], *, waits: bool) -> None:
    """Save the user's answer to a parked reply; unless it still `waits`, its run may be claimed again."""
    parameters = {
        "id": message.id,
        "conversation_id": message.conversation_id,
        "parts": parts,
        "waits": waits,
    }
    await session.execute(SAVE_PARKED, parameters)
