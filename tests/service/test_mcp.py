"""MCP servers as they are: real processes, real ports; and none of their troubles is a reply's."""

import asyncio
import logging
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.mcp import bounds, connection, server, servers
from agent.mcp.connection import Connection
from agent.mcp.servers import McpServers
from agent.mcp.settings import McpServerSettings
from agent.mcp.tools import find_faults
from agent.parts import ToolCallPart
from agent.tools import Outcome, Tool, call_tool
from tests.acceptance.nodes import free_port
from tests.conftest import until

REPOSITORY = str(Path(__file__).parents[2])

Program = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine takes long to start a program."""
    monkeypatch.setattr(servers, "START_TIMEOUT", 60.0)
    monkeypatch.setattr(server, "PATIENCE", 25.0)


@pytest.fixture
def pids(tmp_path: Path) -> Path:
    """Where each start of a server writes the id of its process."""
    return tmp_path / "pids"


@pytest.fixture
def program(pids: Path) -> Program:
    """How a server is started, with options and more settings."""

    def describe(*options: str, **more: Any) -> dict[str, Any]:
        arguments = ("-m", "tests.mcp_server", "--pid", str(pids), *options)
        return {"command": sys.executable, "args": arguments, "cwd": REPOSITORY, **more}

    return describe


@asynccontextmanager
async def connected(**servers: dict[str, Any]) -> AsyncIterator[McpServers]:
    mcp = McpServers({name: McpServerSettings.model_validate(given) for name, given in servers.items()})
    mcp.start()
    try:
        await mcp.wait_for_first_try()
        yield mcp
    finally:
        await mcp.close()


@asynccontextmanager
async def listening(port: int, *options: str) -> AsyncIterator[subprocess.Popen[bytes]]:
    """A server on a port."""
    arguments = [sys.executable, "-m", "tests.mcp_server", "--port", str(port), *options]
    process = subprocess.Popen(arguments, cwd=REPOSITORY)
    try:

        async def answers() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return False
            writer.close()
            return True

        await until(answers)
        yield process
    finally:
        process.kill()
        process.wait()


def running(pids: Path) -> list[int]:
    """The processes that were started and still run."""
    started = [int(line) for line in pids.read_text().split()] if pids.exists() else []
    return [pid for pid in started if Path(f"/proc/{pid}").exists()]


def find(mcp: McpServers, name: str) -> Tool:
    return next(tool for tool in mcp.tools if tool.name == name)


async def call(mcp: McpServers, name: str, **parameters: Any) -> Outcome:
    return await call_tool(mcp.tools, ToolCallPart("1", name, parameters))


def problem(outcome: Outcome) -> tuple[str, str]:
    """The code and the words of a call that failed."""
    status, result = outcome
    assert status == "FAILED"
    return result["error"]["code"], result["error"]["message"]


@pytest.fixture
async def files(program: Program) -> AsyncIterator[McpServers]:
    async with connected(files=program(autoApprove=["echo"], repeatable=["echo"])) as mcp:
        yield mcp


# What is offered


async def test_tools_are_offered_under_the_name_of_their_server_those_that_the_api_refuses_not(
    files: McpServers, caplog: pytest.LogCaptureFixture
) -> None:
    names = {tool.name for tool in files.tools}
    assert {"files__echo", "files__learn"} <= names
    assert sum(name.startswith("files__dotted_name_") for name in names) == 2
    assert all(len(name) <= 64 for name in names)
    assert not names & {"files__combined", "files__invalid", "files__bad_key", "files__too_large"}
    assert find(files, "files__echo").description == "Does echo."
    assert find(files, "files__echo").parameters["properties"] == {"text": {"type": "string"}}


async def test_a_tool_asks_and_is_not_repeated_unless_it_was_configured(files: McpServers) -> None:
    assert not find(files, "files__echo").needs_approval
    assert find(files, "files__echo").repeatable
    assert find(files, "files__note").needs_approval
    assert not find(files, "files__note").repeatable


async def test_a_tool_that_is_new_is_offered_when_the_server_says_so(files: McpServers) -> None:
    assert await call(files, "files__learn") == ("SUCCEEDED", "Learned.")
    await until(lambda: any(tool.name == "files__learned" for tool in files.tools), seconds=10)
    assert await call(files, "files__learned") == ("SUCCEEDED", "Did learned.")


async def test_schemas_are_looked_at_beside_the_event_loop_and_only_when_they_are_others(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []
    lists: list[int] = []

    def look(tools: Sequence[Any]) -> list[str | None]:
        threads.append(threading.current_thread())
        return find_faults(tools)

    async def list_tools(self: Connection) -> list[Any]:
        lists.append(1)
        return await list_them(self)

    list_them = Connection.list_tools
    monkeypatch.setattr(Connection, "list_tools", list_tools)
    monkeypatch.setattr(server, "find_faults", look)
    monkeypatch.setattr(server, "SHORTEST_INTERVAL", 0.05)
    monkeypatch.setattr(server, "REFRESH_INTERVAL", 0.05)
    async with connected(files=program()):
        await until(lambda: len(lists) >= 4)
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


# Results


async def test_a_result_is_not_checked_by_the_servers_own_pattern(files: McpServers) -> None:
    assert await call(files, "files__trap") == ("SUCCEEDED", {"a": "a" * 20 + "!"})


async def test_a_line_that_is_too_long_is_no_result_and_others_go_on(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "LARGEST_ANSWER", 100_000)
    async with connected(files=program(timeout=2)) as mcp:
        assert problem(await call(mcp, "files__huge"))[0] == "TIMEOUT"
        assert await call(mcp, "files__echo", text="Hi") == ("SUCCEEDED", "Hi")


async def test_text_structured_and_other_content_come_back(files: McpServers) -> None:
    assert await call(files, "files__echo", text="Hi 👍") == ("SUCCEEDED", "Hi 👍")
    assert await call(files, "files__structured") == ("SUCCEEDED", {"a": 1, "nul": "\ufffd"})
    _, said = await call(files, "files__picture")
    assert said.splitlines() == [
        "Look:",
        "[An image, image/png, 6 bytes: it cannot be shown here.]",
        "[A sound, audio/wav, 3 bytes: it cannot be played here.]",
        "[A link to a: file:///a.txt]",
        "file:///b.txt:",
        "bee",
        "[A file, file:///a.bin, 3 bytes: it cannot be shown here.]",
    ]


@pytest.mark.parametrize("tool", ["huge", "huge_structured"])
async def test_a_huge_result_is_cut(files: McpServers, tool: str) -> None:
    status, result = await call(files, f"files__{tool}")
    assert status == "SUCCEEDED"
    assert len(result) < 51_000
    assert "[Cut off: these are 50,000 of 700," in result


async def test_a_tools_own_error_is_told_in_its_words(files: McpServers) -> None:
    assert problem(await call(files, "files__fail")) == ("TOOL_FAILED", "There is no such file.")


async def test_a_call_that_hangs_ends_in_time_and_others_go_on(program: Program) -> None:
    async with connected(files=program(timeout=1)) as mcp:
        hung = asyncio.create_task(call(mcp, "files__hang"))
        assert await call(mcp, "files__echo", text="Hi") == ("SUCCEEDED", "Hi")
        assert problem(await hung) == ("TIMEOUT", "The tool did not answer within 1 seconds.")
        assert await call(mcp, "files__echo", text="Still here") == ("SUCCEEDED", "Still here")


async def test_many_calls_at_once_get_their_own_results(files: McpServers) -> None:
    outcomes = await asyncio.gather(*(call(files, "files__echo", text=str(n)) for n in range(50)))
    assert outcomes == [("SUCCEEDED", str(n)) for n in range(50)]


# Servers that fail


async def test_a_server_that_dies_in_a_call_fails_it_in_words_and_is_started_again(
    files: McpServers, pids: Path
) -> None:
    code, words = problem(await call(files, "files__die"))
    assert code == "TOOL_FAILED"
    assert "not known whether it was done" in words
    # The tools stay offered; the next call waits for the new process.
    assert await call(files, "files__echo", text="Again") == ("SUCCEEDED", "Again")
    assert len(pids.read_text().split()) == 2
    assert len(running(pids)) == 1


async def test_a_server_that_is_killed_while_nobody_calls_is_started_again(files: McpServers, pids: Path) -> None:
    [pid] = running(pids)
    os.kill(pid, 9)
    await until(lambda: len(pids.read_text().split()) == 2, seconds=20)
    assert await call(files, "files__echo", text="Again") == ("SUCCEEDED", "Again")


async def test_a_server_that_cannot_be_started_leaves_the_others_alone(
    program: Program, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with connected(dead={"command": "/no/such/program"}, ended={"command": "false"}, files=program()) as mcp:
        assert {tool.name.partition("__")[0] for tool in mcp.tools} == {"files"}
        assert await call(mcp, "files__echo", text="Hi") == ("SUCCEEDED", "Hi")
        assert problem(await call(mcp, "dead__read"))[0] == "UNKNOWN_TOOL"
    assert "mcp dead: not connected: No such file or directory" in caplog.text


async def test_a_server_that_never_answers_holds_the_start_up_for_seconds_only(
    program: Program, pids: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "START_TIMEOUT", 1.0)
    async with asyncio.timeout(10), connected(silent=program("--silent")) as mcp:
        assert mcp.tools == []
        await until(lambda: len(running(pids)) == 1)
    assert running(pids) == []


async def test_a_call_of_a_server_that_is_away_fails_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PATIENCE", 0.2)
    port = free_port()
    web = {"url": f"http://127.0.0.1:{port}/mcp"}
    async with listening(port) as process, connected(web=web) as mcp:
        assert await call(mcp, "web__echo", text="Hi") == ("SUCCEEDED", "Hi")
        process.kill()
        process.wait()
        code, words = problem(await call(mcp, "web__echo", text="Hi"))
        assert code == "TOOL_FAILED"
        assert "broke" in words

        async def is_away() -> bool:
            return problem(await call(mcp, "web__echo", text="Hi"))[0] == "TOOL_UNAVAILABLE"

        await until(is_away)
        async with listening(port):

            async def is_back() -> bool:
                return (await call(mcp, "web__echo", text="Hi"))[0] == "SUCCEEDED"

            await until(is_back, seconds=20)


async def test_a_server_that_stands_still_is_started_again(
    program: Program, pids: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "LIST_TIMEOUT", 0.5)
    async with connected(files=program(timeout=1)) as mcp:
        [pid] = running(pids)
        os.kill(pid, 19)
        assert problem(await call(mcp, "files__echo", text="Hi"))[0] == "TIMEOUT"

        async def is_back() -> bool:
            return (await call(mcp, "files__echo", text="Hi"))[0] == "SUCCEEDED"

        await until(is_back, seconds=30)
        assert pid not in running(pids)


async def test_a_server_that_is_busy_with_a_call_is_left_to_it(
    program: Program, pids: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "LIST_TIMEOUT", 0.5)
    monkeypatch.setattr(server, "REFRESH_INTERVAL", 0.2)
    async with connected(files=program()) as mcp:
        assert await call(mcp, "files__toil") == ("SUCCEEDED", "Done.")
    assert len(pids.read_text().split()) == 1


# By HTTP


async def test_tools_are_called_by_http_with_the_headers_that_were_configured() -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    async with listening(port, "--token", "Bearer sesame"):
        async with connected(web={"url": url, "headers": {"Authorization": "Bearer sesame"}}) as mcp:
            assert await call(mcp, "web__echo", text="Hi") == ("SUCCEEDED", "Hi")
            assert await call(mcp, "web__learn") == ("SUCCEEDED", "Learned.")
            await until(lambda: any(tool.name == "web__learned" for tool in mcp.tools), seconds=10)
        async with connected(web={"url": url, "headers": {"Authorization": "Bearer wrong"}}) as mcp:
            assert mcp.tools == []


async def test_an_answer_by_http_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "LARGEST_ANSWER", 100_000)
    port = free_port()
    async with listening(port), connected(web={"url": f"http://127.0.0.1:{port}/mcp"}) as mcp:
        assert (await call(mcp, "web__huge"))[0] == "FAILED"
        assert await call(mcp, "web__echo", text="Hi") == ("SUCCEEDED", "Hi")


# Secrets


async def test_a_program_has_of_our_environment_only_what_is_harmless(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ANTHROPIC_API_KEY", "LOQUENT_JWT_SECRET", "LOQUENT_DATABASE_URL", "SESAME"):
        monkeypatch.setenv(name, "sesame")
    async with connected(files=program(env={"OWN": "x"})) as mcp:
        _, names = await call(mcp, "files__environment")
    assert {"OWN", "PATH"} <= set(names.split())
    assert not [name for name in names.split() if name == "SESAME" or name.startswith(("ANTHROPIC", "LOQUENT"))]


async def test_what_a_program_complains_of_is_logged_bounded_and_without_secrets(
    program: Program, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with connected(files=program(env={"TOKEN": "sesame"})) as mcp:
        await call(mcp, "files__complain", text="The token sesame is wrong.\x1b[31m " + "x" * 5000)
        await until(lambda: "The token" in caplog.text)
        await call(mcp, "files__complain", text="line\n" * 5000)
        assert await call(mcp, "files__echo", text="Hi") == ("SUCCEEDED", "Hi")
    assert "mcp files: The token … is wrong. [31m xxx" in caplog.text
    assert "sesame" not in caplog.text
    assert len(caplog.text) < 20_000


async def test_what_a_server_says_of_its_failure_is_one_line_without_secrets(
    program: Program, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said = tmp_path / "said"
    said.write_text("not you\n2026-11-22 ERROR all: is lost, open-sesame")
    refused = program("--refusal", str(said), env={"TOKEN": "Bearer open-sesame"})
    async with connected(files=refused) as mcp:
        assert mcp.tools == []
    assert "not connected: not you 2026-11-22 ERROR all: is lost, …. Next try" in caplog.text


# The end


@pytest.mark.parametrize("options", [(), ("--stubborn",)])
async def test_no_process_is_left_when_the_node_ends(program: Program, pids: Path, options: tuple[str, ...]) -> None:
    async with connected(files=program(*options)) as mcp:
        assert await call(mcp, "files__echo", text="Hi") == ("SUCCEEDED", "Hi")
        assert len(running(pids)) == 1
    assert running(pids) == []


async def test_no_process_is_left_when_the_node_ends_while_one_is_ended(
    program: Program, pids: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "LIST_TIMEOUT", 0.5)
    monkeypatch.setattr(server, "REFRESH_INTERVAL", 0.2)
    async with connected(files=program("--stubborn")) as mcp:
        [pid] = running(pids)
        os.kill(pid, 19)
        # It was listed in vain by now, and has four seconds to end.
        await asyncio.sleep(3)
        assert running(pids) == [pid]
    assert mcp._running is not None
    assert mcp._running.done()
    assert running(pids) == []


def test_the_library_is_loaded_only_where_servers_are_configured() -> None:
    check = "import server.app, sys; assert not {'mcp', 'mcp_types', 'jsonschema'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], cwd=REPOSITORY, check=True)
