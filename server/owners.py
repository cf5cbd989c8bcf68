"""What an operator does when somebody asks for their data, or for its end: `export-owner` and `delete-owner`."""

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

import orjson

from persistence import owners
from persistence.database import NEWEST_VERSION, Database
from runs.live import LiveReplies
from runs.memory import MemoryLiveReplies
from server.settings import Settings

FORMAT, FORMAT_VERSION = "loquent-owner", 1
#: Seconds between two looks whether replies have ended, and beside two leases for them to end in.
LOOK, MARGIN = 0.1, 5.0
#: The kinds of rows, and what they are counted as.
KINDS = {"conversation": "conversations", "message": "messages", "task": "tasks", "usage": "usage"}


class NotDone(Exception):
    """Why nothing could be exported, or not everything deleted."""


@contextmanager
def open_export(output: str) -> Iterator[BinaryIO]:
    """A new file that only this user may read, gone again if the block fails; or stdout for `-`. Raises `OSError`."""
    if output == "-":
        with open(sys.stdout.fileno(), "wb", closefd=False) as pipe:
            yield pipe
        return
    with open(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123
        try:
            yield file
            file.flush()
        except BaseException:
            # Half of it could be taken for all.
            Path(output).unlink(missing_ok=True)
            raise


async def export_owner(settings: Settings, owner_id: str, file: BinaryIO) -> dict[str, int]:
    """Write all that is stored about an owner, of one moment, as lines of JSON; gives how many rows of each kind.

    Raises `NotDone` and what writing raises.
    """
    counts = Counter[str]()

    def write(kind: str, values: Mapping[str, object]) -> None:
        # The driver has a class of its own for ids.
        file.write(orjson.dumps({"type": kind, **values}, default=str, option=orjson.OPT_APPEND_NEWLINE))

    async with _open_database(settings) as database, owners.snapshot(database) as connection:
        moment = await connection.fetchval("select now()")
        write("export", {"format": FORMAT, "version": FORMAT_VERSION, "owner_id": owner_id, "exported_at": moment})
        async with aclosing(owners.read_owner(connection, owner_id)) as rows:
            async for kind, values in rows:
                write(kind, values)
                counts[kind] += 1
    found = {kind: counts[kind] for kind in KINDS}
    write("end", {KINDS[kind]: count for kind, count in found.items()})
    return found


def describe(counts: Mapping[str, int]) -> str:
    """The counts in words: «conversations: 2, messages: 8, …»."""
    return ", ".join(f"{KINDS[kind]}: {count}" for kind, count in counts.items())


async def delete_owner(
    settings: Settings, owner_id: str, *, confirm: Callable[[Mapping[str, int]], bool]
) -> dict[str, int]:
    """End an owner's replies and delete all that is stored about them; gives how many rows of each kind.

    `confirm` is asked first, with what there is. Raises `NotDone`; done again, it goes on.
    """
    async with _open_database(settings) as database, _open_live(settings) as live:
        async with database.driver() as driver:
            owned = await owners.count_owned(driver, owner_id)
        if not confirm(owned):
            raise NotDone("it was not confirmed: nothing was deleted")
        deleted = Counter[str]()
        # What is stored meanwhile is found by the next look.
        while found := await _delete_all(database, live, owner_id, patience=2 * settings.lease_seconds + MARGIN):
            deleted += found
        return {kind: deleted[kind] for kind in KINDS}


async def _delete_all(database: Database, live: LiveReplies, owner_id: str, patience: float) -> Counter[str]:
    """Delete what there is at this time; gives how many rows of each kind."""
    await _end_replies(database, live, owner_id, patience)
    deleted = Counter[str]()
    async with database.driver() as driver:
        while conversations := await owners.find_some_conversations(driver, owner_id):
            for id in conversations:
                deleted += await _delete_conversation(database, live, owner_id, id)
        for kind, delete_some in (("task", owners.delete_some_tasks), ("usage", owners.delete_some_spending)):
            while count := await delete_some(driver, owner_id):
                deleted[kind] += count
    return deleted


async def _end_replies(database: Database, live: LiveReplies, owner_id: str, patience: float) -> None:
    """Have the nodes stop writing: a tool call that went on could store something after all was deleted."""
    deadline = time.monotonic() + patience
    async with database.driver() as driver:
        for message_id in await owners.cancel_runs(driver, owner_id):
            live.signal("stop", message_id)
        while await owners.count_written(driver, owner_id):
            if time.monotonic() > deadline:
                # Without their runs they can store nothing more of themselves.
                return
            await asyncio.sleep(LOOK)


async def _delete_conversation(database: Database, live: LiveReplies, owner_id: str, id: UUID) -> Counter[str]:
    deleted = Counter[str]()
    while True:
        async with database.transaction() as session:
            batch = await owners.delete_some_messages(session, owner_id, id)
        if batch is None:
            return deleted
        for message_id in batch.running:
            live.signal("lose", message_id)
            live.notify(message_id)
        deleted["message"] += batch.messages
        if batch.whole:
            live.notify(id)
            deleted["conversation"] += 1
            return deleted


@asynccontextmanager
async def _open_database(settings: Settings) -> AsyncIterator[Database]:
    """The database, if it is of this version: of another not all tables are known. Raises `NotDone`."""
    assert settings.database_url
    database = Database(settings.database_url, pool_size=4)
    try:
        version = await database.version()
        if version != NEWEST_VERSION:
            raise NotDone(f"the database is at version {version}, and this program is for {NEWEST_VERSION}")
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def _open_live(settings: Settings) -> AsyncIterator[LiveReplies]:
    """Where nodes are told at once. Without it they find out when they renew their leases."""
    live: LiveReplies = MemoryLiveReplies()
    if settings.valkey_url is not None:
        from runs.valkey import ValkeyLiveReplies

        live = ValkeyLiveReplies(settings.valkey_url)
    await live.start()
    try:
        yield live
    finally:
        await live.close()
