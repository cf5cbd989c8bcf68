"""What a user may do with messages: read, stop, rate."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from uuid import UUID

from agent.draft import Draft
from agent.model import Usage
from agent.parts import Part, join_text, parts_from_json, parts_to_json
from persistence import branches, messages, runs
from persistence.branches import Branch
from persistence.pages import Page, Window
from persistence.runs import ClaimedRun, FinishedReply
from persistence.statements import Executor
from persistence.tables import RUNNING_STATUSES, Message
from resolvers.context import Context
from resolvers.errors import BadUserInput, Forbidden
from resolvers.inputs import LONGEST_COMMENT, check_optional_text
from runs.follow import Cursor, SavedReply, wait_for_end
from runs.log import LogReader, read_parts, write_log

#: Seconds that `stop_message` waits for the runner, and `finish_message` for the reply, at the most.
STOP_TIMEOUT, FINISH_TIMEOUT = 5.0, 3600.0


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
    """A page of each branch, oldest first; `Forbidden` in the place of a message outside its conversation."""
    through = {branch.through_id for branch, _ in asked if branch.through_id}
    async with context.database.driver() as driver:
        if through:
            ends = await branches.find_newest_leaves(driver, context.owner_id, through)
            # Of a message that is not theirs there is no end: it stands for itself, and is refused below.
            asked = [
                (replace(one, leaf_id=ends.get(one.through_id, one.through_id)), window)
                if one.through_id
                else (one, window)
                for one, window in asked
            ]
        leaves = {branch.leaf_id for branch, _ in asked if branch.leaf_id}
        rows = await messages.find_owned_messages(driver, context.owner_id, leaves) if leaves else ()
        pages = await branches.fetch_branches(driver, context.owner_id, asked)
    homes = {row.id: row.conversation_id for row in rows}
    return [
        Page(await add_live_state(context, page.rows), page.has_previous, page.has_next)
        if branch.leaf_id is None or homes.get(branch.leaf_id) == branch.conversation_id
        else Forbidden()
        for (branch, _), page in zip(asked, pages, strict=True)
    ]


def announce(context: Context, conversation_id: UUID) -> None:
    """After the commit: hint that a run may be taken, and at the change of the conversation."""
    context.worker.wake()
    context.worker.live.notify(conversation_id)


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
