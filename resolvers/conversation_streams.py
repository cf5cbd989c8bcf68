"""Following a conversation as it changes."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from persistence import conversations, messages
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
        conversation = await _load(context, id)
        if conversation is None:
            raise Forbidden
        if revision is not None and revision > conversation.revision:
            raise BadUserInput("after", "is not a cursor of this conversation")
        seen = conversation.revision if revision is None else revision
        while conversation is not None:
            events, is_whole = await _changes(context, conversation, seen)
            for event in events:
                yield event
            if is_whole:
                seen = conversation.revision
                await watch.changed(POLL_INTERVAL)
            else:
                seen = events[-1].revision
            conversation = await _load(context, id)
        yield ConversationGone(seen + 1)


async def _load(context: Context, id: UUID) -> Conversation | None:
    async with context.database.session() as session:
        found = await conversations.find_owned_conversations(session, context.owner_id, [id])
    return found[0] if found else None


async def _changes(context: Context, conversation: Conversation, seen: int) -> tuple[list[ConversationEvent], bool]:
    """What happened between a revision and this state of the conversation, in order, and whether that is all."""
    if seen >= conversation.revision:
        return [], True
    async with context.database.session() as session:
        rows = await messages.list_changed_messages(
            session, context.owner_id, conversation.id, seen, conversation.revision, BATCH
        )
    is_whole = len(rows) < BATCH
    if not is_whole:
        # The last revision may have more rows than were read.
        rows = [row for row in rows if row.changed_revision < rows[-1].changed_revision]
    until = conversation.revision if is_whole else rows[-1].changed_revision
    changed: list[Conversation | MessageState] = [*await add_live_state(context, rows)]
    if seen < conversation.changed_revision <= until:
        changed.append(conversation)
    changed.sort(key=_revision)
    # Rows of one statement share a revision: a follower goes on after it only once all of them are told.
    revisions = [_revision(item) for item in changed]
    places = [here - (here == later) for here, later in zip(revisions, [*revisions[1:], 0], strict=True)]
    return [_event(item, seen, place) for item, place in zip(changed, places, strict=True)], is_whole


def _revision(item: Conversation | MessageState) -> int:
    row: Conversation | Message = item.row if isinstance(item, MessageState) else item
    return row.changed_revision


def _event(item: Conversation | MessageState, seen: int, place: int) -> ConversationEvent:
    if isinstance(item, MessageState):
        return MessageNews(place, "added" if item.row.added_revision > seen else "changed", item)
    return ConversationNews(place, item)
