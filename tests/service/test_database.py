"""Connections that are lent to the driver: none comes back broken, none is lost, and each in its turn gets one."""

import asyncio
import socket
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from persistence.database import Database, PoolState, is_unreachable
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


# Who waits for one


async def borrow(database: Database, borrowed: list[str], name: str, until_then: asyncio.Event | None = None) -> None:
    async with database.driver():
        borrowed.append(name)
        if until_then is not None:
            await until_then.wait()


async def hold_all(database: Database, size: int) -> tuple[asyncio.Event, list[asyncio.Task[None]]]:
    """Lend all connections until the event is set."""
    may_end, borrowed = asyncio.Event(), list[str]()
    holding = [asyncio.create_task(borrow(database, borrowed, "holder", may_end)) for _ in range(size)]
    await until(lambda: len(borrowed) == size)
    return may_end, holding


async def test_who_asks_first_is_served_first(narrow: Database) -> None:
    may_end, holding = await hold_all(narrow, 2)
    borrowed: list[str] = []
    waiting = [asyncio.create_task(borrow(narrow, borrowed, f"{number}")) for number in range(20)]
    await until(lambda: narrow.pool_state().waiting == 20)
    may_end.set()
    await asyncio.gather(*holding)
    # It asks when there is a connection again, and before anybody who waits has run.
    waiting.append(asyncio.create_task(borrow(narrow, borrowed, "20")))
    await asyncio.gather(*waiting)
    assert borrowed == [f"{number}" for number in range(21)]
    assert narrow.pool_state() == PoolState(size=2, in_use=0, waiting=0)


@pytest.mark.parametrize("at_the_same_moment", [True, False])
async def test_who_gives_up_waiting_takes_no_connection_along(narrow: Database, at_the_same_moment: bool) -> None:
    may_end, holding = await hold_all(narrow, 2)
    borrowed: list[str] = []
    given_up = [asyncio.create_task(borrow(narrow, borrowed, "given up")) for _ in range(3)]
    patient = asyncio.create_task(borrow(narrow, borrowed, "patient"))
    await until(lambda: narrow.pool_state().waiting == 4)
    if at_the_same_moment:
        may_end.set()
        # Now the holders have given theirs back, and who was given them has not run yet.
        await asyncio.sleep(0)
    for waiting in given_up:
        waiting.cancel()
    await asyncio.gather(*given_up, return_exceptions=True)
    may_end.set()
    await asyncio.gather(*holding, patient)
    assert borrowed == ["patient"]
    assert narrow.pool_state() == PoolState(size=2, in_use=0, waiting=0)
    may_end, holding = await hold_all(narrow, 2)
    may_end.set()
    await asyncio.gather(*holding)


@pytest.mark.parametrize("size", [1, 2, 5])
async def test_who_asks_again_and_again_leaves_sessions_their_turn(database_url: str, size: int) -> None:
    database = Database(database_url, pool_size=size)
    served = 0

    async def ask_for_ever() -> None:
        nonlocal served
        while True:
            await backend(database)
            served += 1

    asking = [asyncio.create_task(ask_for_ever()) for _ in range(20)]
    try:
        await until(lambda: served > 50)
        async with asyncio.timeout(5):
            for _ in range(10):
                async with database.connection() as connection:
                    await connection.execute(text("select 1"))
        before = served
        await until(lambda: served > before + 50)
    finally:
        for each in asking:
            each.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await database.close()


async def test_connections_that_nobody_uses_go_to_sessions_that_wait(database_url: str) -> None:
    database = Database(database_url, pool_size=4)
    await asyncio.gather(*(backend(database) for _ in range(4)))
    may_end, inside = asyncio.Event(), 0

    async def stay() -> None:
        nonlocal inside
        async with database.connection():
            inside += 1
            await may_end.wait()

    staying = [asyncio.create_task(stay()) for _ in range(4)]
    await until(lambda: database.pool_state() == PoolState(size=4, in_use=2, waiting=2))
    await backend(database)
    # One stays for the driver, as long as that has use for it.
    await until(lambda: inside == 3)
    may_end.set()
    await asyncio.gather(*staying)
    await database.close()


async def test_a_connection_that_comes_back_after_the_end_is_not_kept(database_url: str) -> None:
    database = Database(database_url, pool_size=4)
    async with database.driver() as driver:
        await driver.fetchval("select 1")
        await database.close()
    assert driver.is_closed() or database.pool_state().in_use == 0
    assert database._driver_pool.kept == 0


async def test_who_waits_too_long_is_told_that_it_cannot_be_reached(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("persistence.database.POOL_TIMEOUT", 0.2)
    database = Database(database_url, pool_size=1)
    may_end, holding = await hold_all(database, 1)
    with pytest.raises(PoolTimeoutError) as raised:
        await backend(database)
    assert is_unreachable(raised.value)
    may_end.set()
    await asyncio.gather(*holding)
    await backend(database)
    await database.close()


async def test_where_postgresql_is_gone_nobody_waits_for_another() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        # Nobody listens there.
        database = Database(f"postgresql+asyncpg://ann@127.0.0.1:{taken.getsockname()[1]}/chat", pool_size=2)
        async with asyncio.timeout(10):
            errors = await asyncio.gather(*(backend(database) for _ in range(20)), return_exceptions=True)
    assert len(errors) == 20 and all(isinstance(error, Exception) and is_unreachable(error) for error in errors)
    await database.close()
