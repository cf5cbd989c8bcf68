"""A conversation is named after its first exchange, beside the replies that follow."""

import asyncio
import logging

from agent.model import Model, Usage
from agent.title import write_title
from persistence import conversations, runs
from persistence.database import Database
from persistence.runs import ClaimedRun
from runs.live import LiveReplies

logger = logging.getLogger(__name__)

#: Seconds that naming a conversation may take.
TITLE_TIMEOUT = 30.0


async def name_conversation(
    database: Database, live: LiveReplies, model: Model, title_model: str, run: ClaimedRun, question: str, answer: str
) -> None:
    """Give the conversation of a run a title by the model `title_model`; one that fails is left to the next reply."""
    usage = Usage()
    try:
        async with asyncio.timeout(TITLE_TIMEOUT):
            title = await write_title(model, title_model, question, answer, usage)
        async with database.session() as session:
            if title is not None:
                await conversations.name_conversation(session, run.conversation_id, title)
            await runs.record_spending(await session.connection(), run.owner_id, usage.as_columns())
    except Exception as error:
        logger.warning("conversation %s: no title: %s", run.conversation_id, error)
    live.notify(run.conversation_id)
