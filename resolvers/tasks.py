"""What a user may do with their to-do list."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from persistence import tasks
from persistence.pages import Page, Window
from persistence.tables import Task
from resolvers.context import Context
from resolvers.errors import Forbidden
from resolvers.inputs import LONGEST_NOTES, LONGEST_TITLE, check_optional_text, check_text


async def load_tasks(context: Context, ids: Sequence[UUID]) -> list[Task | None]:
    """The caller's tasks with these ids, in their order; None for what is not theirs."""
    async with context.database.session() as session:
        by_id = {task.id: task for task in await tasks.find_owned_tasks(session, context.owner_id, ids)}
    return [by_id.get(id) for id in ids]


async def list_tasks(context: Context, window: Window, *, done: bool | None) -> Page[Task]:
    """The caller's tasks, oldest first."""
    async with context.database.session() as session:
        return await tasks.list_tasks(session, context.owner_id, window, done=done)


async def add_task(context: Context, title: str, notes: str | None) -> Task:
    """Raises `BadUserInput`."""
    check_text("input.title", title, LONGEST_TITLE)
    check_optional_text("input.notes", notes, LONGEST_NOTES)
    async with context.database.session() as session:
        return await tasks.insert_task(session, context.owner_id, title, notes)


async def update_task(context: Context, id: UUID, changes: dict[str, Any]) -> Task:
    """Set those of `title`, `notes` and `done` that `changes` has. Raises `Forbidden` and `BadUserInput`."""
    if "title" in changes:
        check_text("input.title", changes["title"], LONGEST_TITLE)
    check_optional_text("input.notes", changes.get("notes"), LONGEST_NOTES)
    async with context.database.session() as session:
        changed = await tasks.update_task(session, context.owner_id, id, changes=changes)
    if changed is None:
        raise Forbidden
    return changed


async def delete_task(context: Context, id: UUID) -> UUID:
    """Raises `Forbidden`."""
    async with context.database.session() as session:
        if not await tasks.delete_task(session, context.owner_id, id):
            raise Forbidden
    return id
