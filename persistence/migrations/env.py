"""What Alembic runs: it is handed an open connection and a transaction."""

from alembic import context
from sqlmodel import SQLModel

from persistence import tables  # noqa: F401 - fills the metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    transaction_per_migration=False,
)
context.run_migrations()
