"""Every statement on runs: who writes which reply. The clock is the database's; `attempt` fences each write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, Integer, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from persistence.statements import Executor, fetch, new_row
from persistence.tables import Message


@dataclass(frozen=True, slots=True)
class ClaimedRun:
    """A run that is this runner's until its lease ends."""

    message_id: UUID
    conversation_id: UUID
    owner_id: str
    attempt: int
    #: How many attempts have failed before it.
    failures: int
    cancel_requested: bool
    #: Whether more were free at that time than were taken.
    left_others: bool = False
    #: All that stands before the reply, as it is saved, where that is one question and no attempt has been before.
    question: list[dict[str, Any]] | None = None
    #: Which model it was asked of; None for the default.
    model: str | None = None
    #: Seconds from the stored question to the claim.
    waited: float = 0.0
    #: Whether a node that held it let its lease end.
    taken_over: bool = False


@dataclass(frozen=True, slots=True)
class WaitingRun:
    """A run as its owner finds it, locked until the transaction ends."""

    attempt: int
    #: Whether nobody has begun it.
    idle: bool
    #: Whether it waits for its owner.
    parked: bool


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


# Every statement that changes what followers see of a run locks its conversation first, as sending and deleting
# do: in one order, nobody waits for each other. And each raises the conversation's revision. Those that touch the
# run alone (heartbeat, release, saving a step) lock no conversation, and several runs in the order of their ids.

# An owner's next run comes before another's next but one; among equals comes who was served longest ago, then the
# oldest. A run waits for the reply before it on its branch, which the model must see whole, unless that one waits
# for its user. More are looked at than are taken: others may be taking the first of them.
CLAIM_RUNS = text("""
    with busy as (
        select owner_id, count(*) as held from run where lease_until > now() and not parked group by owner_id
    ), served as (
        select owner_id, (select max(spent_at) from spending where spending.owner_id = waiting.owner_id) as last
        from (select distinct owner_id from run where lease_until <= now() and not parked) as waiting
    ), free as (
        select run.message_id, run.created_at, served.last, coalesce(busy.held, 0)
            + row_number() over (partition by run.owner_id order by run.created_at) as turn
        from run join served on served.owner_id = run.owner_id left join busy on busy.owner_id = run.owner_id
        where run.lease_until <= now() and not run.parked
            and not exists (select from run earlier where earlier.message_id = run.after_id and not earlier.parked)
        order by turn, last nulls first, run.created_at limit :looked_at
    ), locked as (
        select conversation.id, free.message_id
        from free join message on message.id = free.message_id join conversation on conversation.id = conversation_id
        order by free.turn, free.last nulls first, free.created_at limit :limit
        for update of conversation skip locked
    ), taken as (
        select run.message_id, locked.id as conversation_id, run.held
        from run join locked on locked.message_id = run.message_id
        where run.lease_until <= now() and not run.parked
        for update of run skip locked
    ), claimed as (
        update run set
            attempt = attempt + 1, failures = failures + run.held::integer, held = true,
            lease_until = now() + make_interval(secs => :lease)
        from taken where run.message_id = taken.message_id
        returning run.message_id, run.attempt, run.failures, run.cancel_requested, run.model, taken.held
    ), told as (
        update conversation set revision = revision + 1
        where id in (select conversation_id from taken)
        returning id, revision
    )
    update message set status = 'STREAMING', attempt = claimed.attempt, changed_revision = told.revision
    from claimed, told where message.id = claimed.message_id and told.id = message.conversation_id
    returning message.id, message.conversation_id, message.owner_id,
        claimed.attempt, claimed.failures, claimed.cancel_requested,
        (select count(*) from free) > (select count(*) from claimed),
        case when message.depth = 1 and claimed.attempt = 1 then
            (select parts from message question where question.id = message.parent_id)
        end,
        claimed.model,
        extract(epoch from clock_timestamp() - message.created_at)::double precision,
        claimed.held
""")


#: How many free runs are looked at for each that is taken: so many nodes find some each at the same time.
LOOKED_AT = 20


async def claim_runs(executor: Executor, limit: int, lease: float) -> list[ClaimedRun]:
    """Take up to `limit` runs that nobody holds, for `lease` seconds."""
    parameters = {"limit": limit, "looked_at": limit * LOOKED_AT, "lease": lease}
    rows = await fetch(executor, CLAIM_RUNS, parameters)
    return [ClaimedRun(*row) for row in rows]


#: Runs that are counted at the most, and looked at.
MOST_COUNTED = 10_000
COUNT_WAITING = text(f"""
    select count(*), extract(epoch from clock_timestamp() - min(created_at) filter (where attempt = 0))
    from (select created_at, attempt from run where lease_until <= now() and not parked limit {MOST_COUNTED}) as waiting
""")  # noqa: S608 - a constant


async def count_waiting(executor: Executor) -> tuple[int, float]:
    """How many runs wait for a node, and for how many seconds the one that was asked for first and not begun yet."""
    [(count, longest)] = await fetch(executor, COUNT_WAITING, {})
    return count, float(longest or 0)


EXTEND_LEASES = text("""
    with held as (
        select run.message_id
        from run join unnest(cast(:ids as uuid[]), cast(:attempts as integer[])) as asked (message_id, attempt)
            on asked.message_id = run.message_id and asked.attempt = run.attempt
        order by run.message_id for update of run
    )
    update run set lease_until = now() + make_interval(secs => :lease)
    from held where run.message_id = held.message_id
    returning run.message_id, run.attempt, run.cancel_requested
""").bindparams(bindparam("ids", type_=ARRAY(Uuid)), bindparam("attempts", type_=ARRAY(Integer)))


async def extend_leases(executor: Executor, held: Sequence[tuple[UUID, int]], lease: float) -> list[HeldRun]:
    """Renew the leases of (message id, attempt) pairs; one that does not come back is lost."""
    parameters = {
        "ids": [message_id for message_id, _ in held],
        "attempts": [attempt for _, attempt in held],
        "lease": lease,
    }
    return [HeldRun(*row) for row in await fetch(executor, EXTEND_LEASES, parameters)]


# A lease that ends now: any node may claim the run at once.
RELEASE_RUN = text("""
    update run set lease_until = now(), held = false where message_id = :id and attempt = :attempt
""")


async def release_run(executor: Executor, run: ClaimedRun) -> None:
    await fetch(executor, RELEASE_RUN, {"id": run.message_id, "attempt": run.attempt})


LOCK_CONVERSATION_OF = text("""
    select from conversation join message on message.conversation_id = conversation.id
    where message.id = :id and message.owner_id = :owner_id
    for update of conversation
""")
LOCK_RUN = text("""
    select attempt, attempt = 0 and lease_until <= now(), parked
    from run where message_id = :id and owner_id = :owner_id
    for update
""")


async def lock_owned_run(executor: Executor, owner_id: str, message_id: UUID) -> WaitingRun | None:
    """The run of the owner's reply, which nobody changes until this transaction ends; None where it has none."""
    parameters = {"id": message_id, "owner_id": owner_id}
    await fetch(executor, LOCK_CONVERSATION_OF, parameters)
    rows = await fetch(executor, LOCK_RUN, parameters)
    return WaitingRun(*rows[0]) if rows else None


REQUEST_CANCEL = text("update run set cancel_requested = true where message_id = :id")


async def request_cancel(executor: Executor, message_id: UUID) -> None:
    """Ask the runner of a locked run to end it."""
    await fetch(executor, REQUEST_CANCEL, {"id": message_id})


# What waited for it now waits for what it waited for.
STOP_IDLE = text("""
    with idle as (
        delete from run where message_id = :id returning message_id, after_id
    ), inherited as (
        update run set after_id = idle.after_id from idle where run.after_id = idle.message_id
    ), told as (
        update conversation set updated_at = clock_timestamp(), revision = revision + 1
        from idle where conversation.id = (select conversation_id from message where id = :id)
        returning revision
    )
    update message set status = 'STOPPED', finished_at = clock_timestamp(), changed_revision = told.revision
    from told where message.id = :id
""")


async def stop_idle(executor: Executor, message_id: UUID) -> None:
    """End a locked run that nobody has begun."""
    await fetch(executor, STOP_IDLE, {"id": message_id})


# The run is locked first: a late runner waits for the one that took over, and then finds another attempt.
SAVE_STEP = text("""
    with held as (
        select message_id from run where message_id = :id and attempt = :attempt for share
    )
    update message set
        parts = :parts, model = :model, restarts = :restarts,
        input_tokens = :input_tokens, output_tokens = :output_tokens,
        cache_read_tokens = :cache_read_tokens, cache_write_tokens = :cache_write_tokens
    from held where message.id = held.message_id
    returning message.id
""").bindparams(bindparam("parts", type_=JSON), bindparam("restarts", type_=ARRAY(Integer)))


async def save_step(
    executor: Executor,
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
    return bool(await fetch(executor, SAVE_STEP, parameters))


# One that was asked to stop meanwhile is claimed once more, to be ended.
PARK_RUN = text("""
    with locked as (
        select id from conversation where id = :conversation_id for update
    ), parked as (
        update run set
            parked = not cancel_requested, held = false,
            lease_until = case when cancel_requested then now() else lease_until end
        from locked where message_id = :id and attempt = :attempt
        returning message_id
    ), told as (
        update conversation set updated_at = clock_timestamp(), revision = revision + 1
        from parked where conversation.id = :conversation_id
        returning revision
    )
    update message set
        status = 'AWAITING_APPROVAL', changed_revision = told.revision, parts = :parts, model = :model,
        input_tokens = :input_tokens, output_tokens = :output_tokens,
        cache_read_tokens = :cache_read_tokens, cache_write_tokens = :cache_write_tokens
    from told where message.id = :id
    returning message.id
""").bindparams(bindparam("parts", type_=JSON))


async def park_run(
    executor: Executor,
    run: ClaimedRun,
    *,
    parts: list[dict[str, Any]],
    model: str | None,
    usage: Mapping[str, int],
) -> bool:
    """Save a reply and let its run wait for the user, held by nobody; False if another attempt has taken over."""
    parameters = {
        "id": run.message_id,
        "conversation_id": run.conversation_id,
        "attempt": run.attempt,
        "parts": parts,
        "model": model,
        **usage,
    }
    return bool(await fetch(executor, PARK_RUN, parameters))


@dataclass(frozen=True, slots=True)
class EndedRun:
    """What is to be done after a run that has ended."""

    #: Whether its conversation wants a title.
    untitled: bool
    #: Whether a later message of its conversation may have waited for it.
    followed: bool
    #: The reply as it is saved now.
    reply: Message


# The parts are known, and may be long.
_GIVEN_BACK = tuple(name for name in Message.model_fields if name != "parts")
FINISH_REPLY = text(f"""
    with locked as (
        select id from conversation where id = :conversation_id for update
    ), ended as (
        delete from run using locked where message_id = :id and attempt = :attempt returning message_id
    ), told as (
        update conversation set
            updated_at = clock_timestamp(), revision = revision + 1,
            input_tokens = conversation.input_tokens + :input_tokens,
            output_tokens = conversation.output_tokens + :output_tokens,
            cache_read_tokens = conversation.cache_read_tokens + :cache_read_tokens,
            cache_write_tokens = conversation.cache_write_tokens + :cache_write_tokens
        from ended where conversation.id = :conversation_id
        returning revision, title is null as untitled, newest_message_id is distinct from :id as followed
    ), saved as (
        update message set
            status = :status, parts = :parts, model = :model, finished_at = now(),
            search = searchable(owner_id, :text), changed_revision = told.revision,
            error_code = :error_code, error_message = :error_message, error_retryable = :error_retryable,
            input_tokens = :input_tokens, output_tokens = :output_tokens,
            cache_read_tokens = :cache_read_tokens, cache_write_tokens = :cache_write_tokens
        from told where message.id = :id
        returning {", ".join(f"message.{name}" for name in _GIVEN_BACK)}
    ), spent as (
        insert into spending (owner_id, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens)
        select owner_id, :input_tokens, :output_tokens, :cache_read_tokens, :cache_write_tokens from saved
    )
    select untitled, followed, {", ".join(f"saved.{name}" for name in _GIVEN_BACK)} from told, saved
""").bindparams(bindparam("parts", type_=JSON))  # noqa: S608 - constants


async def finish_reply(executor: Executor, run: ClaimedRun, end: FinishedReply) -> EndedRun | None:
    """Save a reply for good and end its run; None if another attempt has taken over, or it was deleted."""
    parameters = {
        "id": run.message_id,
        "conversation_id": run.conversation_id,
        "attempt": run.attempt,
        "status": end.status,
        "parts": end.parts,
        "text": end.text,
        "model": end.model,
        "error_code": end.error_code,
        "error_message": end.error_message,
        "error_retryable": end.error_retryable,
        **end.usage,
    }
    rows = await fetch(executor, FINISH_REPLY, parameters)
    if not rows:
        return None
    untitled, followed, *values = rows[0]
    reply = new_row(Message, {**dict(zip(_GIVEN_BACK, values, strict=True)), "parts": end.parts})
    return EndedRun(untitled, followed, reply)


# Not of an owner who was deleted meanwhile, whom nothing is known of: a finished reply leaves one with a row.
RECORD_SPENDING = text("""
    with known as (
        select id from spending where owner_id = :owner_id order by spent_at desc limit 1 for key share
    )
    insert into spending (owner_id, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens)
    select :owner_id, :input_tokens, :output_tokens, :cache_read_tokens, :cache_write_tokens from known
""")


async def record_spending(executor: Executor, owner_id: str, usage: Mapping[str, int]) -> None:
    """Note tokens that were spent outside a reply, after one that has finished."""
    await fetch(executor, RECORD_SPENDING, {"owner_id": owner_id, **usage})
