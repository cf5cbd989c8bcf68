"""The events of a conversation."""

from uuid import UUID

import strawberry

from resolvers.context import Context
from resolvers.conversation_streams import ConversationEvent, ConversationGone, ConversationNews, MessageNews
from schema.conversation import Conversation
from schema.message import Message
from schema.scalars import revision_cursor


@strawberry.interface
class ConversationStreamEvent:
    cursor: str


@strawberry.type
class MessageAdded(ConversationStreamEvent):
    message: Message


@strawberry.type
class MessageChanged(ConversationStreamEvent):
    message: Message


@strawberry.type
class ConversationChanged(ConversationStreamEvent):
    conversation: Conversation


@strawberry.type
class ConversationDeleted(ConversationStreamEvent):
    conversation_id: strawberry.ID


EVENTS = (MessageAdded, MessageChanged, ConversationChanged, ConversationDeleted)


def convert_event(caller: Context, id: UUID, event: ConversationEvent) -> ConversationStreamEvent:
    """An event of a conversation, as the contract has it."""
    cursor = revision_cursor(id, event.revision)
    match event:
        case MessageNews(_, kind, state):
            change = MessageAdded if kind == "added" else MessageChanged
            return change(cursor=cursor, message=Message.of(state))
        case ConversationNews(_, conversation):
            return ConversationChanged(cursor=cursor, conversation=Conversation.from_row(caller, conversation))
        case ConversationGone():
            return ConversationDeleted(cursor=cursor, conversation_id=strawberry.ID(str(id)))
