"""Changing the tables, by Alembic, while nodes of the version before are serving."""

import asyncio
import logging
import time
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

logger = logging.getLogger(__name__)

#: Seconds that a migration waits for a table. So long everybody else who wants it waits too; and where two wait for
#: each other, it is the migration that gives way, for PostgreSQL ends a user's statement only after a second.
LOCK_WAIT = 0.3
#: Seconds between two tries, in which they get on, and after which no more is begun.
RETRY, PATIENCE = 1.0, 120.0
#: How PostgreSQL says that it has waited for so long, or that one of two must give way.
_LOCKED = {"55P03", "40P01"}


class TablesBusy(Exception):
    """A table was never free for long enough: some transaction has held it all the time. Nothing was changed."""


async def migrate(url: URL, migrations: Path, *, lock_wait: float = LOCK_WAIT, patience: float = PATIENCE) -> None:
    """Bring the tables to the newest version of a folder, all of it or nothing; raises `TablesBusy`.

    Whoever else migrates at the same time is waited for. `lock_wait` and `patience` are in seconds.
    """
    deadline = time.monotonic() + patience
    # One connection, on which a statement may take its time: the pool's may not.
    engine = create_async_engine(
        url,
        poolclass=NullPool,
        connect_args={"server_settings": {"application_name": "loquent-migrate"}, "timeout": 10},
    )
    try:
        while not await _try(engine, migrations, lock_wait):
            if time.monotonic() > deadline:
                raise TablesBusy(f"a table that is to be changed was in use for {patience:g} seconds")
            logger.warning("migrate: a table is in use, trying again")
            await asyncio.sleep(RETRY)
    finally:
        await engine.dispose()


async def _try(engine: AsyncEngine, migrations: Path, lock_wait: float) -> bool:
    """Whether it was done; else a table was in use, and all is as before."""
    try:
        async with engine.begin() as connection:
            # Released with the transaction, so a node that dies in the middle blocks no other.
            await connection.execute(text("select pg_advisory_xact_lock(hashtext('loquent.migrate'))"))
            await connection.execute(text(f"set local lock_timeout = {int(lock_wait * 1000)}"))
            await connection.run_sync(upgrade, migrations)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) not in _LOCKED:
            raise
        return False
    return True


def upgrade(connection: Connection, migrations: Path, version: str = "head") -> None:
    """Bring the tables to a version of a folder, in the connection's transaction."""
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, version)
