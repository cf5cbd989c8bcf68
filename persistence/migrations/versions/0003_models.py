"""Which model a conversation has chosen, and a run was asked of; null, as older nodes leave it, is the default."""

from alembic import op

revision = "0003"
down_revision = "0002"

STATEMENTS = (
    "alter table conversation add column model text",
    "alter table run add column model text",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
