"""The events of a reply as it is written."""

import strawberry

from resolvers.context import Context
from resolvers.messages import MessageState, load_message
from runs import follow, log
from runs.follow import News
from schema.message import Message, ToolCallPart
from schema.scalars import StreamCursors


@strawberry.interface
class MessageStreamEvent:
    cursor: str


@strawberry.type(
    description="Text to put at `offset` of part `part`, in UTF-16 code units (a JavaScript string index): "
    "applying it twice is harmless."
)
class TextDelta(MessageStreamEvent):
    part: int
    offset: int
    text: str


@strawberry.type(description="As TextDelta, for what the model thinks.")
class ReasoningDelta(MessageStreamEvent):
    part: int
    offset: int
    text: str


@strawberry.type
class ToolCallStarted(MessageStreamEvent):
    part: int
    tool_call: ToolCallPart


@strawberry.type
class ToolCallAwaitingApproval(MessageStreamEvent):
    part: int
    tool_call: ToolCallPart


@strawberry.type
class ToolCallFinished(MessageStreamEvent):
    part: int
    tool_call: ToolCallPart


@strawberry.type(
    description="The reply is being written anew from part `part` (its node died): drop that part and all after it."
)
class StreamRestarted(MessageStreamEvent):
    part: int


@strawberry.type
class MessageFinished(MessageStreamEvent):
    message: Message


EVENTS = (
    TextDelta,
    ReasoningDelta,
    ToolCallStarted,
    ToolCallAwaitingApproval,
    ToolCallFinished,
    StreamRestarted,
    MessageFinished,
)


async def convert_news(caller: Context, cursors: StreamCursors, news: News) -> list[MessageStreamEvent]:
    """The events of a message, as the contract has them."""
    converted: list[MessageStreamEvent] = []
    for event in news.events:
        cursor = cursors.write(news.cursor(event))
        match event:
            case log.TextDelta(_, part, offset, text):
                converted.append(TextDelta(cursor=cursor, part=part, offset=offset, text=text))
            case log.ReasoningDelta(_, part, offset, text):
                converted.append(ReasoningDelta(cursor=cursor, part=part, offset=offset, text=text))
            case log.ToolCallStarted(_, part, call):
                converted.append(ToolCallStarted(cursor=cursor, part=part, tool_call=ToolCallPart.of(call)))
            case log.ToolCallAwaitingApproval(_, part, call):
                converted.append(ToolCallAwaitingApproval(cursor=cursor, part=part, tool_call=ToolCallPart.of(call)))
            case log.ToolCallFinished(_, part, call):
                converted.append(ToolCallFinished(cursor=cursor, part=part, tool_call=ToolCallPart.of(call)))
            case log.StreamRestarted(_, part):
                converted.append(StreamRestarted(cursor=cursor, part=part))
            case follow.ReplyFinished(_, reply):
                state = MessageState(reply) if reply else await load_message(caller, cursors.message_id)
                converted.append(MessageFinished(cursor=cursor, message=Message.of(state)))
    return converted
