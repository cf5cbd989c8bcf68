"""A message and what it consists of."""

from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, cast

import strawberry
from strawberry.scalars import JSON

from agent import parts
from agent.parts import join_text
from resolvers.errors import Forbidden
from resolvers.messages import MessageState, sibling_key
from schema.context import Info
from schema.node import Node
from schema.scalars import StreamCursors
from schema.usage import Usage

if TYPE_CHECKING:
    from schema.conversation import Conversation


@strawberry.enum
class MessageRole(Enum):
    USER = "USER"
    ASSISTANT = "ASSISTANT"


@strawberry.enum
class MessageStatus(Enum):
    QUEUED = "QUEUED"
    STREAMING = "STREAMING"
    AWAITING_APPROVAL = "AWAITING_APPROVAL"
    COMPLETE = "COMPLETE"
    STOPPED = "STOPPED"
    FAILED = "FAILED"


@strawberry.enum
class Rating(Enum):
    UP = "UP"
    DOWN = "DOWN"


@strawberry.enum
class ToolCallStatus(Enum):
    RUNNING = "RUNNING"
    AWAITING_APPROVAL = "AWAITING_APPROVAL"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    DENIED = "DENIED"
    INTERRUPTED = "INTERRUPTED"


@strawberry.enum
class MessageErrorCode(Enum):
    MODEL_UNAVAILABLE = "MODEL_UNAVAILABLE"
    MODEL_RATE_LIMITED = "MODEL_RATE_LIMITED"
    MODEL_REFUSED = "MODEL_REFUSED"
    MODEL_REJECTED_REQUEST = "MODEL_REJECTED_REQUEST"
    CONTEXT_TOO_LONG = "CONTEXT_TOO_LONG"
    STEP_LIMIT = "STEP_LIMIT"
    OUTPUT_LIMIT = strawberry.enum_value(
        "OUTPUT_LIMIT", description="The reply reached LOQUENT_MAX_OUTPUT_TOKENS and ends in the middle."
    )
    INTERNAL = "INTERNAL"


@strawberry.type
class TextPart:
    text: str


@strawberry.type
class ReasoningPart:
    text: str


@strawberry.type
class ToolCallPart:
    id: strawberry.ID
    tool: str
    parameters: JSON
    status: ToolCallStatus
    result: JSON | None = strawberry.field(description="What the tool gave back, once it has run.")

    @classmethod
    def of(cls, call: parts.ToolCallPart) -> "ToolCallPart":
        return cls(
            id=strawberry.ID(call.id),
            tool=call.tool,
            parameters=cast(JSON, call.parameters),
            status=ToolCallStatus[call.status],
            result=cast(JSON | None, call.result),
        )


MessagePart = Annotated[TextPart | ReasoningPart | ToolCallPart, strawberry.union("MessagePart")]


def convert_part(part: parts.Part) -> TextPart | ReasoningPart | ToolCallPart:
    match part:
        case parts.TextPart(text):
            return TextPart(text=text)
        case parts.ReasoningPart(text):
            return ReasoningPart(text=text)
        case parts.ToolCallPart():
            return ToolCallPart.of(part)


@strawberry.type
class MessageError:
    code: MessageErrorCode
    message: str
    retryable: bool


@strawberry.type
class Message(Node):
    state: strawberry.Private[MessageState]
    role: MessageRole
    status: MessageStatus
    error: MessageError | None
    model: str | None = strawberry.field(description="The model that wrote it.")
    usage: Usage | None
    rating: Rating | None
    created_at: datetime
    finished_at: datetime | None

    @strawberry.field
    async def conversation(self, info: Info) -> Annotated["Conversation", strawberry.lazy("schema.conversation")]:
        from schema.conversation import load_conversation

        return await load_conversation(info, self.state.row.conversation_id)

    @strawberry.field(description="The message that this one follows; null for the first.")
    async def parent(self, info: Info) -> "Message | None":
        parent_id = self.state.row.parent_id
        if parent_id is None:
            return None
        state = await info.context.loaders.messages.load(parent_id)
        return None if state is None else Message.of(state)

    @strawberry.field(
        description="All messages with this parent and role, this one included, oldest first: "
        "the versions of an edit or a reply."
    )
    async def versions(self, info: Info) -> "list[Message]":
        states = await info.context.loaders.versions.load(sibling_key(self.state.row))
        return [Message.of(state) for state in states]

    @strawberry.field(description="The text parts joined; of a running reply, the text so far.")
    def text(self) -> str:
        return join_text(self.state.parts)

    @strawberry.field
    def parts(self) -> list[MessagePart]:
        return [convert_part(part) for part in self.state.parts]

    @strawberry.field(description="Where messageStream goes on from this state, without a gap.")
    def cursor(self) -> str:
        return StreamCursors(self.state.row.id).write(self.state.cursor)

    @classmethod
    def of(cls, state: MessageState) -> "Message":
        row = state.row
        error = row.error_code and MessageError(
            code=MessageErrorCode[row.error_code],
            message=row.error_message or "",
            retryable=bool(row.error_retryable),
        )
        return cls(
            id=strawberry.ID(str(row.id)),
            state=state,
            role=MessageRole[row.role],
            status=MessageStatus[row.status],
            error=error or None,
            model=row.model,
            usage=_usage(row),
            rating=Rating[row.rating] if row.rating else None,
            created_at=row.created_at,
            finished_at=row.finished_at,
        )


def _usage(row: Any) -> Usage | None:
    if row.input_tokens is None:
        return None
    return Usage(
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        cache_read_tokens=row.cache_read_tokens,
        cache_write_tokens=row.cache_write_tokens,
    )


async def load_message(info: Info, id: Any) -> Message:
    """The caller's message. Raises `Forbidden`."""
    state = await info.context.loaders.messages.load(id)
    if state is None:
        raise Forbidden
    return Message.of(state)
