"""Asking and asking again: a question is stored with its reply, and the reply is begun."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias
from uuid import UUID

from persistence import branches, conversations, exchanges, messages
from persistence.branches import Place
from persistence.database import UniqueViolation
from persistence.identifiers import new_id
from persistence.runs import ClaimedRun
from persistence.statements import Executor
from persistence.tables import Conversation, Message
from resolvers.context import Context
from resolvers.errors import BadUserInput, Forbidden
from resolvers.inputs import LONGEST_KEY, LONGEST_MESSAGE, check_model, check_text
from resolvers.messages import MessageState, add_live_state, load_message
from resolvers.quota import check_quota
from runs.worker import Store


class Newest(Enum):
    """The default of `parent_id`: follow the conversation's newest message."""

    NEWEST = auto()


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question that was stored, and the reply that was begun."""

    conversation: Conversation
    question: MessageState
    reply: MessageState


#: An exchange that was stored, and its run if that was claimed at once.
Stored: TypeAlias = tuple[Exchange, ClaimedRun | None]


async def send_message(
    context: Context,
    text: str,
    *,
    conversation_id: UUID | None,
    parent_id: UUID | None | Newest,
    idempotency_key: str | None,
    model: str | None = None,
) -> Exchange:
    """Store a question and begin its reply, both or neither; `model` is what a new conversation chooses.

    Raises `Forbidden`, `BadUserInput`, `RateLimited` and `QuotaExceeded`.
    """
    check_text("input.text", text, LONGEST_MESSAGE)
    if conversation_id is None and isinstance(parent_id, UUID):
        raise BadUserInput("input.parentId", "needs the conversationId of its conversation")
    if conversation_id is not None and model is not None:
        raise BadUserInput("input.model", "is for a new conversation; another's is changed by updateConversation")
    check_model("input.model", model, context.models)
    key = _key("send", idempotency_key)
    if earlier := await _find_exchange(context, key):
        return earlier
    if conversation_id is None and key is None:
        return await _begin_conversation(context, text, model)
    await context.rate_limit.check(context.owner_id)
    await check_quota(context)

    async def store(lease: float | None) -> Stored:
        async with context.database.driver_transaction() as driver:
            if conversation_id is None:
                conversation = exchanges.conversation(context.owner_id, model)
            else:
                conversation = await _lock(driver, context.owner_id, conversation_id)
            begins = conversation_id is None
            stored = await _insert_exchange(driver, conversation, text, parent_id, key, lease, begins=begins)
            # Last: of several calls with one key, only the one that stores something counts.
            await context.rate_limit.count(context.owner_id)
        return stored

    return await _begin(context, store, key)


async def _begin_conversation(context: Context, text: str, model: str | None) -> Exchange:
    """Store a first message without a key: nothing can speak against that, so one statement does it.

    It is counted first: should PostgreSQL fail then, the user has one message less in this minute.
    """
    await check_quota(context)
    await context.rate_limit.count(context.owner_id)

    async def store(lease: float | None) -> Stored:
        async with context.database.driver() as driver:
            conversation = exchanges.conversation(context.owner_id, model)
            return await _insert_exchange(driver, conversation, text, None, None, lease, begins=True)

    return await _begin(context, store, None)


async def _insert_exchange(
    driver: Executor,
    conversation: Conversation,
    text: str,
    parent_id: UUID | None | Newest,
    key: str | None,
    lease: float | None,
    *,
    begins: bool,
) -> Stored:
    if isinstance(parent_id, Newest):
        parent_id = conversation.newest_message_id
    above: list[Place] = []
    if parent_id is not None:
        above = await branches.find_places_above(driver, conversation.id, parent_id)
        if not above:
            raise Forbidden
        # A question has an even depth, its reply the odd one below: they alternate on every branch.
        if above[0].depth % 2 == 0:
            raise BadUserInput("input.parentId", "must be a reply: a question follows a reply, or nothing")
    question = exchanges.question(conversation, branches.place_below(above, new_id()), parent_id, text)
    reply = exchanges.reply(conversation, branches.place_below(_places(question, above), new_id()), question.id, key)
    run = await exchanges.insert_exchange(
        driver, conversation, question, reply, after_id=parent_id, begins=begins, lease=lease
    )
    return Exchange(conversation, MessageState(question), MessageState(reply)), run


def _places(question: Message, above: Sequence[Place]) -> list[Place]:
    """The new question's place and its jump's, found among those above it."""
    own = Place(question.id, question.depth, question.jump_id, question.jump_depth)
    return [own, *(place for place in above if place.id == question.jump_id)]


async def regenerate_message(context: Context, id: UUID, *, idempotency_key: str | None) -> Exchange:
    """Begin one more reply to the same question.

    Raises `Forbidden`, `BadUserInput`, `RateLimited` and `QuotaExceeded`.
    """
    key = _key("regenerate", idempotency_key)
    if earlier := await _find_exchange(context, key):
        return earlier
    old = (await load_message(context, id)).row
    if old.role != "ASSISTANT" or old.parent_id is None:
        raise BadUserInput("input.messageId", "must be a reply")
    question = await load_message(context, old.parent_id)
    await context.rate_limit.check(context.owner_id)
    await check_quota(context)

    async def store(lease: float | None) -> Stored:
        async with context.database.driver_transaction() as driver:
            conversation = await _lock(driver, context.owner_id, old.conversation_id)
            above = await branches.find_places_above(driver, conversation.id, question.row.id)
            reply = exchanges.reply(conversation, branches.place_below(above, new_id()), question.row.id, key)
            run = await exchanges.insert_exchange(
                driver, conversation, None, reply, after_id=question.row.parent_id, lease=lease
            )
            await context.rate_limit.count(context.owner_id)
        return Exchange(conversation, question, MessageState(reply)), run

    return await _begin(context, store, key)


async def _begin(context: Context, store: Store[Exchange], key: str | None) -> Exchange:
    """Have an exchange stored and its reply begun; or what another call with the key stored a moment before."""
    try:
        exchange = await context.worker.start_run(store)
    except UniqueViolation:
        earlier = await _find_exchange(context, key)
        if earlier is None:
            raise
        return earlier
    context.worker.live.notify(exchange.conversation.id)
    return exchange


async def _lock(driver: Executor, owner_id: str, conversation_id: UUID) -> Conversation:
    conversation = await conversations.lock_owned_conversation(driver, owner_id, conversation_id)
    if conversation is None:
        raise Forbidden
    return conversation


def _key(mutation: str, key: str | None) -> str | None:
    """The stored key: each mutation has keys of its own."""
    if key is None:
        return None
    return f"{mutation}:{check_text('input.idempotencyKey', key, LONGEST_KEY)}"


async def _find_exchange(context: Context, key: str | None) -> Exchange | None:
    """What the first call with this key answered, as it is now."""
    if key is None:
        return None
    async with context.database.driver() as driver:
        row = await messages.find_keyed_reply(driver, context.owner_id, key)
        if row is None or row.parent_id is None:
            return None
        [conversation] = await conversations.find_owned_conversations(driver, context.owner_id, [row.conversation_id])
    question = await load_message(context, row.parent_id)
    [reply] = await add_live_state(context, [row])
    return Exchange(conversation, question, reply)
