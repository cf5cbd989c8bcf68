"""What can be changed."""

from typing import Any
from uuid import UUID

import strawberry

from resolvers import approvals, conversations, exchanges, messages, tasks
from resolvers.exchanges import Newest
from schema.context import Info
from schema.conversation import (
    Conversation,
    CreateConversationInput,
    CreateConversationPayload,
    DeleteConversationInput,
    DeleteConversationPayload,
    UpdateConversationInput,
    UpdateConversationPayload,
)
from schema.exchange import (
    RateMessageInput,
    RateMessagePayload,
    RegenerateMessageInput,
    RegenerateMessagePayload,
    ResolveToolCallInput,
    ResolveToolCallPayload,
    SendMessageInput,
    SendMessagePayload,
    StopMessageInput,
    StopMessagePayload,
)
from schema.message import Message
from schema.scalars import parse_id, parse_optional_id
from schema.task import (
    AddTaskInput,
    AddTaskPayload,
    CompleteTaskInput,
    CompleteTaskPayload,
    DeleteTaskInput,
    DeleteTaskPayload,
    Task,
    UpdateTaskInput,
    UpdateTaskPayload,
)
from schema.tools import offered


def _given(**values: Any) -> dict[str, Any]:
    """Those values that the client gave; null is a value."""
    return {name: value for name, value in values.items() if value is not strawberry.UNSET}


@strawberry.type
class Mutation:
    @strawberry.mutation(
        description="Stores the message and starts the reply, both in one transaction; answers before the model does."
    )
    async def send_message(self, info: Info, input: SendMessageInput) -> SendMessagePayload:
        conversation_id = parse_optional_id("input.conversationId", input.conversation_id)
        parent_id: UUID | Newest | None = Newest.NEWEST
        if input.parent_id is not strawberry.UNSET:
            parent_id = parse_optional_id("input.parentId", input.parent_id)
        exchange = await exchanges.send_message(
            info.context.caller,
            input.text,
            conversation_id=conversation_id,
            parent_id=parent_id,
            idempotency_key=input.idempotency_key,
            model=input.model,
        )
        return SendMessagePayload.of(info.context.caller, exchange)

    @strawberry.mutation(description="A new reply beside an earlier one: same parent, a new branch.")
    async def regenerate_message(self, info: Info, input: RegenerateMessageInput) -> RegenerateMessagePayload:
        exchange = await exchanges.regenerate_message(
            info.context.caller,
            parse_id("input.messageId", input.message_id),
            idempotency_key=input.idempotency_key,
        )
        return RegenerateMessagePayload.of(info.context.caller, exchange)

    @strawberry.mutation(description="Ends a running reply and keeps its text. On a finished reply it changes nothing.")
    async def stop_message(self, info: Info, input: StopMessageInput) -> StopMessagePayload:
        id = parse_id("input.messageId", input.message_id)
        return StopMessagePayload(message=Message.of(await messages.stop_message(info.context.caller, id)))

    @strawberry.mutation(description="Answers a tool call that awaits approval; the reply then goes on.")
    async def resolve_tool_call(self, info: Info, input: ResolveToolCallInput) -> ResolveToolCallPayload:
        state = await approvals.resolve_tool_call(
            info.context.caller,
            parse_id("input.messageId", input.message_id),
            input.tool_call_id,
            approve=input.approve,
            note=input.note,
        )
        return ResolveToolCallPayload(message=Message.of(state))

    @strawberry.mutation
    async def rate_message(self, info: Info, input: RateMessageInput) -> RateMessagePayload:
        id = parse_id("input.messageId", input.message_id)
        rating = input.rating and input.rating.value
        state = await messages.rate_message(info.context.caller, id, rating, input.comment)
        return RateMessagePayload(message=Message.of(state))

    @strawberry.mutation
    async def create_conversation(self, info: Info, input: CreateConversationInput) -> CreateConversationPayload:
        row = await conversations.create_conversation(info.context.caller, input.title, input.model)
        return CreateConversationPayload(conversation=Conversation.from_row(info.context.caller, row))

    @strawberry.mutation
    async def update_conversation(self, info: Info, input: UpdateConversationInput) -> UpdateConversationPayload:
        id = parse_id("input.id", input.id)
        changes = _given(title=input.title, archived=input.archived, model=input.model)
        row = await conversations.update_conversation(info.context.caller, id, changes)
        return UpdateConversationPayload(conversation=Conversation.from_row(info.context.caller, row))

    @strawberry.mutation(description="Deletes it with all its messages, and ends its open streams.")
    async def delete_conversation(self, info: Info, input: DeleteConversationInput) -> DeleteConversationPayload:
        await conversations.delete_conversation(info.context.caller, parse_id("input.id", input.id))
        return DeleteConversationPayload(deleted_id=input.id)

    @strawberry.mutation(metadata=offered("Add one task to the user's to-do list."))
    async def add_task(self, info: Info, input: AddTaskInput) -> AddTaskPayload:
        row = await tasks.add_task(info.context.caller, input.title, input.notes)
        return AddTaskPayload(task=Task.from_row(row))

    @strawberry.mutation(metadata=offered("Change the title or the notes of a task of the user's.", repeatable=True))
    async def update_task(self, info: Info, input: UpdateTaskInput) -> UpdateTaskPayload:
        changes = _given(title=input.title, notes=input.notes)
        # A title cannot be taken away: null keeps it.
        if changes.get("title", "") is None:
            del changes["title"]
        row = await tasks.update_task(info.context.caller, parse_id("input.id", input.id), changes)
        return UpdateTaskPayload(task=Task.from_row(row))

    @strawberry.mutation(metadata=offered("Mark a task of the user's as done, or as open again.", repeatable=True))
    async def complete_task(self, info: Info, input: CompleteTaskInput) -> CompleteTaskPayload:
        id = parse_id("input.id", input.id)
        row = await tasks.update_task(info.context.caller, id, {"done": input.done})
        return CompleteTaskPayload(task=Task.from_row(row))

    @strawberry.mutation(metadata=offered("Delete a task of the user's for good.", needs_approval=True))
    async def delete_task(self, info: Info, input: DeleteTaskInput) -> DeleteTaskPayload:
        await tasks.delete_task(info.context.caller, parse_id("input.id", input.id))
        return DeleteTaskPayload(deleted_id=input.id)
