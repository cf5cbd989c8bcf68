"""The events of a conversation."""

import strawberry

from schema.conversation import Conversation
from schema.message import Message


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
