"""Storing a question, its reply and the run that writes it: together, in one statement."""

from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, BigInteger, BindParameter, Double, TextClause, bindparam, text

from persistence.branches import Place
from persistence.identifiers import new_id
from persistence.runs import ClaimedRun
from persistence.statements import Executor, fetch, new_row, set_values
from persistence.tables import Conversation, Message

#: A conversation of which nothing is known yet but whose it is.
_BLANK_CONVERSATION: dict[str, Any] = {
    "title": None,
    "created_at": None,
    "updated_at": None,
    "archived_at": None,
    "model": None,
    "newest_message_id": None,
    "revision": 0,
    "changed_revision": 0,
    "input_tokens": 0,
    "output_tokens": 0,
    "cache_read_tokens": 0,
    "cache_write_tokens": 0,
}
#: A message of which nothing is known yet but where it stands.
_BLANK_MESSAGE: dict[str, Any] = {
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


def conversation(owner_id: str, model: str | None) -> Conversation:
    """A conversation without a message, not yet stored."""
    return new_row(Conversation, {**_BLANK_CONVERSATION, "id": new_id(), "owner_id": owner_id, "model": model})


def question(conversation: Conversation, place: Place, parent_id: UUID | None, text: str) -> Message:
    """A user's message, not yet stored."""
    parts = [{"type": "text", "text": text}]
    return _message(conversation, place, parent_id, role="USER", status="COMPLETE", parts=parts)


def reply(conversation: Conversation, place: Place, parent_id: UUID, key: str | None) -> Message:
    """A reply that is still to be written, not yet stored."""
    return _message(conversation, place, parent_id, role="ASSISTANT", status="QUEUED", parts=[], idempotency_key=key)


def _message(conversation: Conversation, place: Place, parent_id: UUID | None, **values: Any) -> Message:
    row = {
        **_BLANK_MESSAGE,
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


_NEW_CONVERSATION = """
    insert into conversation (id, owner_id, model, newest_message_id, revision)
    values (:conversation_id, :owner_id, :model, :reply_id, :revision)
    returning created_at, updated_at
"""
_OLD_CONVERSATION = """
    update conversation set newest_message_id = :reply_id, updated_at = clock_timestamp(), revision = :revision
    where id = :conversation_id
    returning created_at, updated_at
"""
_COLUMNS = """id, conversation_id, owner_id, parent_id, depth, jump_id, jump_depth, role, status, parts,
        added_revision, changed_revision, created_at, finished_at, search, idempotency_key, attempt"""
# The clock, not the time at which the transaction began: it may have waited for the conversation's lock since.
_QUESTION = """(:question_id, :conversation_id, :owner_id, :question_parent_id, :question_depth, :question_jump_id,
            :question_jump_depth, 'USER', 'COMPLETE', :question_parts, :revision - 1, :revision - 1,
            clock_timestamp(), clock_timestamp(), searchable(:owner_id, :text), null, 0),
        """
_REPLY = """(:reply_id, :conversation_id, :owner_id, :reply_parent_id, :reply_depth, :reply_jump_id,
            :reply_jump_depth, 'ASSISTANT', (select status from first), '[]', :revision, :revision,
            clock_timestamp(), null, null, :idempotency_key, (select attempt from first))"""


@cache
def _insert(*, begins: bool, asks: bool) -> TextClause:
    parameters: list[BindParameter[Any]] = [bindparam("revision", type_=BigInteger), bindparam("lease", type_=Double)]
    if asks:
        parameters.append(bindparam("question_parts", type_=JSON))
    return text(f"""
    with first as (
        select case when claimed then 1 else 0 end as attempt,
            case when claimed then 'STREAMING' else 'QUEUED' end as status
        from (select :lease is not null
            and not exists (select from run where message_id = :after_id and not parked) as claimed)
    ), told as ({_NEW_CONVERSATION if begins else _OLD_CONVERSATION}), placed as (
        insert into message ({_COLUMNS})
        values {_QUESTION if asks else ""}{_REPLY}
        returning id, status, attempt, created_at, finished_at
    ), started as (
        insert into run (message_id, owner_id, after_id, attempt, held, lease_until, model)
        select :reply_id, :owner_id, :after_id, attempt, attempt > 0,
            clock_timestamp() + make_interval(secs => attempt * coalesce(:lease, 0)), :model
        from first
    )
    select told.created_at, told.updated_at, placed.* from told, placed
    """).bindparams(*parameters)  # noqa: S608 - constants


async def insert_exchange(
    executor: Executor,
    conversation: Conversation,
    question: Message | None,
    reply: Message,
    after_id: UUID | None,
    *,
    begins: bool = False,
    lease: float | None = None,
) -> ClaimedRun | None:
    """Store a reply with its run, and its question unless that is there; sets what PostgreSQL gives the rows.

    The conversation must be locked, for its revision is counted here; one that `begins` is stored too. The run waits
    until the reply `after_id` is written. If that is so already, and `lease` gives seconds, the run is claimed: it is
    given back, for this node to begin it at once.
    """
    rows = {"question": question, "reply": reply} if question else {"reply": reply}
    revision = conversation.revision + len(rows)
    parameters = {
        "conversation_id": conversation.id,
        "owner_id": conversation.owner_id,
        "model": conversation.model,
        "revision": revision,
        "after_id": after_id,
        "lease": lease,
        "idempotency_key": reply.idempotency_key,
        "text": question.parts[0]["text"] if question else None,
    }
    for prefix, row in rows.items():
        # As attributes of a row of the mapper's they take ten times as long.
        values = vars(row)
        for name in ("id", "parent_id", "depth", "jump_id", "jump_depth", "parts"):
            parameters[f"{prefix}_{name}"] = values[name]
    stored = await fetch(executor, _insert(begins=begins, asks=question is not None), parameters)
    for begun_at, updated_at, id, status, attempt, created_at, finished_at in stored:
        row = next(row for row in rows.values() if row.id == id)
        set_values(row, status=status, attempt=attempt, created_at=created_at, finished_at=finished_at)
        set_values(conversation, created_at=begun_at, updated_at=updated_at)
    set_values(conversation, revision=revision, newest_message_id=reply.id)
    return _claimed(conversation, question, reply) if reply.attempt else None


def _claimed(conversation: Conversation, question: Message | None, reply: Message) -> ClaimedRun:
    return ClaimedRun(
        reply.id,
        reply.conversation_id,
        reply.owner_id,
        attempt=reply.attempt,
        failures=0,
        cancel_requested=False,
        question=question.parts if question and reply.depth == 1 else None,
        model=conversation.model,
    )
