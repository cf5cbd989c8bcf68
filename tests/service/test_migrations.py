"""Migrations: from nothing to the tables that the code knows, once, whoever runs them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, make_url, text
from sqlmodel import SQLModel

from persistence import tables  # noqa: F401 - fills the metadata
from persistence.conversations import insert_conversation
from persistence.database import KNOWN_VERSIONS, MIGRATIONS, NEWEST_VERSION, Database

Connect = Callable[[], Database]

#: Columns, constraints and indexes of a schema, in PostgreSQL's own words.
DESCRIBE = text("""
    select c.relname || '.' || a.attname, concat_ws(' ',
        format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated, a.attidentity,
        pg_get_expr(d.adbin, d.adrelid))
    from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
    where c.relnamespace = to_regnamespace(:schema) and c.relkind = 'r' and c.relname <> 'alembic_version'
    union all
    select conrelid::regclass || ' ' || conname, pg_get_constraintdef(oid)
    from pg_constraint
    where connamespace = to_regnamespace(:schema) and conrelid <> 0 and conname not like 'alembic%'
    union all
    select indexname, indexdef from pg_indexes where schemaname = :schema and indexname not like 'alembic%'
""")


@pytest.fixture
async def connect(database: Database, database_url: str) -> AsyncIterator[Connect]:
    """Connects to an empty database of the test's own, as often as it is called."""
    name = f"migrations_{uuid4().hex}"
    url = make_url(database_url).set(database=name).render_as_string(hide_password=False)
    async with database.connection() as connection:
        await connection.execute(text(f"create database {name}"))
        async with AsyncExitStack() as connected:

            def open_one() -> Database:
                opened = Database(url)
                connected.push_async_callback(opened.close)
                return opened

            yield open_one
        await connection.execute(text(f"drop database {name} with (force)"))


async def describe(database: Database, schema: str) -> dict[str, str]:
    """Everything that a schema's tables consist of, by name."""
    async with database.connection() as connection:
        rows = (await connection.execute(DESCRIBE, {"schema": schema})).all()
    return {name.replace(f"{schema}.", ""): words.replace(f"{schema}.", "") for name, words in rows}


def test_the_files_of_the_migrations_are_named_by_their_versions_in_order() -> None:
    scripts = ScriptDirectory(str(MIGRATIONS))
    assert scripts.get_heads() == [NEWEST_VERSION]
    versions = [script.revision for script in scripts.walk_revisions()]
    assert versions == sorted(KNOWN_VERSIONS, reverse=True)


async def test_alembic_finds_nothing_to_migrate(connect: Connect) -> None:
    def compare(connection: Connection) -> list[object]:
        options = {"compare_type": True, "compare_server_default": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), SQLModel.metadata))

    database = connect()
    await database.migrate()
    async with database.engine.connect() as connection:
        assert await connection.run_sync(compare) == []


async def test_the_migrated_tables_are_those_that_the_code_describes(connect: Connect) -> None:
    database = connect()
    await database.migrate()
    async with database.engine.begin() as connection:
        # Alembic looks neither at generated columns nor at checks and kinds of index: PostgreSQL tells all.
        await connection.execute(text("create schema described"))
        await connection.execute(text("set local search_path to described, public"))
        await connection.run_sync(lambda sync: SQLModel.metadata.create_all(sync, checkfirst=False))
    migrated = await describe(database, "public")
    assert {"message.search", "message message_role", "message_search"} <= migrated.keys()
    assert migrated == await describe(database, "described")


async def test_migrating_twice_changes_nothing(connect: Connect) -> None:
    database = connect()
    await database.migrate()
    before = await describe(database, "public")
    async with database.session() as session:
        conversation = await insert_conversation(session, "ann", "Kept")
    await database.migrate()
    assert await describe(database, "public") == before
    async with database.connection() as connection:
        kept = await connection.execute(text("select id, title from conversation"))
        assert kept.all() == [(conversation.id, "Kept")]
        versions = await connection.execute(text("select version_num from alembic_version"))
        assert versions.scalars().all() == [NEWEST_VERSION]


async def test_nodes_that_migrate_at_once_wait_for_one_another(connect: Connect) -> None:
    nodes = [connect() for _ in range(4)]
    async with asyncio.timeout(60):
        await asyncio.gather(*(node.migrate() for node in nodes))
    assert [await node.is_migrated() for node in nodes] == [True] * 4
    async with nodes[0].connection() as connection:
        versions = await connection.execute(text("select version_num from alembic_version"))
        assert versions.scalars().all() == [NEWEST_VERSION]


async def test_a_migration_that_breaks_off_leaves_nothing_and_can_be_done_again(connect: Connect) -> None:
    database = connect()
    async with database.connection() as connection:
        # Its place is taken: the last tables cannot be made.
        await connection.execute(text("create table task (id integer)"))
    with pytest.raises(Exception, match="already exists"):
        await database.migrate()
    assert list(await describe(database, "public")) == ["task.id"]
    assert not await database.is_migrated()
    async with database.connection() as connection:
        await connection.execute(text("drop table task"))
    await database.migrate()
    assert await database.is_migrated()


async def test_a_database_is_migrated_once_its_version_is_known_or_newer(connect: Connect) -> None:
    database = connect()
    assert not await database.is_migrated()
    await database.migrate()
    assert await database.is_migrated()
    async with database.connection() as connection:
        # A newer node has migrated: this one goes on serving.
        await connection.execute(text("update alembic_version set version_num = '9999'"))
    assert await database.is_migrated()
