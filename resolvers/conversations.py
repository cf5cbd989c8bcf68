"""What a user may do with conversations."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from persistence import conversations
from persistence.pages import Page, Window
from persistence.tables import Conversation
from resolvers.context import Context
from resolvers.errors import Forbidden
from resolvers.inputs import LONGEST_SEARCH, LONGEST_TITLE, check_model, check_optional_text, check_text


async def load_conversations(context: Context, ids: Sequence[UUID]) -> list[Conversation | None]:
    """The caller's conversations with these ids, in their order; None for what is not theirs."""
    async with context.database.driver() as driver:
        found = await conversations.find_owned_conversations(driver, context.owner_id, ids)
    by_id = {conversation.id: conversation for conversation in found}
    return [by_id.get(id) for id in ids]


async def list_conversations(
    context: Context, window: Window, *, archived: bool, search: str | None
) -> Page[Conversation]:
    """The caller's conversations, newest activity first."""
    check_optional_text("search", search, LONGEST_SEARCH)
    async with context.database.driver() as driver:
        return await conversations.list_conversations(
            driver, context.owner_id, window, archived=archived, search=search
        )


async def create_conversation(context: Context, title: str | None, model: str | None) -> Conversation:
    """A new, empty conversation, whose replies the model writes (None: the default). Raises `BadUserInput`."""
    check_model("input.model", model, context.models)
    if title is not None:
        title = check_text("input.title", title, LONGEST_TITLE)
    async with context.database.driver() as driver:
        return await conversations.insert_conversation(driver, context.owner_id, title, model)


async def update_conversation(context: Context, id: UUID, changes: dict[str, Any]) -> Conversation:
    """Make `changes`, which may have `title`, `archived` and `model`. Raises `Forbidden` and `BadUserInput`."""
    check_model("input.model", changes.get("model"), context.models)
    if changes.get("title") is not None:
        check_text("input.title", changes["title"], LONGEST_TITLE)
    async with context.database.session() as session:
        changed = await conversations.update_conversation(session, context.owner_id, id, changes=changes)
    if changed is None:
        raise Forbidden
    context.worker.live.notify(id)
    return changed


async def delete_conversation(context: Context, id: UUID) -> UUID:
    """Delete with all messages; replies under way end, and so do their streams. Raises `Forbidden`."""
    async with context.database.transaction() as session:
        running = await conversations.delete_conversation(session, context.owner_id, id)
    if running is None:
        raise Forbidden
    for message_id in running:
        context.worker.lose_reply(message_id)
    context.worker.live.notify(id)
    return id
