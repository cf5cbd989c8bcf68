"""People's data requests: everything of one owner is handed over, or deleted for good, and nothing of another's."""

import asyncio
import io
import json
import os
import stat
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import SQLModel

from agent.parts import TextPart
from agent.stand_in.answers import Answer, Text
from agent.stand_in.answers import ToolUse as Call
from persistence import owners
from persistence.conversations import delete_conversation
from persistence.database import NEWEST_VERSION, Database
from persistence.messages import rate_message, record_deleted
from persistence.owners import read_owner, snapshot
from persistence.runs import FinishedReply, finish_reply, record_spending
from persistence.tasks import insert_task
from server import owners as commands
from server.owners import NotDone, delete_owner, export_owner
from server.settings import Settings
from tests.conftest import until
from tests.model import ScriptedModel, last_text, say
from tests.service.test_statements import explain, reads
from tests.workers import NEVER, NOTHING, StartNode, Tools, begin_and_die, finished, row_of, save, send

REPOSITORY = Path(__file__).parents[2]
SOME = {**NOTHING, "output_tokens": 7}
NONE = {"conversation": 0, "message": 0, "task": 0, "usage": 0}


@pytest.fixture
def settings(queue: Database) -> Settings:
    return Settings(database_url=url_of(queue), lease_seconds=1)


def url_of(database: Database) -> str:
    return database.engine.url.render_as_string(hide_password=False)


async def export(settings: Settings, owner: str = "ann") -> list[dict[str, Any]]:
    file = io.BytesIO()
    await export_owner(settings, owner, file)
    return [json.loads(line) for line in file.getvalue().splitlines()]


async def delete(settings: Settings, owner: str = "ann") -> dict[str, int]:
    async with asyncio.timeout(60):
        return await delete_owner(settings, owner, confirm=lambda counts: True)


async def all_rows(queue: Database) -> dict[str, list[Any]]:
    """Every row of every table that has owners, by table."""
    async with queue.connection() as connection:
        return {
            table: list((await connection.execute(text(f"select * from {table} order by 1"))).mappings())
            for table in OWNED
        }


#: The tables that have owners. Runs are of messages, and say nothing that those do not.
OWNED = {"conversation", "message", "run", "spending", "task"}


@pytest.fixture
async def stored(queue: Database, start_node: StartNode, model: ScriptedModel) -> AsyncIterator[str]:
    """What ann and bob have: a conversation with a rated reply and a tool call, a task; gives ann's reply."""
    model.by(
        lambda request: (
            Answer([Text("So: "), Call("once", {"said": last_text(request)})])
            if len(request["messages"]) == 1
            else say("Done.")
        )
    )
    replies = {}
    for owner in ("ann", "bob"):
        replies[owner] = (await send(queue, f"Do it for {owner}.", owner=owner)).reply.row.id
    async with start_node():
        for owner, reply in replies.items():
            await finished(queue, reply)
            async with queue.session() as session:
                await rate_message(session, owner, reply, "DOWN", f"Too short, says {owner}")
                await insert_task(session, owner, f"Task of {owner}", "Notes")
    yield str(replies["ann"])


# Handing over


def test_the_tables_that_have_owners_are_those_that_are_known_here() -> None:
    assert {name for name, table in SQLModel.metadata.tables.items() if "owner_id" in table.columns} == OWNED


async def test_an_export_has_everything_of_its_owner_and_nothing_of_another(stored: str, settings: Settings) -> None:
    header, conversation, question, reply, task, usage, end = await export(settings)
    assert (header["type"], header["format"], header["version"]) == ("export", "loquent-owner", 1)
    assert (header["owner_id"], conversation["type"]) == ("ann", "conversation")
    assert (question["type"], question["role"], question["parent_id"]) == ("message", "USER", None)
    assert question["parts"] == [{"type": "text", "text": "Do it for ann."}]
    assert (reply["id"], reply["parent_id"], reply["status"]) == (stored, question["id"], "COMPLETE")
    assert conversation["newest_message_id"] == stored
    assert [part["type"] for part in reply["parts"]] == ["text", "tool_call", "text"]
    assert reply["parts"][1]["parameters"] == {"said": "Do it for ann."}
    assert (reply["rating"], reply["rating_comment"]) == ("DOWN", "Too short, says ann")
    assert reply["output_tokens"] == usage["output_tokens"] > 0
    assert (task["type"], task["title"], task["notes"]) == ("task", "Task of ann", "Notes")
    assert end == {"type": "end", "conversations": 1, "messages": 2, "tasks": 1, "usage": 1}
    assert "bob" not in json.dumps([header, conversation, question, reply, task, usage, end])


async def test_an_export_of_nobody_says_that_there_is_nothing(stored: str, settings: Settings) -> None:
    header, end = await export(settings, "carl")
    assert (header["owner_id"], end) == (
        "carl",
        {"type": "end", "conversations": 0, "messages": 0, "tasks": 0, "usage": 0},
    )


async def test_an_export_is_of_one_moment(stored: str, queue: Database) -> None:
    async with snapshot(queue) as connection:
        rows = read_owner(connection, "ann")
        kinds = [(await anext(rows))[0]]
        async with queue.session() as session:
            await insert_task(session, "ann", "Later", None)
            await session.execute(text("delete from message where owner_id = 'ann'"))
        kinds += [kind async for kind, _ in rows]
    assert kinds == ["conversation", "message", "message", "task", "usage"]


async def test_an_export_takes_memory_for_some_rows_alone(queue: Database, settings: Settings) -> None:
    sent = await send(queue, "Go.")
    fill = """
        insert into message (id, conversation_id, owner_id, depth, jump_id, jump_depth, role, status, parts)
        select gen_random_uuid(), :id, 'ann', n, gen_random_uuid(), 0, 'USER', 'COMPLETE',
            json_build_array(json_build_object('type', 'text', 'text', repeat('0123456789', 10000)))
        from generate_series(1, 600) n
    """
    async with queue.connection() as connection:
        await connection.execute(text(fill), {"id": sent.conversation.id})
    with Path(os.devnull).open("wb") as nowhere:
        tracemalloc.start()
        try:
            counts = await export_owner(settings, "ann", nowhere)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert counts["message"] == 602
    assert peak < 30_000_000


def test_an_export_that_breaks_off_leaves_no_file_that_could_be_taken_for_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "ann.jsonl"
    with pytest.raises(OSError, match="full"), commands.open_export(str(path)) as file:
        file.write(b"half")
        raise OSError("the disk is full")
    assert not path.exists()


# Deleting


async def test_deleting_takes_everything_of_its_owner_and_nothing_of_another(
    stored: str, queue: Database, settings: Settings
) -> None:
    before = await all_rows(queue)
    assert await delete(settings) == {"conversation": 1, "message": 2, "task": 1, "usage": 1}
    after = await all_rows(queue)
    assert after == {table: [row for row in rows if row["owner_id"] == "bob"] for table, rows in before.items()}
    assert len(await export(settings)) == 2
    assert len(await export(settings, "bob")) == 7


async def test_deleting_again_finds_nothing(stored: str, settings: Settings) -> None:
    await delete(settings)
    assert await delete(settings) == NONE


async def test_deleting_twice_at_once_deletes_once(stored: str, settings: Settings) -> None:
    first, second = await asyncio.gather(delete(settings), delete(settings))
    assert {kind: first[kind] + second[kind] for kind in NONE} == {
        "conversation": 1,
        "message": 2,
        "task": 1,
        "usage": 1,
    }


async def test_what_is_not_confirmed_is_not_deleted(stored: str, queue: Database, settings: Settings) -> None:
    before, told = await all_rows(queue), []

    def refuse(counts: Any) -> bool:
        told.append(dict(counts))
        return False

    with pytest.raises(NotDone):
        await delete_owner(settings, "ann", confirm=refuse)
    assert told == [{"conversation": 1, "message": 2, "task": 1, "usage": 1}]
    assert await all_rows(queue) == before


async def test_much_is_deleted_in_batches(queue: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owners, "BATCH", 3)
    for _ in range(4):
        sent = await send(queue, "Go.")
    fill = """
        insert into message (id, conversation_id, owner_id, depth, jump_id, jump_depth, role, status, parts)
        select gen_random_uuid(), :id, 'ann', n, gen_random_uuid(), 0, 'USER', 'COMPLETE', '[]'
        from generate_series(1, 7) n
    """
    async with queue.connection() as connection:
        await connection.execute(text(fill), {"id": sent.conversation.id})
        await connection.execute(
            text(
                "insert into task (id, owner_id, title) select gen_random_uuid(), 'ann', 'T' from generate_series(1, 7)"
            )
        )
    assert await delete(settings) == {"conversation": 4, "message": 15, "task": 7, "usage": 0}
    assert await all_rows(queue) == {table: [] for table in OWNED}


async def test_a_reply_that_is_written_is_stopped_first_and_leaves_nothing(
    queue: Database,
    settings: Settings,
    start_node: StartNode,
    model: ScriptedModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Deleting waits for longer than the test does, and the reply takes longer still.
    monkeypatch.setattr(commands, "MARGIN", 600)
    words = tuple(f"{number} " for number in range(6000))
    model.script(Answer([Text("".join(words), tokens=words)], tokens_per_second=50))
    async with start_node(lease=1.0):
        await send(queue, "Write.")
        kept = await send(queue, "Write.", owner="bob")
        await until(lambda: model.open_streams == 2)
        await delete(settings)
        await until(lambda: model.open_streams == 1)
        rows = await all_rows(queue)
        assert {row["owner_id"] for table in rows.values() for row in table} == {"bob"}
        assert (await row_of(queue, kept.reply.row.id))["status"] == "STREAMING"
    # The node is gone, with all that it may have had to tell.
    assert len(await export(settings)) == 2


async def test_a_tool_call_that_does_not_end_does_not_hold_up_deleting(
    queue: Database, settings: Settings, start_node: StartNode, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer([Call("hold", {})]))
    async with start_node(lease=1.0):
        sent = await send(queue, "Hold.")

        async def holds() -> bool:
            return bool((await row_of(queue, sent.reply.row.id))["parts"])

        await until(holds)
        await delete(settings)
        tools.may_end.set()
    assert await all_rows(queue) == {table: [] for table in OWNED}


async def test_a_node_that_slept_writes_nothing_back(
    queue: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "MARGIN", -2.0)
    run = await begin_and_die(queue, [TextPart("Once")], lease=NEVER)
    await delete(settings)
    assert not await save(queue, run, [TextPart("Once upon a time")])
    end = FinishedReply("COMPLETE", [], "Once", "scripted", SOME)
    async with queue.connection() as connection:
        assert await finish_reply(connection, run, end) is None
    async with queue.session() as session:
        await record_deleted(session, "ann", run.message_id, SOME)
    assert await all_rows(queue) == {table: [] for table in OWNED}


async def test_a_title_that_comes_after_deleting_is_not_noted(stored: str, queue: Database, settings: Settings) -> None:
    async with queue.connection() as connection:
        await record_spending(connection, "ann", SOME)
        assert await delete(settings) == {"conversation": 1, "message": 2, "task": 1, "usage": 2}
        await record_spending(connection, "ann", SOME)
    assert len(await export(settings)) == 2


async def test_the_first_reply_of_somebody_who_deletes_it_while_it_is_written_is_noted(queue: Database) -> None:
    run = await begin_and_die(queue, lease=NEVER)
    async with queue.transaction() as session:
        assert await delete_conversation(session, "ann", run.conversation_id) == [run.message_id]
    async with queue.session() as session:
        await record_deleted(session, "ann", run.message_id, SOME)
    spent = [row["output_tokens"] for row in (await all_rows(queue))["spending"]]
    assert sum(spent) == 7


async def test_what_waits_for_its_user_or_for_a_node_is_deleted_at_once(
    queue: Database, settings: Settings, start_node: StartNode, model: ScriptedModel
) -> None:
    model.script(Answer([Call("ask", {})]))
    async with start_node():
        sent = await send(queue, "Ask me.")

        async def waits() -> bool:
            return bool((await row_of(queue, sent.reply.row.id))["status"] == "AWAITING_APPROVAL")

        await until(waits)
    await send(queue, "Nobody is there.")
    async with asyncio.timeout(2):
        await delete(settings)
    assert await all_rows(queue) == {table: [] for table in OWNED}


async def test_what_is_read_and_deleted_of_an_owner_comes_from_an_index(queue: Database) -> None:
    async with queue.engine.connect() as connection:
        await connection.execute(
            text(
                "insert into task (id, owner_id, title)"
                " select gen_random_uuid(), 'o' || n, 'T' from generate_series(1, 5000) n"
            )
        )
        await connection.execute(text("analyze task"))
        for plan in await explain(connection, lambda session: owners.delete_some_tasks(session, "o7")):
            assert "task_by_age" in reads(plan)
            assert "all of task" not in reads(plan)


# The commands


def run_command(*arguments: str, url: str | None, answer: str = "") -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LOQUENT", "ANTHROPIC"))}
    return subprocess.run(
        [sys.executable, "-m", "server", *arguments],
        cwd=REPOSITORY,
        env={**clean, **({"LOQUENT_DATABASE_URL": url} if url else {})},
        input=answer,
        capture_output=True,
        text=True,
        timeout=60,
    )


async def run_there(*arguments: str, url: str | None, answer: str = "") -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(run_command, *arguments, url=url, answer=answer)


async def test_the_command_needs_nothing_but_the_database_and_writes_a_file_of_ones_own(
    stored: str, queue: Database, tmp_path: Path
) -> None:
    url, path = url_of(queue), tmp_path / "ann.jsonl"
    done = await run_there("export-owner", "--owner", "ann", "--output", str(path), url=url)
    assert (done.returncode, done.stdout) == (0, "")
    assert "conversations: 1, messages: 2, tasks: 1, usage: 1" in done.stderr
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lines = path.read_text().splitlines()
    assert [json.loads(line)["type"] for line in lines] == [
        *("export", "conversation", "message", "message", "task", "usage", "end")
    ]
    printed = await run_there("export-owner", "--owner", "ann", url=url)
    assert printed.returncode == 0
    assert printed.stdout.splitlines()[1:] == lines[1:]
    again = await run_there("export-owner", "--owner", "ann", "--output", str(path), url=url)
    assert (again.returncode, path.read_text().splitlines()) == (1, lines)
    assert "File exists" in again.stderr


async def test_the_command_asks_before_it_deletes(stored: str, queue: Database) -> None:
    url = url_of(queue)
    before = await all_rows(queue)
    for answer in ("", "yes\n", "bob\n"):
        refused = await run_there("delete-owner", "--owner", "ann", url=url, answer=answer)
        assert refused.returncode == 1
        assert "nothing was deleted" in refused.stderr
    assert await all_rows(queue) == before
    done = await run_there("delete-owner", "--owner", "ann", url=url, answer="ann\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert "conversations: 1, messages: 2, tasks: 1, usage: 1" in done.stdout.splitlines()[0]
    again = await run_there("delete-owner", "--owner", "ann", "--yes", url=url)
    assert (again.returncode, again.stdout) == (
        0,
        "Deleted of 'ann': conversations: 0, messages: 0, tasks: 0, usage: 0.\n",
    )


@pytest.mark.parametrize("command", ["export-owner", "delete-owner"])
async def test_what_cannot_be_done_ends_with_a_line_that_says_why(command: str, queue: Database) -> None:
    missing = await run_there(command, "--owner", "ann", url=None)
    assert (missing.returncode, "LOQUENT_DATABASE_URL" in missing.stderr) == (2, True)
    for owner in ("", "\udcff"):
        wrong = await run_there(command, "--owner", owner, url=url_of(queue))
        assert (wrong.returncode, "Traceback" in wrong.stderr) == (2, False)
    away = await run_there(command, "--owner", "ann", url="postgresql://nobody@127.0.0.1:1/nothing")
    assert (away.returncode, away.stdout, len(away.stderr.splitlines())) == (1, "", 1)


@pytest.mark.parametrize("command", ["export-owner", "delete-owner"])
async def test_a_database_of_another_version_is_left_alone(command: str, queue: Database) -> None:
    async with queue.connection() as connection:
        await connection.execute(text("update alembic_version set version_num = '9999'"))
        try:
            done = await run_there(command, "--owner", "ann", url=url_of(queue))
        finally:
            await connection.execute(text(f"update alembic_version set version_num = '{NEWEST_VERSION}'"))
    assert (done.returncode, "9999" in done.stderr) == (1, True)
