"""Every statement on runs: who writes which reply. The clock is the database's; `attempt` fences each write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, Integer, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class ClaimedRun:
    """A run that is this runner's until its lease ends."""

    message_id: UUID
    conversation_id: UUID
    owner_id: str
    attempt: int
    cancel_requested: bool


@dataclass(frozen=True, slots=True)
class HeldRun:
    """A run whose lease was renewed."""

    message_id: UUID
    attempt: int
    cancel_requested: bool


@dataclass(frozen=True, slots=True)
class FinishedReply:
    """What the end of a run leaves behind."""

    status: str
    parts: list[dict[str, Any]]
    #: The text that the reply is found by.
    text: str
    model: str | None
    usage: Mapping[str, int]
    error_code: str | None = None
    error_message: str | None = None
    error_retryable: bool | None = None


# Oldest first. A run waits for the reply before it on its branch: the model must see that one whole.
CLAIM_RUNS = text("""
    with free as (
        select message_id from run
        where lease_until <= now()
            and not exists (select from run earlier where earlier.message_id = run.after_id)
        order by created_at limit :limit
        for update of run skip locked
    ), claimed as (
        update run set attempt = attempt + 1, lease_until = now() + make_interval(secs => :lease)
        from free where run.message_id = free.message_id
        returning run.message_id, run.attempt, run.cancel_requested
    )
    update message set status = 'STREAMING', attempt = claimed.attempt
    from claimed where message.id = claimed.message_id
    returning message.id, message.conversation_id, message.owner_id, claimed.attempt, claimed.cancel_requested
""")


async def claim_runs(connection: AsyncConnection, limit: int, lease: float) -> list[ClaimedRun]:
    """Take up to `limit` runs that nobody holds, for `lease` seconds."""
    rows = await connection.execute(CLAIM_RUNS, {"limit": limit, "lease": lease})
    return [ClaimedRun(*row) for row in rows]


EXTEND_LEASES = text("""
    update run set lease_until = now() + make_interval(secs => :lease)
    from unnest(cast(:ids as uuid[]), cast(:attempts as integer[])) as held (message_id, attempt)
    where run.message_id = held.message_id and run.attempt = held.attempt
    returning run.message_id, run.attempt, run.cancel_requested
""").bindparams(bindparam("ids", type_=ARRAY(Uuid)), bindparam("attempts", type_=ARRAY(Integer)))


async def extend_leases(connection: AsyncConnection, held: Sequence[tuple[UUID, int]], lease: float) -> list[HeldRun]:
    """Renew the leases of (message id, attempt) pairs; one that does not come back is lost."""
    parameters = {
        "ids": [message_id for message_id, _ in held],
        "attempts": [attempt for _, attempt in held],
        "lease": lease,
    }
    return [HeldRun(*row) for row in await connection.execute(EXTEND_LEASES, parameters)]


# A lease that ends now: any node may claim the run at once.
RELEASE_RUN = text("""
    update run set lease_until = now() where message_id = :id and attempt = :attempt
""")


async def release_run(connection: AsyncConnection, message_id: UUID, attempt: int) -> None:
    await connection.execute(RELEASE_RUN, {"id": message_id, "attempt": attempt})


# A run that nobody has begun ends here; of one that is being written, the runner is asked to end it.
REQUEST_CANCEL = text("""
    with idle as (
        delete from run using message
        where run.message_id = :id and message.id = run.message_id and message.owner_id = :owner_id
            and run.lease_until <= now()
        returning run.message_id
    ), stopped as (
        update message set status = 'STOPPED', finished_at = now()
        from idle where message.id = idle.message_id
        returning message.conversation_id
    ), noted as (
        update conversation set updated_at = now(), revision = revision + 1
        from stopped where conversation.id = stopped.conversation_id
    )
    update run set cancel_requested = true from message
    where run.message_id = :id and message.id = run.message_id and message.owner_id = :owner_id
        and run.lease_until > now()
""")


async def request_cancel(connection: AsyncConnection, owner_id: str, message_id: UUID) -> None:
    """Stop a reply of the owner: at once if it waits, else through its runner. Finished ones stay as they are."""
    await connection.execute(REQUEST_CANCEL, {"id": message_id, "owner_id": owner_id})


SAVE_STEP = text("""
    update message set
        parts = :parts, model = :model, restarts = :restarts,
        input_tokens = :input_tokens, output_tokens = :output_tokens,
        cache_read_tokens = :cache_read_tokens, cache_write_tokens = :cache_write_tokens
    from run
    where message.id = :id and run.message_id = message.id and run.attempt = :attempt
""").bindparams(bindparam("parts", type_=JSON), bindparam("restarts", type_=ARRAY(Integer)))


async def save_step(
    connection: AsyncConnection,
    message_id: UUID,
    attempt: int,
    *,
    parts: list[dict[str, Any]],
    model: str | None,
    restarts: Sequence[int],
    usage: Mapping[str, int],
) -> bool:
    """Save what a reply consists of so far; False if another attempt has taken over."""
    parameters = {
        "id": message_id,
        "attempt": attempt,
        "parts": parts,
        "model": model,
        "restarts": list(restarts),
        **usage,
    }
    return bool((await connection.execute(SAVE_STEP, parameters)).rowcount)


FINISH_REPLY = text("""
    with ended as (
        delete from run where message_id = :id and attempt = :attempt returning message_id
    ), saved as (
        update message set
            status = :status, parts = :parts, model = :model, finished_at = now(),
            search = searchable(owner_id, :text),
            error_code = :error_code, error_message = :error_message, error_retryable = :error_retryable,
            input_tokens = :input_tokens, output_tokens = :output_tokens,
            cache_read_tokens = :cache_read_tokens, cache_write_tokens = :cache_write_tokens
        from ended where message.id = ended.message_id
        returning message.conversation_id, message.owner_id
    ), spent as (
        insert into spending (owner_id, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens)
        select owner_id, :input_tokens, :output_tokens, :cache_read_tokens, :cache_write_tokens from saved
    )
    update conversation set
        updated_at = now(), revision = revision + 1,
        input_tokens = conversation.input_tokens + :input_tokens,
        output_tokens = conversation.output_tokens + :output_tokens,
        cache_read_tokens = conversation.cache_read_tokens + :cache_read_tokens,
        cache_write_tokens = conversation.cache_write_tokens + :cache_write_tokens
    from saved where conversation.id = saved.conversation_id
    returning conversation.title is null
""").bindparams(bindparam("parts", type_=JSON))


async def finish_reply(connection: AsyncConnection, message_id: UUID, attempt: int, end: FinishedReply) -> bool | None:
    """Save a reply for good and end its run.

    Tells whether its conversation wants a title; None if another attempt has taken over, or it was deleted.
    """
    parameters = {
        "id": message_id,
        "attempt": attempt,
        "status": end.status,
        "parts": end.parts,
        "text": end.text,
        "model": end.model,
        "error_code": end.error_code,
        "error_message": end.error_message,
        "error_retryable": end.error_retryable,
        **end.usage,
    }
    untitled: bool | None = (await connection.execute(FINISH_REPLY, parameters)).scalar_one_or_none()
    return untitled


RECORD_SPENDING = text("""
    insert into spending (owner_id, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens)
    values (:owner_id, :input_tokens, :output_tokens, :cache_read_tokens, :cache_write_tokens)
""")


async def record_spending(connection: AsyncConnection, owner_id: str, usage: Mapping[str, int]) -> None:
    """Note tokens that were spent outside a reply."""
    await connection.execute(RECORD_SPENDING, {"owner_id": owner_id, **usage})
