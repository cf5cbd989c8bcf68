"""Asking: what the mutations on messages take and answer."""

import strawberry

from resolvers.context import Context
from resolvers.exchanges import Exchange
from resolvers.messages import finish_message
from schema.context import Info
from schema.conversation import Conversation
from schema.message import Message, Rating


@strawberry.input
class SendMessageInput:
    text: str = strawberry.field(description="1 to 32,000 characters.")
    conversation_id: strawberry.ID | None = strawberry.field(
        default=None, description="Leave it out to begin a new conversation."
    )
    parent_id: strawberry.ID | None = strawberry.field(
        default=strawberry.UNSET,
        description="The message to follow (default: the conversation's newest). To edit a message, give its "
        "parent; null with a conversationId edits the first.",
    )
    idempotency_key: str | None = strawberry.field(
        default=None,
        description="Up to 200 characters. A second call with the same key gives the first call's answer and "
        "stores nothing.",
    )
    model: str | None = strawberry.field(
        default=None,
        description="One of Query.models, for a new conversation only: another's is changed by updateConversation.",
    )


async def _finish(info: Info, reply: Message) -> Message:
    return Message.of(await info.context.wait_for(finish_message(info.context.caller, reply.state.row.id)))


@strawberry.type
class SendMessagePayload:
    conversation: Conversation
    message: Message
    reply: Message = strawberry.field(
        description="The reply, not yet written: subscribe to messageStream(messageId: reply.id)."
    )

    @strawberry.field(description="The same reply, when it has finished: select it to wait for the whole answer.")
    async def finished_reply(self, info: Info) -> Message:
        return await _finish(info, self.reply)

    @classmethod
    def of(cls, caller: Context, exchange: Exchange) -> "SendMessagePayload":
        return cls(
            conversation=Conversation.from_row(caller, exchange.conversation),
            message=Message.of(exchange.question),
            reply=Message.of(exchange.reply),
        )


@strawberry.input
class RegenerateMessageInput:
    message_id: strawberry.ID
    idempotency_key: str | None = None


@strawberry.type
class RegenerateMessagePayload:
    conversation: Conversation
    reply: Message

    @strawberry.field
    async def finished_reply(self, info: Info) -> Message:
        return await _finish(info, self.reply)

    @classmethod
    def of(cls, caller: Context, exchange: Exchange) -> "RegenerateMessagePayload":
        return cls(conversation=Conversation.from_row(caller, exchange.conversation), reply=Message.of(exchange.reply))


@strawberry.input
class StopMessageInput:
    message_id: strawberry.ID


@strawberry.type
class StopMessagePayload:
    message: Message


@strawberry.input
class ResolveToolCallInput:
    message_id: strawberry.ID
    tool_call_id: strawberry.ID
    approve: bool
    note: str | None = None


@strawberry.type
class ResolveToolCallPayload:
    message: Message


@strawberry.input
class RateMessageInput:
    message_id: strawberry.ID
    rating: Rating | None = None
    comment: str | None = None


@strawberry.type
class RateMessagePayload:
    message: Message
