"""Every statement on messages. Those for users name the owner: another's message is not found."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, DateTime, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import select

from persistence.statements import Executor, columns, fetch, fetch_rows
from persistence.tables import Message

FIND_MESSAGES = text(f"""
    select {columns(Message)} from message where owner_id = :owner_id and id = any(:ids)
""")  # noqa: S608 - a constant


async def find_owned_messages(executor: Executor, owner_id: str, ids: Collection[UUID]) -> Sequence[Message]:
    """Those of `ids` that the owner has, in no order."""
    return await fetch_rows(executor, Message, FIND_MESSAGES, {"owner_id": owner_id, "ids": list(ids)})


FIND_SIBLINGS = text(f"""
    select {columns(Message)} from message where owner_id = :owner_id and sibling_group = any(:groups)
    order by created_at, id
""")  # noqa: S608 - a constant


async def find_owned_siblings(executor: Executor, owner_id: str, groups: Collection[UUID]) -> Sequence[Message]:
    """Messages with the same parent, oldest first; a group is a parent's id, or the conversation's for a first."""
    return await fetch_rows(executor, Message, FIND_SIBLINGS, {"owner_id": owner_id, "groups": list(groups)})


FIND_KEYED_REPLY = text(f"""
    select {columns(Message)} from message where owner_id = :owner_id and idempotency_key = :key
""")  # noqa: S608 - a constant


async def find_keyed_reply(executor: Executor, owner_id: str, key: str) -> Message | None:
    """The reply that the owner's mutation with this idempotency key asked for."""
    rows = await fetch_rows(executor, Message, FIND_KEYED_REPLY, {"owner_id": owner_id, "key": key})
    return rows[0] if rows else None


# Its columns by name: for a `*`, a newer version's column would break what this one has prepared.
RATE_MESSAGE = text(f"""
    update message set rating = :rating, rating_comment = :comment
    where id = :id and owner_id = :owner_id and role = 'ASSISTANT'
    returning {columns(Message)}
""")  # noqa: S608 - a constant


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


async def sum_today(executor: Executor, owner_id: str) -> tuple[int, datetime]:
    """Tokens of every kind since the UTC day began, and the time by the database's clock, which tells the day."""
    [row] = await fetch(executor, SUM_TODAY, {"owner_id": owner_id})
    return int(row[0]), row[1]


# Not of an owner who was deleted, whom nothing is known of: deleting a reply leaves one who was not with a row.
RECORD_DELETED = text("""
    with known as (
        select id from spending where owner_id = :owner_id order by spent_at desc limit 1 for key share
    )
    insert into spending (owner_id, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens)
    select :owner_id, :input_tokens, :output_tokens, :cache_read_tokens, :cache_write_tokens
    from known where not exists (select from message where id = :id)
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
