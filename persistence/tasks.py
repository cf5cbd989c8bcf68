"""Every statement on tasks. Each names the owner: another's task is not found."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from persistence.pages import Page, Window, fetch_page
from persistence.statements import Executor
from persistence.tables import Task


async def insert_task(session: AsyncSession, owner_id: str, title: str, notes: str | None) -> Task:
    task = Task(owner_id=owner_id, title=title, notes=notes)
    session.add(task)
    await session.flush()
    await session.refresh(task)
    return task


async def find_owned_tasks(session: AsyncSession, owner_id: str, ids: Collection[UUID]) -> Sequence[Task]:
    """Those of `ids` that the owner has, in no order."""
    return (await session.scalars(select(Task).where(Task.owner_id == owner_id, col(Task.id).in_(ids)))).all()


async def list_tasks(executor: Executor, owner_id: str, window: Window, *, done: bool | None) -> Page[Task]:
    """Oldest first; with `done`, only those in that state."""
    condition = "owner_id = :owner_id" + ("" if done is None else f" and done is {done}")
    return await fetch_page(executor, Task, condition, {"owner_id": owner_id}, window, ("created_at", "id"))


async def update_task(session: AsyncSession, owner_id: str, task_id: UUID, *, changes: dict[str, Any]) -> Task | None:
    """Set the columns that `changes` names; None where the owner has no such task."""
    statement = (
        update(Task)
        .where(col(Task.owner_id) == owner_id, col(Task.id) == task_id)
        .values(**changes, updated_at=func.now())
        .returning(Task)
    )
    return (await session.execute(statement)).scalar_one_or_none()


async def delete_task(session: AsyncSession, owner_id: str, task_id: UUID) -> bool:
    """False where the owner has no such task."""
    statement = delete(Task).where(col(Task.owner_id) == owner_id, col(Task.id) == task_id)
    return bool((await session.execute(statement)).rowcount)  # type: ignore[attr-defined]
