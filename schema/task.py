"""The to-do list."""

from datetime import datetime

import strawberry

from persistence import tables
from schema.node import Node


@strawberry.type
class Task(Node):
    title: str
    notes: str | None
    done: bool
    created_at: datetime
    updated_at: datetime

    @classmethod
    def from_row(cls, row: tables.Task) -> "Task":
        return cls(
            id=strawberry.ID(str(row.id)),
            title=row.title,
            notes=row.notes,
            done=row.done,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


@strawberry.input
class AddTaskInput:
    title: str = strawberry.field(description="1 to 200 characters.")
    notes: str | None = strawberry.field(default=None, description="Up to 10,000 characters.")


@strawberry.type
class AddTaskPayload:
    task: Task


@strawberry.input
class UpdateTaskInput:
    id: strawberry.ID
    title: str | None = strawberry.field(default=strawberry.UNSET, description="Leave it out to keep it.")
    notes: str | None = strawberry.field(
        default=strawberry.UNSET, description="Leave it out to keep them; null takes them away."
    )


@strawberry.type
class UpdateTaskPayload:
    task: Task


@strawberry.input
class CompleteTaskInput:
    id: strawberry.ID
    done: bool = strawberry.field(default=True, description="False to open it again.")


@strawberry.type
class CompleteTaskPayload:
    task: Task


@strawberry.input
class DeleteTaskInput:
    id: strawberry.ID


@strawberry.type
class DeleteTaskPayload:
    deleted_id: strawberry.ID
