"""The stores of a measurement, as processes of their own with their usual durability."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.processes import children_of
from benchmarks.seed import Amount, seed
from benchmarks.subjects import BUILD
from persistence.database import Database
from persistence.embedded import run_postgres
from runs.embedded_valkey import run_valkey

_DIRECTORY = BUILD / "database"


@dataclass(frozen=True)
class Store:
    """A running store: the variable that tells the server its address, and the process to watch."""

    name: str
    variable: str
    address: str
    pid: int

    def count_written(self) -> int:
        """Bytes of PostgreSQL's write-ahead log so far; 0 of a store that has none."""
        return asyncio.run(_read_wal_position(self.address)) if self.name == "postgres" else 0


async def _read_wal_position(url: str) -> int:
    engine = create_async_engine(url)
    try:
        async with engine.connect() as connection:
            return int(await connection.scalar(text("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn")))
    finally:
        await engine.dispose()


@contextmanager
def run_stores(*, postgres: bool, valkey: bool) -> Iterator[list[Store]]:
    """Run what the subjects of this measurement need; the database is new, and each user has a page to read."""
    with ExitStack() as stack:
        stores = []
        if postgres:
            stores.append(stack.enter_context(_run_postgres()))
        if valkey:
            stores.append(stack.enter_context(_run_valkey()))
        yield stores


@contextmanager
def _run_postgres() -> Iterator[Store]:
    shutil.rmtree(_DIRECTORY, ignore_errors=True)
    with run_postgres(_DIRECTORY, settings={"max_connections": "50"}) as url:
        asyncio.run(_fill(url))
        yield Store("postgres", "LOQUENT_DATABASE_URL", url, _read_pid(_DIRECTORY))


async def _fill(url: str) -> None:
    database = Database(url)
    try:
        await database.migrate()
    finally:
        await database.close()
    await seed(url, Amount(conversations=25 * 8, messages=2 * 25 * 8, owners=8))


def _read_pid(directory: Path) -> int:
    return int((directory / "postgres" / "postmaster.pid").read_text().split()[0])


@contextmanager
def _run_valkey() -> Iterator[Store]:
    before = set(children_of(os.getpid()))
    with run_valkey() as url:
        [pid] = set(children_of(os.getpid())) - before
        yield Store("valkey", "LOQUENT_VALKEY_URL", url, pid)
