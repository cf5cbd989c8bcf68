"""Every statement on messages. Those for users name the owner: another's message is not found."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, DateTime, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import select

from persistence.branches import Place
from persistence.statements import Executor, columns, fetch, fetch_rows, new_row, set_values
from persistence.tables import Conversation, Message

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


#: A message of which nothing is known yet but where it stands.
_BLANK: dict[str, Any] = {
    "attempt": 0,
    "error_code": None,
    "error_message": None,
    "error_retryable": None,
    "model": None,
    "input_tokens": None,
    "output_tokens": None,
    "cache_read_tokens": None,
    "cache_write_tokens": None,
    "rating": None,
    "rating_comment": None,
    "idempotency_key": None,
    "added_revision": 0,
    "changed_revision": 0,
    "created_at": None,
    "finished_at": None,
}


def _place(conversation: Conversation, place: Place, parent_id: UUID | None, **values: Any) -> Message:
    row = {
        **_BLANK,
        "restarts": [],
        "id": place.id,
        "conversation_id": conversation.id,
        "owner_id": conversation.owner_id,
        "parent_id": parent_id,
        "depth": place.depth,
        "jump_id": place.jump_id,
        "jump_depth": place.jump_depth,
        **values,
    }
    return new_row(Message, row)


def question(conversation: Conversation, place: Place, parent_id: UUID | None, text: str) -> Message:
    """A user's message, not yet stored."""
    parts = [{"type": "text", "text": text}]
    return _place(conversation, place, parent_id, role="USER", status="COMPLETE", parts=parts)


def reply(conversation: Conversation, place: Place, parent_id: UUID, key: str | None) -> Message:
    """A reply that is still to be written, not yet stored."""
    return _place(conversation, place, parent_id, role="ASSISTANT", status="QUEUED", parts=[], idempotency_key=key)


_PLACED = "id, conversation_id, owner_id, parent_id, depth, jump_id, jump_depth, role, status, parts"
_PLACED_COLUMNS = _PLACED.split(", ")


def _placed(message: Message, **more: Any) -> dict[str, Any]:
    return {**{name: getattr(message, name) for name in _PLACED_COLUMNS}, **more}


# The clock, not the time at which the transaction began: it may have waited for the conversation's lock since.
INSERT_QUESTION = text(f"""
    insert into message ({_PLACED}, added_revision, changed_revision, created_at, finished_at, search)
    values (:id, :conversation_id, :owner_id, :parent_id, :depth, :jump_id, :jump_depth, :role, :status, :parts,
        :revision, :revision, clock_timestamp(), clock_timestamp(), searchable(:owner_id, :text))
    returning created_at, finished_at
""").bindparams(bindparam("parts", type_=JSON))  # noqa: S608 - a constant


async def insert_question(executor: Executor, conversation: Conversation, message: Message) -> None:
    """Store a question; the conversation must be locked, and `insert_reply` must follow."""
    revision = conversation.revision + 1
    parameters = _placed(message, text=message.parts[0]["text"], revision=revision)
    [(created_at, finished_at)] = await fetch(executor, INSERT_QUESTION, parameters)
    set_values(message, created_at=created_at, finished_at=finished_at)
    set_values(conversation, revision=revision)


# The reply, its run, and the conversation's mark of both, in one round trip.
INSERT_REPLY = text(f"""
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
""").bindparams(bindparam("parts", type_=JSON))  # noqa: S608 - a constant


async def insert_reply(executor: Executor, conversation: Conversation, message: Message, after_id: UUID | None) -> None:
    """Store a reply with its run, which begins when the reply `after_id` is written.

    The conversation must be locked: its revision is counted here.
    """
    revision = conversation.revision + 1
    parameters = _placed(message, idempotency_key=message.idempotency_key, after_id=after_id, revision=revision)
    [(created_at, updated_at)] = await fetch(executor, INSERT_REPLY, parameters)
    set_values(message, created_at=created_at)
    set_values(conversation, revision=revision, updated_at=updated_at, newest_message_id=message.id)


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


async def sum_today(executor: Executor, owner_id: str) -> tuple[int, datetime]:
    """Tokens of every kind since the UTC day began, and the time by the database's clock, which tells the day."""
    [row] = await fetch(executor, SUM_TODAY, {"owner_id": owner_id})
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
