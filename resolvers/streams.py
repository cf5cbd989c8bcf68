"""Following a reply as it is written."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from uuid import UUID

from resolvers.context import Context
from resolvers.errors import BadUserInput, Forbidden
from resolvers.messages import load_saved
from runs.follow import Cursor, Deliver, InvalidCursor, News, SavedReply, follow_reply


async def follow_message(
    context: Context, id: UUID, cursor: Cursor, deliver: Deliver | None = None
) -> AsyncGenerator[News]:
    """Everything of the caller's message after a cursor; the last event is ReplyFinished.

    What `deliver` can send at once is not in the news. Ends early when the conversation is deleted.
    Raises `Forbidden`, and `BadUserInput` for a foreign cursor.
    """
    seen = False

    async def load() -> SavedReply:
        nonlocal seen
        run = None if seen else context.worker.find_run(id)
        if run is not None and run.owner_id == context.owner_id and cursor.attempt <= run.attempt == 1:
            # Written here, by nobody before, and as far as the reader knows by nobody since: all of it is live.
            saved = SavedReply(running=True, attempt=1, restarts=(), parts=())
        else:
            saved = await load_saved(context, id)
        seen = True
        return saved

    try:
        async with aclosing(follow_reply(context.worker.live, id, cursor, load, deliver)) as stream:
            async for news in stream:
                yield news
    except InvalidCursor:
        raise BadUserInput("after", "is not a cursor of this message") from None
    except Forbidden:
        if not seen:
            raise
