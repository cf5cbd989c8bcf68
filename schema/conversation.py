"""A conversation."""

from datetime import datetime
from uuid import UUID

import strawberry

from persistence import tables
from persistence.branches import Branch
from resolvers.context import Context
from resolvers.errors import BadUserInput, Forbidden
from schema.context import Info
from schema.message import Message
from schema.node import Node
from schema.paging import Connection, connect, read_window
from schema.scalars import message_cursor, message_cursor_reader, parse_optional_id, revision_cursor
from schema.usage import Usage


@strawberry.type
class Conversation(Node):
    row: strawberry.Private[tables.Conversation]
    title: str | None = strawberry.field(description="Named after its first exchange, unless the user named it.")
    model: str = strawberry.field(
        description="The model that writes its replies, unless it is no longer offered: then the default."
    )
    created_at: datetime
    updated_at: datetime = strawberry.field(description="Time of the newest message or change.")
    archived_at: datetime | None

    @strawberry.field(
        description="The branch that ends in `leaf` (default: the newest message), or the one that goes `through` a "
        "message and from there by the newest versions; oldest first; default page: the last 20."
    )
    async def messages(
        self,
        info: Info,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        leaf: strawberry.ID | None = None,
        through: strawberry.ID | None = None,
    ) -> Connection[Message]:
        window = read_window(first, after, last, before, message_cursor_reader(self.row.id), default_from_end=True)
        if leaf is not None and through is not None:
            raise BadUserInput("through", "cannot be given beside `leaf`")
        branch = Branch(self.row.id, parse_optional_id("leaf", leaf), parse_optional_id("through", through))
        page = await info.context.loaders.branches.load((branch, window))
        return connect(page, lambda state: message_cursor(state.row), Message.of)

    @strawberry.field
    def usage(self) -> Usage:
        return Usage(
            input_tokens=self.row.input_tokens,
            output_tokens=self.row.output_tokens,
            cache_read_tokens=self.row.cache_read_tokens,
            cache_write_tokens=self.row.cache_write_tokens,
        )

    @strawberry.field(description="Where conversationStream goes on from this state, without a gap.")
    def cursor(self) -> str:
        return revision_cursor(self.row.id, self.row.revision)

    @classmethod
    def from_row(cls, caller: Context, row: tables.Conversation) -> "Conversation":
        return cls(
            id=strawberry.ID(str(row.id)),
            row=row,
            title=row.title,
            model=caller.models.choose(row.model),
            created_at=row.created_at,
            updated_at=row.updated_at,
            archived_at=row.archived_at,
        )


async def load_conversation(info: Info, id: UUID) -> Conversation:
    """The caller's conversation. Raises `Forbidden`."""
    row = await info.context.loaders.conversations.load(id)
    if row is None:
        raise Forbidden
    return Conversation.from_row(info.context.caller, row)


@strawberry.input
class CreateConversationInput:
    title: str | None = strawberry.field(default=None, description="1 to 200 characters.")
    model: str | None = strawberry.field(default=None, description="One of Query.models; leave it out for the default.")


@strawberry.type
class CreateConversationPayload:
    conversation: Conversation


@strawberry.input
class UpdateConversationInput:
    id: strawberry.ID
    title: str | None = strawberry.field(
        default=strawberry.UNSET, description="Leave it out to keep it; null lets the model name it again."
    )
    archived: bool | None = strawberry.field(default=strawberry.UNSET, description="Leave it out to keep it.")
    model: str | None = strawberry.field(
        default=strawberry.UNSET,
        description="One of Query.models, for replies that are asked for from now on. Leave it out to keep it; "
        "null chooses the default again.",
    )


@strawberry.type
class UpdateConversationPayload:
    conversation: Conversation


@strawberry.input
class DeleteConversationInput:
    id: strawberry.ID


@strawberry.type
class DeleteConversationPayload:
    deleted_id: strawberry.ID
