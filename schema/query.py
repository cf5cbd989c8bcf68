"""What can be read."""

from functools import partial

import strawberry

from resolvers.conversations import list_conversations
from resolvers.errors import Forbidden
from resolvers.tasks import list_tasks
from schema.context import Info
from schema.conversation import Conversation, load_conversation
from schema.message import Message, load_message
from schema.model import Model, list_models
from schema.node import Node
from schema.paging import Connection, connect, read_window
from schema.scalars import (
    conversation_cursor,
    parse_id,
    read_conversation_cursor,
    read_task_cursor,
    task_cursor,
)
from schema.task import Task
from schema.tools import offered
from schema.viewer import Viewer


@strawberry.type
class Query:
    @strawberry.field(description="Who is asking: the subject of the bearer token.")
    def viewer(self, info: Info) -> Viewer:
        return Viewer(id=strawberry.ID(info.context.caller.owner_id))

    @strawberry.field(description="What may be chosen as Conversation.model; the default first.")
    def models(self, info: Info) -> list[Model]:
        return list_models(info.context.caller.models)

    @strawberry.field
    async def node(self, info: Info, id: strawberry.ID) -> Node | None:
        key = parse_id("id", id)
        loaders = info.context.loaders
        if conversation := await loaders.conversations.load(key):
            return Conversation.from_row(info.context.caller, conversation)
        if message := await loaders.messages.load(key):
            return Message.of(message)
        if task := await loaders.tasks.load(key):
            return Task.from_row(task)
        raise Forbidden

    @strawberry.field
    async def conversation(self, info: Info, id: strawberry.ID) -> Conversation | None:
        return await load_conversation(info, parse_id("id", id))

    @strawberry.field(description="Newest activity first. `search` is full-text over titles and messages.")
    async def conversations(
        self,
        info: Info,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        search: str | None = None,
        archived: bool = False,
    ) -> Connection[Conversation]:
        window = read_window(first, after, last, before, read_conversation_cursor)
        page = await list_conversations(info.context.caller, window, archived=archived, search=search)
        return connect(page, conversation_cursor, partial(Conversation.from_row, info.context.caller))

    @strawberry.field
    async def message(self, info: Info, id: strawberry.ID) -> Message | None:
        return await load_message(info, parse_id("id", id))

    @strawberry.field(
        description="The viewer's to-do list, oldest first. Also a tool of the agent.",
        metadata=offered("Look at the user's to-do list, oldest first.", repeatable=True),
    )
    async def tasks(
        self,
        info: Info,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        done: bool | None = None,
    ) -> Connection[Task]:
        window = read_window(first, after, last, before, read_task_cursor)
        return connect(await list_tasks(info.context.caller, window, done=done), task_cursor, Task.from_row)
