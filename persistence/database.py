"""The connection to PostgreSQL: one pool, short sessions, migrations."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import asyncpg
import orjson
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

from persistence.driver_pool import BROKEN, DriverPool

#: Seconds to wait for a connection.
POOL_TIMEOUT = 30.0
#: Seconds that closing the connections may take.
CLOSE_SECONDS = 3.0
#: What it and SQLAlchemy raise while PostgreSQL cannot be reached.
UNREACHABLE = (*BROKEN, InterfaceError, OperationalError, PoolTimeoutError)
#: What a statement of the driver's raises that would store something twice.
UniqueViolation = asyncpg.UniqueViolationError

MIGRATIONS = Path(__file__).parent / "migrations"
#: The version that a migration leads to is how its file's name begins, and grows from one to the next.
KNOWN_VERSIONS = frozenset(path.name.partition("_")[0] for path in MIGRATIONS.glob("versions/*_*.py"))
NEWEST_VERSION = max(KNOWN_VERSIONS)


def _to_json(value: Any) -> str:
    return orjson.dumps(value).decode()


@dataclass(frozen=True, slots=True)
class PoolState:
    """Connections that there may be, that are in use, and how many wait for one."""

    size: int
    in_use: int
    waiting: int


class Database:
    """A pool of connections to one PostgreSQL database."""

    def __init__(self, url: str, *, pool_size: int = 20) -> None:
        self.engine: AsyncEngine = create_async_engine(
            url,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=POOL_TIMEOUT,
            # An error that is logged names the statement, and not what users wrote.
            hide_parameters=True,
            json_serializer=_to_json,
            json_deserializer=orjson.loads,
            connect_args={"server_settings": {"application_name": "loquent"}, "timeout": 10, "command_timeout": 30},
        )
        self._driver_pool = DriverPool(self.engine, pool_size, POOL_TIMEOUT)
        # One statement needs no BEGIN and COMMIT around it.
        self._autocommit = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """A session in which every statement is a transaction of its own: for reads and single writes."""
        async with AsyncSession(self._autocommit, expire_on_commit=False, autoflush=False) as session:
            yield session

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """As `session`, without the object-relational layer: for the hot statements."""
        async with self._autocommit.connect() as connection:
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """A session whose statements are stored together when the block ends, or not at all."""
        async with (
            AsyncSession(self.engine, expire_on_commit=False, autoflush=False) as session,
            session.begin(),
        ):
            yield session

    def driver(self) -> AbstractAsyncContextManager["asyncpg.Connection[Any]"]:
        """As `connection`, without any layer above the driver: for the hottest statements."""
        return self._driver_pool.lend()

    @asynccontextmanager
    async def driver_transaction(self) -> AsyncIterator["asyncpg.Connection[Any]"]:
        """As `transaction`, without any layer above the driver."""
        async with self.driver() as connection, connection.transaction():
            yield connection

    def pool_state(self) -> PoolState:
        """How the pool stands at the moment."""
        pool, lent = cast(Any, self.engine.pool), self._driver_pool
        return PoolState(pool.size(), pool.checkedout() - lent.kept, lent.waiting + lent.waiting_for_pool)

    async def ping(self) -> None:
        """Raise what `is_unreachable` knows where PostgreSQL does not answer."""
        async with self.connection() as connection:
            await connection.execute(text("select 1"))

    async def migrate(self) -> None:
        """Bring the tables to the newest version; several nodes may call it at once, while others serve.

        Raises `persistence.migrate.TablesBusy`.
        """
        # Here, since Alembic is a sixth of what a server would load, and serving needs none of it.
        from persistence.migrate import migrate

        await migrate(self.engine.url, MIGRATIONS)

    async def version(self) -> str | None:
        """The version that the tables are at; None where there are none."""
        async with self.driver() as connection:
            try:
                version: str | None = await connection.fetchval("select version_num from alembic_version")
            except asyncpg.UndefinedTableError:
                return None
        return version

    async def is_migrated(self) -> bool:
        """Whether the tables are at the version that this code wants, or at a later one that it does not know."""
        version = await self.version()
        return version is not None and (version == NEWEST_VERSION or version not in KNOWN_VERSIONS)

    async def close(self) -> None:
        """Say goodbye to PostgreSQL, unless it does not listen: its end must not hold up ours."""
        self._driver_pool.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.engine.dispose()


def is_unreachable(error: BaseException) -> bool:
    """Whether a statement failed because PostgreSQL was not there, so that it may be tried again."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(error, UNREACHABLE) or _state(error).startswith(("08", "57P", "53300"))


def is_deadlock(error: BaseException) -> bool:
    """Whether PostgreSQL ended a statement so that another could go on: it may be tried again."""
    return _state(error) == "40P01"


def _state(error: BaseException) -> str:
    """The SQLSTATE of an error of the driver, bare or wrapped."""
    return str(getattr(getattr(error, "orig", error), "sqlstate", None) or "")
