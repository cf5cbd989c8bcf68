"""Migrations: from nothing to the tables that the code knows, once, whoever runs them, while others serve."""

import asyncio
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, make_url, text
from sqlmodel import SQLModel

from persistence import tables  # noqa: F401 - fills the metadata
from persistence.conversations import insert_conversation
from persistence.database import KNOWN_VERSIONS, MIGRATIONS, NEWEST_VERSION, Database
from persistence.migrate import TablesBusy, migrate, upgrade
from tests.client import Client
from tests.conftest import StartServer, until
from tests.model import ScriptedModel, say

Connect = Callable[[], Database]

REPOSITORY = Path(__file__).parents[2]

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


# While others serve


def url_of(database: Database) -> str:
    return database.engine.url.render_as_string(hide_password=False)


async def migrate_to(database: Database, version: str) -> None:
    """Bring the tables to a version that is not the newest."""
    async with database.engine.begin() as connection:
        await connection.run_sync(upgrade, MIGRATIONS, version)


@asynccontextmanager
async def reading(database: Database) -> AsyncIterator[None]:
    """Somebody who has read all messages, and has not ended the transaction."""
    async with database.engine.connect() as connection:
        await connection.execute(text("select count(*) from message"))
        yield


async def test_commands_that_migrate_at_once_both_succeed(connect: Connect) -> None:
    database = connect()
    environment = {**os.environ, "LOQUENT_DATABASE_URL": url_of(database)}
    arguments = [sys.executable, "-m", "server", "migrate"]
    commands = [await asyncio.create_subprocess_exec(*arguments, cwd=REPOSITORY, env=environment) for _ in range(2)]
    assert [await command.wait() for command in commands] == [0, 0]
    assert await database.version() == NEWEST_VERSION


async def test_a_migration_that_waits_for_a_table_lets_others_have_it(connect: Connect) -> None:
    database = connect()
    await migrate_to(database, "0001")
    async with reading(database):
        migrating = asyncio.create_task(migrate(database.engine.url, MIGRATIONS, lock_wait=0.3))
        longest = 0.0
        for _ in range(40):
            began = time.monotonic()
            async with database.connection() as connection:
                await connection.execute(text("select count(*) from message"))
            longest = max(longest, time.monotonic() - began)
            await asyncio.sleep(0.05)
        assert not migrating.done()
    await migrating
    assert await database.is_migrated()
    # Who comes while it waits is held up for as long as it waits, and not until the reader has ended.
    assert longest < 1.5


async def test_a_migration_gives_up_on_a_table_that_is_never_free_and_changes_nothing(connect: Connect) -> None:
    database = connect()
    await migrate_to(database, "0001")
    before = await describe(database, "public")
    async with reading(database):
        with pytest.raises(TablesBusy):
            await migrate(database.engine.url, MIGRATIONS, lock_wait=0.1, patience=0.5)
    assert await describe(database, "public") == before


async def test_a_node_is_not_ready_before_its_version_has_migrated(connect: Connect, start_server: StartServer) -> None:
    database = connect()
    await migrate_to(database, sorted(KNOWN_VERSIONS)[-2])
    async with start_server(database_url=url_of(database)) as server, httpx2.AsyncClient() as http:
        answer = await http.get(f"{server.url}/readyz")
        assert (answer.status_code, answer.json()) == (503, {"status": "database: not migrated"})
        await database.migrate()

        async def is_ready() -> bool:
            return (await http.get(f"{server.url}/readyz")).status_code == 200

        await until(is_ready)


#: What the next version does to every table, by the rules: it adds.
NEXT = """
revision = "9999"
down_revision = "{newest}"

from alembic import op

def upgrade() -> None:
    for table in ("conversation", "message", "run", "spending", "task"):
        op.execute(f"alter table {{table}} add column next text not null default 'next'")
    op.execute("create table next (id bigint primary key, message_id uuid references message (id) on delete cascade)")
"""
OPERATIONS = (
    """mutation ($id: ID!, $reply: ID!) {
        updateConversation(input: {id: $id, title: "T"}) { conversation { id } }
        rateMessage(input: {messageId: $reply, rating: UP}) { message { id } }
        regenerateMessage(input: {messageId: $reply}) { finishedReply { id } }
        addTask(input: {title: "T"}) { task { id } }
    }""",
    """query ($id: ID!, $reply: ID!) {
        conversations(first: 5, search: "Hello") { edges { node { id messages(last: 5) { edges { node { id } } } } } }
        conversation(id: $id) { usage { outputTokens } }
        node(id: $reply) { id }
        tasks(first: 5) { edges { node { id } } }
        viewer { usage { outputTokens } }
    }""",
    "mutation ($id: ID!) { deleteConversation(input: {id: $id}) { deletedId } }",
)


async def use_everything(client: Client) -> None:
    """Execute most of the statements that there are; raises what a user would be told."""
    sent, _ = await client.ask("Hello?")
    for query in OPERATIONS:
        names = {"id": sent.conversation, "reply": sent.reply}
        await client.execute(query, **{name: value for name, value in names.items() if f"${name}:" in query})


async def test_a_node_goes_on_serving_while_and_after_the_next_version_migrates(
    connect: Connect, start_server: StartServer, model: ScriptedModel, tmp_path: Path
) -> None:
    model.script(say("Hello."))
    database = connect()
    await database.migrate()
    newer = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, newer)
    (newer / "versions" / "9999_next.py").write_text(NEXT.format(newest=NEWEST_VERSION))
    async with start_server(database_url=url_of(database), database_pool=4) as server, httpx2.AsyncClient() as http:
        users = [Client(server.url, name) for name in ("ann", "bob", "carl")]
        migrated = asyncio.Event()

        async def use_until_migrated(client: Client) -> None:
            while not migrated.is_set():
                await use_everything(client)
            # On every connection of the pool, with what was prepared before.
            for _ in range(5):
                await use_everything(client)

        async with asyncio.TaskGroup() as using:
            for user in users:
                using.create_task(use_until_migrated(user))
            await asyncio.sleep(1)
            await migrate(database.engine.url, newer)
            migrated.set()
        assert await database.version() == "9999"
        assert (await http.get(f"{server.url}/readyz")).status_code == 200
        for user in users:
            await user.close()
