"""Following a conversation as it changes."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal
from uuid import UUID

from persistence import conversations
from persistence.tables import Conversation, Message
from resolvers.context import Context
from resolvers.errors import BadUserInput, Forbidden
from resolvers.messages import MessageState, add_live_state

#: Seconds after which a follower looks at the rows although nobody woke it.
POLL_INTERVAL = 1.0
#: Changes that one look takes in at the most.
BATCH = 100


@dataclass(frozen=True, slots=True)
class MessageNews:
    """A message that is new, or whose status changed; `revision` is where a follower goes on after it."""

    revision: int
    kind: Literal["added", "changed"]
    state: MessageState


@dataclass(frozen=True, slots=True)
class ConversationNews:
    """The conversation itself changed."""

    revision: int
    conversation: Conversation


@dataclass(frozen=True, slots=True)
class ConversationGone:
    """The conversation was deleted: nothing more will come."""

    revision: int


ConversationEvent = MessageNews | ConversationNews | ConversationGone


async def follow_conversation(context: Context, id: UUID, revision: int | None) -> AsyncGenerator[ConversationEvent]:
    """What changed in the caller's conversation after a revision, or from now on.

    Level-triggered: of several changes of one message between two looks, only the last is told. Raises
    `Forbidden`, and `BadUserInput` for a revision that has not been.
    """
    with context.worker.live.watch(id) as watch:
        look = await _look(context, id, revision)
        if look is None:
            raise Forbidden
        if revision is not None and revision > look.revision:
            raise BadUserInput("after", "is not a cursor of this conversation")
        while look is not None:
            for event in look.events:
                yield event
            seen = look.until
            if look.is_whole:
                await watch.changed(POLL_INTERVAL)
            look = await _look(context, id, seen)
        yield ConversationGone(seen + 1)


@dataclass(frozen=True, slots=True)
class _Look:
    """What a follower finds in the rows at one moment."""

    #: The conversation's revision.
    revision: int
    events: list[ConversationEvent]
    #: The revision up to which all is told.
    until: int
    is_whole: bool


async def _look(context: Context, id: UUID, seen: int | None, batch: int = BATCH) -> _Look | None:
    """What changed after a revision; None where the caller has no such conversation (any more)."""
    async with context.database.session() as session:
        found = await conversations.find_changes(session, context.owner_id, id, seen, batch)
    if found is None:
        return None
    conversation, rows = found
    if seen is None:
        return _Look(conversation.revision, [], conversation.revision, is_whole=True)
    is_whole = len(rows) < batch
    until = conversation.revision
    if not is_whole:
        # The last revision may have more rows than were read.
        until = _place(rows[-1], seen) - 1
        rows = [row for row in rows if _place(row, seen) <= until]
        if not rows:
            return await _look(context, id, seen, batch * 4)
    events: list[ConversationEvent] = []
    for state in await add_live_state(context, rows):
        row = state.row
        if row.added_revision > seen:
            events.append(MessageNews(row.added_revision, "added", state))
        if max(seen, row.added_revision) < row.changed_revision <= until:
            events.append(MessageNews(row.changed_revision, "changed", state))
    if seen < conversation.changed_revision <= until:
        events.append(ConversationNews(conversation.changed_revision, conversation))
    events.sort(key=lambda event: event.revision)
    # Rows of one statement share a revision: a follower goes on after it only once all of them are told.
    for index, (event, later) in enumerate(pairwise(events)):
        if event.revision == later.revision:
            events[index] = replace(event, revision=event.revision - 1)
    return _Look(conversation.revision, events, until, is_whole)


def _place(row: Message, seen: int) -> int:
    """The first revision after `seen` at which something of the message is to be told."""
    return row.added_revision if row.added_revision > seen else row.changed_revision
