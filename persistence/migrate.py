"""Changing the tables, by Alembic."""

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from persistence.database import MIGRATIONS


def upgrade(connection: Connection) -> None:
    """Bring the tables to the newest version, in the connection's transaction."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
