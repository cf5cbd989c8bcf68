"""What a user has spent."""

from datetime import UTC, datetime

from agent.model import Usage
from persistence import messages
from resolvers.context import Context
from resolvers.errors import BadUserInput


async def sum_usage(context: Context, since: datetime | None) -> Usage:
    """Tokens that the caller spent since a time, or since the UTC day began. Raises `BadUserInput`."""
    if since is not None:
        # A time without a zone is one of UTC, wherever the server stands.
        aware = since if since.tzinfo else since.replace(tzinfo=UTC)
        try:
            since = aware.astimezone(UTC)
        except OverflowError:
            raise BadUserInput("since", "is beyond the ends of time") from None
    async with context.database.session() as session:
        return Usage(*await messages.sum_spending(session, context.owner_id, since))
