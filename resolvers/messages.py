"""What a user may do with messages: ask, ask again, stop, rate, read."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property
from typing import TypeAlias
from uuid import UUID

from agent.draft import Draft
from agent.model import Usage
from agent.parts import Part, join_text, parts_from_json, parts_to_json
from persistence import branches, conversations, exchanges, messages, runs
from persistence.branches import Branch, Place
from persistence.database import UniqueViolation
from persistence.identifiers import new_id
from persistence.pages import Page, Window
from persistence.runs import ClaimedRun, FinishedReply
from persistence.statements import Executor
from persistence.tables import RUNNING_STATUSES, Conversation, Message
from resolvers.context import Context
from resolvers.errors import BadUserInput, Forbidden
from resolvers.inputs import LONGEST_COMMENT, LONGEST_KEY, LONGEST_MESSAGE, check_optional_text, check_text
from resolvers.quota import check_quota
from runs.follow import Cursor, SavedReply, wait_for_end
from runs.log import LogReader, read_parts, write_log

#: Seconds that `stop_message` waits for the runner, and `finish_message` for the reply, at the most.
STOP_TIMEOUT, FINISH_TIMEOUT = 5.0, 3600.0


class Newest(Enum):
    """The default of `parent_id`: follow the conversation's newest message."""

    NEWEST = auto()


@dataclass(frozen=True)
class MessageState:
    """A message at one moment: its row and, of a running reply, what is written so far."""

    row: Message
    live: tuple[list[Part], Cursor] | None = None

    @cached_property
    def parts(self) -> list[Part]:
        return self.live[0] if self.live else parts_from_json(self.row.parts)

    @cached_property
    def cursor(self) -> Cursor:
        """Where a stream goes on from this state."""
        if self.live:
            return self.live[1]
        log = LogReader()
        log.read(write_log(self.parts))
        return Cursor(self.row.attempt, log.position)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question that was stored, and the reply that was begun."""

    conversation: Conversation
    question: MessageState
    reply: MessageState


#: An exchange that was stored, and its run if that was claimed at once.
Stored: TypeAlias = tuple[Exchange, ClaimedRun | None]


async def add_live_state(context: Context, rows: Sequence[Message]) -> list[MessageState]:
    """The rows, with the text so far of replies under way: text, parts and cursor are of one moment."""
    states = []
    for row in rows:
        live = None
        if row.status in RUNNING_STATUSES and (slice := await context.worker.live.read(row.id, -1, 0)):
            parts, position = read_parts(slice.data)
            live = parts, Cursor(slice.attempt, position)
        states.append(MessageState(row, live))
    return states


async def load_messages(context: Context, ids: Sequence[UUID]) -> list[MessageState | None]:
    """The caller's messages with these ids, in their order; None for what is not theirs."""
    async with context.database.driver() as driver:
        rows = await messages.find_owned_messages(driver, context.owner_id, ids)
    by_id = {state.row.id: state for state in await add_live_state(context, rows)}
    return [by_id.get(id) for id in ids]


async def load_message(context: Context, id: UUID) -> MessageState:
    """The caller's message. Raises `Forbidden`."""
    [state] = await load_messages(context, [id])
    if state is None:
        raise Forbidden
    return state


def sibling_key(row: Message) -> tuple[UUID, str]:
    """What a message shares with its other versions: the parent, or the conversation of a first one, and the role."""
    return row.parent_id or row.conversation_id, row.role


async def load_versions(context: Context, keys: Sequence[tuple[UUID, str]]) -> list[list[MessageState]]:
    """For each sibling key, all messages that have it, oldest first."""
    async with context.database.driver() as driver:
        siblings = await messages.find_owned_siblings(driver, context.owner_id, {group for group, _ in keys})
    versions: dict[tuple[UUID, str], list[MessageState]] = {key: [] for key in keys}
    for state in await add_live_state(context, siblings):
        if (found := versions.get(sibling_key(state.row))) is not None:
            found.append(state)
    return [versions[key] for key in keys]


async def load_branches(
    context: Context, asked: Sequence[tuple[Branch, Window]]
) -> list[Page[MessageState] | Forbidden]:
    """A page of each branch, oldest first; `Forbidden` in the place of a leaf outside its conversation."""
    leaves = {branch.leaf_id for branch, _ in asked if branch.leaf_id}
    async with context.database.driver() as driver:
        rows = await messages.find_owned_messages(driver, context.owner_id, leaves) if leaves else ()
        pages = await branches.fetch_branches(driver, context.owner_id, asked)
    homes = {row.id: row.conversation_id for row in rows}
    return [
        Page(await add_live_state(context, page.rows), page.has_previous, page.has_next)
        if branch.leaf_id is None or homes.get(branch.leaf_id) == branch.conversation_id
        else Forbidden()
        for (branch, _), page in zip(asked, pages, strict=True)
    ]


async def send_message(
    context: Context,
    text: str,
    *,
    conversation_id: UUID | None,
    parent_id: UUID | None | Newest,
    idempotency_key: str | None,
) -> Exchange:
    """Store a question and begin its reply, both or neither.

    Raises `Forbidden`, `BadUserInput`, `RateLimited` and `QuotaExceeded`.
    """
    check_text("input.text", text, LONGEST_MESSAGE)
    if conversation_id is None and isinstance(parent_id, UUID):
        raise BadUserInput("input.parentId", "needs the conversationId of its conversation")
    key = _key("send", idempotency_key)
    if earlier := await _find_exchange(context, key):
        return earlier
    if conversation_id is None and key is None:
        exchange = await _begin_conversation(context, text)
    else:
        await context.rate_limit.check(context.owner_id)
        await check_quota(context)

        async def store(lease: float | None) -> Stored:
            async with context.database.driver_transaction() as driver:
                stored = await _insert_exchange(driver, context.owner_id, text, conversation_id, parent_id, key, lease)
                # Last: of several calls with one key, only the one that stores something counts.
                await context.rate_limit.count(context.owner_id)
            return stored

        try:
            exchange = await context.worker.start_run(store)
        except UniqueViolation as error:
            return await _exchange_of_race(context, key, error)
    context.worker.live.notify(exchange.conversation.id)
    return exchange


async def _begin_conversation(context: Context, text: str) -> Exchange:
    """Store a first message without a key: nothing can speak against that, so one statement does it."""
    await check_quota(context)
    await context.rate_limit.count(context.owner_id)

    async def store(lease: float | None) -> Stored:
        async with context.database.driver() as driver:
            return await _insert_exchange(driver, context.owner_id, text, None, None, None, lease)

    return await context.worker.start_run(store)


async def _insert_exchange(
    driver: Executor,
    owner_id: str,
    text: str,
    conversation_id: UUID | None,
    parent_id: UUID | None | Newest,
    key: str | None,
    lease: float | None,
) -> Stored:
    if conversation_id is None:
        conversation = exchanges.conversation(owner_id)
    else:
        conversation = await _lock(driver, owner_id, conversation_id)
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
    begins = conversation_id is None
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

    try:
        exchange = await context.worker.start_run(store)
    except UniqueViolation as error:
        return await _exchange_of_race(context, key, error)
    context.worker.live.notify(old.conversation_id)
    return exchange


def announce(context: Context, conversation_id: UUID) -> None:
    """After the commit: hint at the new run, and at the change of the conversation."""
    context.worker.wake()
    context.worker.live.notify(conversation_id)


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


async def _exchange_of_race(context: Context, key: str | None, error: UniqueViolation) -> Exchange:
    """Another call with the same key was a moment faster: its answer is ours."""
    exchange = await _find_exchange(context, key)
    if exchange is None:
        raise error
    return exchange


async def stop_message(context: Context, id: UUID) -> MessageState:
    """End a running reply and keep its text; a finished one stays as it is. Raises `Forbidden`."""
    state = await load_message(context, id)
    if state.row.status not in RUNNING_STATUSES:
        return state
    async with context.database.driver_transaction() as driver:
        await _stop_run(driver, context.owner_id, id)
    context.worker.stop_reply(id)
    context.worker.live.notify(id)
    announce(context, state.row.conversation_id)
    await wait_for_end(context.worker.live, id, lambda: load_saved(context, id), STOP_TIMEOUT)
    return await load_message(context, id)


async def _stop_run(driver: Executor, owner_id: str, id: UUID) -> None:
    """End a run that nobody writes, and have the one that somebody writes ended."""
    run = await runs.lock_owned_run(driver, owner_id, id)
    if run is None:
        return
    if run.idle:
        await runs.stop_idle(driver, id)
    elif run.parked:
        [message] = await messages.find_owned_messages(driver, owner_id, [id])
        draft = Draft(parts_from_json(message.parts))
        for index, _ in draft.open_calls():
            draft.end_call(index, "INTERRUPTED", None)
        usage = {name: getattr(message, name) or 0 for name in Usage().as_columns()}
        end = FinishedReply("STOPPED", parts_to_json(draft.parts), join_text(draft.parts), message.model, usage)
        held = ClaimedRun(id, message.conversation_id, owner_id, run.attempt, 0, cancel_requested=True)
        await runs.finish_reply(driver, held, end)
    else:
        await runs.request_cancel(driver, id)


async def finish_message(context: Context, id: UUID) -> MessageState:
    """The reply once it has finished. Raises `Forbidden`, also when it is deleted meanwhile."""
    await wait_for_end(context.worker.live, id, lambda: load_saved(context, id), FINISH_TIMEOUT)
    return await load_message(context, id)


async def rate_message(context: Context, id: UUID, rating: str | None, comment: str | None) -> MessageState:
    """Set or clear the caller's opinion of a reply. Raises `Forbidden` and `BadUserInput`."""
    check_optional_text("input.comment", comment, LONGEST_COMMENT)
    if (await load_message(context, id)).row.role != "ASSISTANT":
        raise BadUserInput("input.messageId", "must be a reply")
    async with context.database.session() as session:
        row = await messages.rate_message(session, context.owner_id, id, rating, comment)
    if row is None:
        raise Forbidden
    [state] = await add_live_state(context, [row])
    return state


async def load_saved(context: Context, id: UUID) -> SavedReply:
    """The message as its row has it. Raises `Forbidden`."""
    async with context.database.driver() as driver:
        rows = await messages.find_owned_messages(driver, context.owner_id, [id])
    if not rows:
        raise Forbidden
    row = rows[0]
    return SavedReply(row.status in RUNNING_STATUSES, row.attempt, row.restarts, parts_from_json(row.parts))
