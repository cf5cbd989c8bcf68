"""What a user has spent."""

from datetime import datetime

from agent.model import Usage
from persistence import messages
from resolvers.context import Context


async def sum_usage(context: Context, since: datetime | None) -> Usage:
    """Tokens that the caller spent since a time, or since the UTC day began."""
    async with context.database.session() as session:
        return Usage(*await messages.sum_spending(session, context.owner_id, since))
