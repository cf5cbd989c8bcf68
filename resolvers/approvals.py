"""Tool calls that wait for the user's word."""

from dataclasses import replace
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from agent.parts import Part, ToolCallPart, next_order, parts_from_json, parts_to_json
from persistence import conversations, messages
from persistence.tables import Message
from resolvers.context import Context
from resolvers.errors import Conflict, Forbidden
from resolvers.inputs import LONGEST_COMMENT, check_optional_text
from resolvers.messages import MessageState, announce, load_message


async def resolve_tool_call(
    context: Context, message_id: UUID, tool_call_id: str, *, approve: bool, note: str | None
) -> MessageState:
    """Answer a tool call that awaits approval; with the last answer the reply goes on.

    A denied call ends there, and the model is told, with the note. Raises `Forbidden`, also where the message has no
    such call, `BadUserInput`, and `Conflict` where it awaits nothing (any more).
    """
    check_optional_text("input.note", note, LONGEST_COMMENT)
    async with context.database.transaction() as session:
        message = await _lock_message(session, context.owner_id, message_id)
        parts = parts_from_json(message.parts)
        index, call = _find_call(parts, tool_call_id)
        if call.status != "AWAITING_APPROVAL" or message.status != "AWAITING_APPROVAL":
            raise Conflict("The tool call does not await approval (any more).")
        parts[index] = replace(call, status="RUNNING") if approve else _deny(parts, call, note)
        waits = any(isinstance(part, ToolCallPart) and part.status == "AWAITING_APPROVAL" for part in parts)
        await messages.save_parked(session, message, parts_to_json(parts), waits=waits)
    context.worker.live.notify(message_id)
    announce(context, message.conversation_id)
    return await load_message(context, message_id)


def _find_call(parts: list[Part], tool_call_id: str) -> tuple[int, ToolCallPart]:
    for index, part in enumerate(parts):
        if isinstance(part, ToolCallPart) and part.id == tool_call_id:
            return index, part
    raise Forbidden


def _deny(parts: list[Part], call: ToolCallPart, note: str | None) -> ToolCallPart:
    result = {"denied": note or "The user did not agree."}
    return replace(call, status="DENIED", result=result, order=next_order(parts))


async def _lock_message(session: AsyncSession, owner_id: str, message_id: UUID) -> Message:
    """The message as it is once nobody else can change its conversation. Raises `Forbidden`."""
    for lock in (True, False):
        found = await messages.find_owned_messages(session, owner_id, [message_id])
        if not found:
            raise Forbidden
        if lock:
            await conversations.lock_owned_conversation(session, owner_id, found[0].conversation_id)
            # What was read before the lock may be old.
            session.expunge_all()
    return found[0]
