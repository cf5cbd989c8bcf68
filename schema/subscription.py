"""What can be followed."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import strawberry

from resolvers.conversation_streams import follow_conversation
from resolvers.streams import follow_message
from runs.follow import Cursor
from schema.context import Info
from schema.conversation_stream import ConversationStreamEvent, convert_event
from schema.message_stream import MessageStreamEvent, convert_news
from schema.scalars import StreamCursors, parse_id, read_revision_cursor


@strawberry.type
class Subscription:
    @strawberry.subscription(
        description="""
One reply as it is written, from its beginning or from `after` (the cursor of an event or of the Message).
Every event once and in order, on any node, during the run and after it; ends with MessageFinished.
"""
    )
    async def message_stream(
        self, info: Info, message_id: strawberry.ID, after: str | None = None
    ) -> AsyncGenerator[MessageStreamEvent]:
        caller = info.context.caller
        cursors = StreamCursors(parse_id("messageId", message_id))
        start = Cursor() if after is None else cursors.read(after)
        deliver = info.context.find_delivery(cursors)
        async with aclosing(follow_message(caller, cursors.message_id, start, deliver)) as stream:
            async for news in stream:
                for event in await convert_news(caller, cursors, news):
                    yield event

    @strawberry.subscription(
        description="""
What changes in one conversation, from now or from `after` (a cursor of this stream or of the Conversation):
messages added, messages that changed status, the conversation itself. Tokens come by messageStream.
"""
    )
    async def conversation_stream(
        self, info: Info, conversation_id: strawberry.ID, after: str | None = None
    ) -> AsyncGenerator[ConversationStreamEvent]:
        id = parse_id("conversationId", conversation_id)
        revision = None if after is None else read_revision_cursor(id, after)
        async with aclosing(follow_conversation(info.context.caller, id, revision)) as stream:
            async for event in stream:
                yield convert_event(info.context.caller, id, event)
