"""Revisions, by which a conversation is followed; runs that wait for the user; whose a run is."""

from alembic import op

revision = "0002"
down_revision = "0001"

STATEMENTS = (
    "alter table conversation add column changed_revision bigint not null default 0",
    "alter table message add column added_revision bigint not null default 0",
    "alter table message add column changed_revision bigint not null default 0",
    "create index message_by_change on message (conversation_id, changed_revision)",
    # The index on changes begins with the same column.
    "drop index message_of_conversation",
    "alter table run add column parked boolean not null default false",
    "alter table run add column held boolean not null default false",
    "alter table run add column failures integer not null default 0",
    "alter table run add column owner_id text",
    "update run set owner_id = message.owner_id from message where message.id = run.message_id",
    "alter table run alter column owner_id set not null",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
