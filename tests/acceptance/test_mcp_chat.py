"""A tool of an MCP server in a chat: its user is asked, it is called once, and it ends with the node."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text

from agent.stand_in.answers import Answer, Text, ToolUse
from persistence.database import Database
from tests.acceptance.nodes import Node
from tests.client import Client
from tests.conftest import ConnectClient, empty, until
from tests.model import SECRET, ScriptedModel, say

REPOSITORY = str(Path(__file__).parents[2])
RESOLVE = "mutation ($input: ResolveToolCallInput!) { resolveToolCall(input: $input) { message { id } } }"


@pytest.fixture(scope="module")
async def own_database(database: Database, database_url: str) -> AsyncIterator[Database]:
    """A database beside the shared one, whose server has no such tools."""
    async with database.connection() as connection:
        await connection.execute(text("create database mcp"))
    own = Database(make_url(database_url).set(database="mcp").render_as_string(hide_password=False))
    await own.migrate()
    yield own
    await own.close()


@pytest.fixture
async def node(own_database: Database, model: ScriptedModel, tmp_path: Path) -> AsyncIterator[Node]:
    """A server process whose agent has the tools of a program."""
    assert model.server is not None
    arguments = ["-m", "tests.mcp_server", "--pid", str(tmp_path / "pids")]
    environment = {"NOTES": str(tmp_path / "notes")}
    program = {"command": sys.executable, "args": arguments, "cwd": REPOSITORY, "env": environment}
    settings = {
        "LOQUENT_DATABASE_URL": own_database.engine.url.render_as_string(hide_password=False),
        "LOQUENT_JWT_SECRET": SECRET,
        "LOQUENT_TITLES": "false",
        "LOQUENT_GRACE_SECONDS": "1",
        "ANTHROPIC_API_KEY": "key",
        "ANTHROPIC_BASE_URL": model.server.base_url,
        "LOQUENT_MCP_SERVERS": json.dumps({"mcpServers": {"files": {**program, "autoApprove": ["echo"]}}}),
    }
    node = Node("mcp", tmp_path, settings)
    node.start()
    await node.wait_until_ready()
    await until(lambda: "mcp files: connected" in node.log.read_text())
    yield node
    node.kill()
    await empty(own_database)


@pytest.fixture
def ann(node: Node, connect_client: ConnectClient) -> Client:
    return connect_client("ann", url=node.url)


def processes(tmp_path: Path) -> list[int]:
    """The programs that were started and still run."""
    started = [int(line) for line in (tmp_path / "pids").read_text().split()]
    return [pid for pid in started if Path(f"/proc/{pid}").exists()]


async def ask_to_note(ann: Client, model: ScriptedModel) -> str:
    """Have the model call a tool that asks first; gives the reply that waits."""
    model.script(Answer([Text("I note."), ToolUse("files__note", {"text": "Milk"}, id="call")]), say("Done."))
    sent = await ann.send("Note milk.")

    async def waits() -> bool:
        return bool((await ann.message(sent.reply))["status"] == "AWAITING_APPROVAL")

    await until(waits)
    return sent.reply


async def answer(ann: Client, reply: str, approve: bool) -> dict[str, Any]:
    await ann.execute(RESOLVE, input={"messageId": reply, "toolCallId": "call", "approve": approve})
    return await ann.finished(reply)


async def test_the_model_is_offered_the_tools_beside_those_of_the_schema(ann: Client, model: ScriptedModel) -> None:
    await ann.ask("Hi.")
    offered = {tool["name"]: tool for tool in model.requests[0]["tools"]}
    assert {"addTask", "files__echo", "files__note"} <= offered.keys()
    assert offered["files__note"]["description"] == "Does note."


async def test_a_call_waits_for_its_user_and_is_made_once_it_is_approved(
    ann: Client, model: ScriptedModel, tmp_path: Path
) -> None:
    reply = await ask_to_note(ann, model)
    assert not (tmp_path / "notes").exists()
    message = await answer(ann, reply, True)
    assert (message["status"], message["parts"][1]["status"]) == ("COMPLETE", "SUCCEEDED")
    assert message["parts"][1]["result"] == "Noted."
    assert (tmp_path / "notes").read_text() == "Milk\n"


async def test_a_denied_call_is_not_made(ann: Client, model: ScriptedModel, tmp_path: Path) -> None:
    message = await answer(ann, await ask_to_note(ann, model), False)
    assert (message["status"], message["parts"][1]["status"]) == ("COMPLETE", "DENIED")
    assert not (tmp_path / "notes").exists()


async def test_a_call_that_was_configured_so_asks_nobody(ann: Client, model: ScriptedModel) -> None:
    model.script(Answer([ToolUse("files__echo", {"text": "Hi"})]), say("Done."))
    _, message = await ann.ask("Echo.")
    assert message["parts"][0]["result"] == "Hi"


async def test_a_call_that_is_approved_after_the_node_was_replaced_is_made(
    ann: Client, node: Node, model: ScriptedModel, tmp_path: Path
) -> None:
    reply = await ask_to_note(ann, model)
    node.kill()
    node.start()
    await node.wait_until_ready()
    await until(lambda: node.log.read_text().count("mcp files: connected") == 2)
    assert (await answer(ann, reply, True))["status"] == "COMPLETE"
    assert (tmp_path / "notes").read_text() == "Milk\n"


async def test_a_program_knows_nothing_of_the_servers_secrets(ann: Client, model: ScriptedModel) -> None:
    model.script(Answer([ToolUse("files__environment", {}, id="call")]), say("Done."))
    sent = await ann.send("What is there?")
    await until(lambda: len(model.requests) == 1)

    async def waits() -> bool:
        return bool((await ann.message(sent.reply))["status"] == "AWAITING_APPROVAL")

    await until(waits)
    names = (await answer(ann, sent.reply, True))["parts"][0]["result"].split()
    assert "NOTES" in names
    assert not [name for name in names if name.startswith(("LOQUENT", "ANTHROPIC"))]


@pytest.mark.parametrize("signal", [15, 9])
async def test_no_program_outlives_its_node(node: Node, tmp_path: Path, signal: int) -> None:
    assert len(processes(tmp_path)) == 1
    os.kill(node.process.pid, signal)
    await asyncio.to_thread(node.process.wait, 30)
    await until(lambda: not processes(tmp_path), seconds=10)
