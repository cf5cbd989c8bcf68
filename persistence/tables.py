"""The tables, as the newest migration leaves them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, TSVECTOR
from sqlalchemy.orm import configure_mappers
from sqlmodel import Field, SQLModel

from persistence.identifiers import new_id

#: A reply in one of these states has a run; in any other its text never changes again.
RUNNING_STATUSES = frozenset({"QUEUED", "STREAMING", "AWAITING_APPROVAL"})

_NOW = {"server_default": text("now()")}
_ZERO = {"server_default": text("0")}


def _owned_by_conversation() -> Any:
    return Field(sa_column_args=[ForeignKey("conversation.id", ondelete="CASCADE")])


class Conversation(SQLModel, table=True):
    """A tree of messages that belongs to one owner."""

    __tablename__ = "conversation"
    __table_args__ = (Index("conversation_by_activity", "owner_id", "updated_at", "id"),)

    id: UUID = Field(default_factory=new_id, primary_key=True)
    owner_id: str = Field(sa_type=Text)
    title: str | None = Field(default=None, sa_type=Text)
    created_at: datetime = Field(default=None, sa_column_kwargs=_NOW)
    #: Time of the newest message or change: the order of the list.
    updated_at: datetime = Field(default=None, sa_column_kwargs=_NOW)
    archived_at: datetime | None = None
    #: Which model its replies are asked of from now on; None for the default.
    model: str | None = Field(default=None, sa_type=Text)
    #: Where the branch ends that is shown when none is asked for.
    newest_message_id: UUID | None = None
    #: Raised by each change of it or of a message, under this row's lock.
    revision: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs=_ZERO)
    #: The revision at which it changed itself.
    changed_revision: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs=_ZERO)
    #: What its replies cost so far; kept here so that a long conversation is not summed for each page.
    input_tokens: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs=_ZERO)
    output_tokens: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs=_ZERO)
    cache_read_tokens: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs=_ZERO)
    cache_write_tokens: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs=_ZERO)


class Message(SQLModel, table=True):
    """A question or a reply: a node in its conversation's tree."""

    __tablename__ = "message"
    __table_args__ = (
        CheckConstraint("role in ('USER', 'ASSISTANT')", name="message_role"),
        CheckConstraint(
            "status in ('QUEUED', 'STREAMING', 'AWAITING_APPROVAL', 'COMPLETE', 'STOPPED', 'FAILED')",
            name="message_status",
        ),
        CheckConstraint("rating in ('UP', 'DOWN')", name="message_rating"),
        Index("message_by_change", "conversation_id", "changed_revision"),
        Index(
            "message_idempotency_key",
            "owner_id",
            "idempotency_key",
            unique=True,
            postgresql_where=text("idempotency_key is not null"),
        ),
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    conversation_id: UUID = _owned_by_conversation()
    #: The conversation's owner, here too so that ownership is part of every query on messages alone.
    owner_id: str = Field(sa_type=Text)
    #: No foreign key: messages leave only with their whole conversation, and a key would make that slow.
    parent_id: UUID | None = None
    #: How many messages stand before it on its branch.
    depth: int = 0
    #: An ancestor far up: with it any depth of a branch is found in O(log depth) steps.
    jump_id: UUID
    jump_depth: int = 0
    role: str = Field(sa_type=Text)
    status: str = Field(sa_type=Text)
    #: What it consists of, as `agent.parts` writes it. Plain json keeps the model's own order of keys.
    parts: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON)
    #: Which attempt of its run wrote it last; 0 before the first.
    attempt: int = Field(default=0, sa_column_kwargs=_ZERO)
    #: Per attempt after the first, the position at which it went on.
    restarts: list[int] = Field(
        default_factory=list,
        sa_column=Column(ARRAY(Integer), nullable=False, server_default=text("'{}'")),
    )
    error_code: str | None = Field(default=None, sa_type=Text)
    error_message: str | None = Field(default=None, sa_type=Text)
    error_retryable: bool | None = None
    model: str | None = Field(default=None, sa_type=Text)
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    rating: str | None = Field(default=None, sa_type=Text)
    rating_comment: str | None = Field(default=None, sa_type=Text)
    #: Of a reply: the key of the mutation that asked for it, unique per owner.
    idempotency_key: str | None = Field(default=None, sa_type=Text)
    #: The revisions of its conversation at which it was added, and at which its status changed last.
    added_revision: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs=_ZERO)
    changed_revision: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs=_ZERO)
    created_at: datetime = Field(default=None, sa_column_kwargs=_NOW)
    finished_at: datetime | None = None


class Run(SQLModel, table=True):
    """A reply in the making; the row leaves when the reply has finished."""

    __tablename__ = "run"
    __table_args__ = (Index("run_by_age", "created_at"),)

    message_id: UUID = Field(primary_key=True, sa_column_args=[ForeignKey("message.id", ondelete="CASCADE")])
    owner_id: str = Field(sa_type=Text)
    #: The reply before it on its branch: as long as that one is written, this one waits.
    after_id: UUID | None = None
    #: Fences every write of a runner: one that lost its lease has an older number.
    attempt: int = Field(default=0, sa_column_kwargs=_ZERO)
    #: Free to be claimed once this has passed, by the database's clock.
    lease_until: datetime = Field(default=None, sa_column_kwargs=_NOW)
    #: True while it waits for the user's word on a tool call: then nobody may claim it.
    parked: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    #: Whether a runner has it that did not let it go: claimed again, that runner has failed.
    held: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    #: How many runners have failed.
    failures: int = Field(default=0, sa_column_kwargs=_ZERO)
    cancel_requested: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    #: Which model it is asked of: its conversation's choice when it was asked for.
    model: str | None = Field(default=None, sa_type=Text)
    created_at: datetime = Field(default=None, sa_column_kwargs=_NOW)


class Spending(SQLModel, table=True):
    """Tokens that one call chain of the model cost an owner; it outlives the conversation."""

    __tablename__ = "spending"
    __table_args__ = (Index("spending_by_owner", "owner_id", "spent_at"),)

    id: int = Field(default=None, sa_type=BigInteger, sa_column_args=[Identity()], primary_key=True)
    owner_id: str = Field(sa_type=Text)
    spent_at: datetime = Field(default=None, sa_column_kwargs=_NOW)
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int


class Task(SQLModel, table=True):
    """An entry of an owner's to-do list."""

    __tablename__ = "task"
    __table_args__ = (Index("task_by_age", "owner_id", "created_at", "id"),)

    id: UUID = Field(default_factory=new_id, primary_key=True)
    owner_id: str = Field(sa_type=Text)
    title: str = Field(sa_type=Text)
    notes: str | None = Field(default=None, sa_type=Text)
    done: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    created_at: datetime = Field(default=None, sa_column_kwargs=_NOW)
    updated_at: datetime = Field(default=None, sa_column_kwargs=_NOW)


# Columns that PostgreSQL keeps for itself: appended to the tables, so that no row loads them.
_conversation = SQLModel.metadata.tables["conversation"]
_conversation.append_column(Column("search", TSVECTOR, Computed("searchable(owner_id, title)", persisted=True)))
Index("conversation_search", _conversation.c.search, postgresql_using="gin")
_message = SQLModel.metadata.tables["message"]
_message.append_column(Column("sibling_group", Uuid, Computed("coalesce(parent_id, conversation_id)", persisted=True)))
_message.append_column(Column("search", TSVECTOR))
Index("message_siblings", _message.c.sibling_group, _message.c.role, _message.c.created_at, _message.c.id)
Index("message_search", _message.c.search, postgresql_using="gin")

# Rows are made without the mapper's being asked first.
configure_mappers()
