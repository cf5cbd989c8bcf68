"""Connections that are lent to the driver: none comes back broken."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from persistence.database import Database, is_unreachable
from tests.conftest import until


@pytest.fixture
async def narrow(database_url: str) -> AsyncIterator[Database]:
    """A database with two connections, of which one is kept for the driver."""
    database = Database(database_url, pool_size=2)
    yield database
    await database.close()


async def backend(database: Database) -> int:
    async with database.driver() as driver:
        return int(await driver.fetchval("select pg_backend_pid()"))


async def test_a_connection_is_lent_again(narrow: Database) -> None:
    assert await backend(narrow) == await backend(narrow)


@pytest.mark.parametrize(
    "error",
    [asyncpg.InternalClientError("in another state"), asyncpg.InterfaceError("closed"), OSError(), TimeoutError()],
)
async def test_a_connection_that_failed_is_not_lent_again(narrow: Database, error: Exception) -> None:
    first = await backend(narrow)
    with pytest.raises(type(error)) as raised:
        async with narrow.driver():
            raise error
    assert is_unreachable(raised.value)
    assert await backend(narrow) != first


async def test_a_connection_whose_statement_was_cancelled_is_not_lent_again(
    narrow: Database, database: Database
) -> None:
    first = await backend(narrow)

    async def sleep() -> None:
        async with narrow.driver() as driver:
            await driver.execute("select pg_sleep(60)")

    async def sleeps() -> bool:
        async with database.driver() as other:
            query = "select count(*) from pg_stat_activity where pid = $1 and wait_event = 'PgSleep'"
            return bool(await other.fetchval(query, first))

    sleeping = asyncio.create_task(sleep())
    await until(sleeps)
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping
    assert await backend(narrow) != first


async def test_a_refusal_costs_no_connection(narrow: Database) -> None:
    first = await backend(narrow)
    with pytest.raises(LookupError):
        async with narrow.driver_transaction() as driver:
            await driver.execute("create temporary table gone (id int)")
            raise LookupError
    with pytest.raises(asyncpg.PostgresError):
        async with narrow.driver() as driver:
            await driver.execute("select * from gone")
    assert await backend(narrow) == first


async def test_all_who_ask_are_served_by_few_connections(narrow: Database) -> None:
    backends = await asyncio.gather(*(backend(narrow) for _ in range(100)))
    assert len(set(backends)) <= 2


async def test_a_connection_that_postgresql_ended_is_replaced(narrow: Database, database: Database) -> None:
    first = await backend(narrow)
    async with database.driver() as other:
        # Waits until the process has ended, a minute at the most.
        assert await other.fetchval("select pg_terminate_backend($1, 60000)", first)
    await asyncio.sleep(0.1)
    assert await backend(narrow) != first
