"""Every snippet of the documentation is run, or is an excerpt of a file that is.

A fence of `graphql` is held against the contract, `sh` is run by a shell against a server, `json` is read by what it is
for; code is an excerpt of the file that a comment above the fence names: `<!-- from examples/… -->`. A fence without a
language holds commands: what they name must be there.
"""

import json
import os
import re
import shlex
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
import strawberry
from graphql import GraphQLSchema, build_schema, parse, validate

import schema.mutation
from agent.mcp.settings import read_mcp_servers
from schema.query import Query
from schema.task import Task
from schema.tools import Toolbox
from server.cli import create_parser
from server.settings import Settings
from tests.client import Client
from tests.conftest import RunningServer
from tests.model import SECRET

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *ROOT.glob("*/README.md"),
]
#: What other programs than the server read.
ENVIRONMENT = {"ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "VITE_LOQUENT_URL"}
CODE = {"ts", "tsx", "js", "html", "css", "python"}
#: Whose code `tests/browser/docs.spec.ts` runs.
RUN_IN_A_BROWSER = ROOT / "docs/widget.md"
FENCE = re.compile(r"(?:^<!-- from (?P<file>\S+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Snippet:
    page: Path
    line: int
    language: str
    text: str
    #: The file that it is an excerpt of.
    file: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def _snippets() -> Iterator[Snippet]:
    for page in PAGES:
        text = page.read_text()
        for found in FENCE.finditer(text):
            line = text.count("\n", 0, found.start("language")) + 1
            yield Snippet(page, line, found["language"], found["text"], found["file"])


SNIPPETS = list(_snippets())
EXCERPTS = [s for s in SNIPPETS if s.language in CODE - {"python"} and s.page != RUN_IN_A_BROWSER]


def those_of(*languages: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("snippet", [s for s in SNIPPETS if s.language in languages], ids=str)


@pytest.fixture(scope="module")
def contract() -> GraphQLSchema:
    return build_schema((ROOT / "schema.graphql").read_text())


def test_there_are_snippets_to_test() -> None:
    assert {"graphql", "sh", "json", "ts", "python", ""} <= {snippet.language for snippet in SNIPPETS}
    assert {snippet.language for snippet in SNIPPETS} <= {"graphql", "sh", "json", "", *CODE}


@those_of("graphql")
def test_a_document_is_valid(snippet: Snippet, contract: GraphQLSchema) -> None:
    assert validate(contract, parse(snippet.text)) == []


@pytest.mark.parametrize("snippet", EXCERPTS, ids=str)
def test_code_is_an_excerpt_of_a_file_that_is_tested(snippet: Snippet) -> None:
    assert snippet.file, "name the file above the fence: <!-- from PATH -->"
    assert snippet.text in (ROOT / snippet.file).read_text()


async def test_the_first_query_of_the_readme_is_answered_and_streamed(ann: Client) -> None:
    ask, follow = [s.text for s in SNIPPETS if s.page == ROOT / "README.md" and s.language == "graphql"]
    sent = (await ann.execute(ask))["sendMessage"]
    async with ann.socket() as socket:
        events = [event async for event in socket.subscribe(follow.replace("REPLY-ID", sent["reply"]["id"]))]
    assert events[-1]["messageStream"]["message"]["status"] == "COMPLETE"
    assert "".join(event["messageStream"].get("text", "") for event in events[:-1])


@pytest.mark.parametrize("page", sorted({s.page for s in SNIPPETS if s.language == "sh"}), ids=lambda page: page.name)
async def test_what_a_shell_is_told_works(page: Path, ann: Client, server: RunningServer, tmp_path: Path) -> None:
    script = "\n".join(snippet.text for snippet in SNIPPETS if snippet.page == page and snippet.language == "sh")
    script = script.replace("http://127.0.0.1:8000", server.url)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    shell = await create_subprocess_exec(
        "bash", "-euo", "pipefail", "-c", script,
        cwd=tmp_path, env={**os.environ, "LOQUENT_JWT_SECRET": SECRET}, stdout=PIPE, stderr=PIPE,
    )  # fmt: skip
    out, problems = (stream.decode() for stream in await shell.communicate())
    assert shell.returncode == 0, problems
    assert '"errors"' not in out
    assert '"text":' in out


@those_of("json")
def test_a_file_of_mcp_servers_is_understood_and_a_line_of_the_log_is_one_object(
    snippet: Snippet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKETS_TOKEN", "secret")
    if "mcpServers" in snippet.text:
        assert read_mcp_servers(snippet.text)
    else:
        assert all(isinstance(json.loads(line), dict) for line in snippet.text.splitlines())


def test_a_field_that_is_marked_as_in_the_example_becomes_a_tool() -> None:
    [snippet] = [s for s in SNIPPETS if s.language == "python"]

    @strawberry.input
    class PostponeTaskInput:
        id: strawberry.ID
        until: datetime

    @strawberry.type
    class PostponeTaskPayload:
        task: Task

    given = {"PostponeTaskInput": PostponeTaskInput, "PostponeTaskPayload": PostponeTaskPayload, "tasks": object()}
    space = {**vars(schema.mutation), **given}
    exec(snippet.text, space)
    toolbox = Toolbox(strawberry.Schema(query=Query, mutation=space["Mutation"]), lambda _: pytest.fail())
    tools = {tool.name: tool for tool in toolbox.tools_of("ann")}
    assert set(tools["postponeTask"].parameters["properties"]) == {"id", "until"}


COMMANDS = [(s, line) for s in SNIPPETS if s.language == "" for line in s.text.splitlines()]


@pytest.mark.parametrize(("snippet", "line"), COMMANDS, ids=str)
def test_what_a_command_names_is_there(snippet: Snippet, line: str) -> None:
    for name in re.findall(r"\b(LOQUENT_[A-Z_]+|ANTHROPIC_[A-Z_]+)=", line):
        assert name.removeprefix("LOQUENT_").lower() in Settings.model_fields or name in ENVIRONMENT
    for target in re.findall(r"^(?:\S+=\S+ )*make ([a-z-]+)", line):
        assert f"\n{target}:" in (ROOT / "Makefile").read_text()
    for script in re.findall(r"\bnpm run ([a-z:]+)", line):
        assert script in json.loads((ROOT / "examples/vanilla/package.json").read_text())["scripts"]
    for service in re.findall(r"docker compose (?:exec|run)(?: -\S+)* (\S+)| (node-\d)\b", line):
        assert re.search(rf"^  {service[0] or service[1]}:", (ROOT / "compose.yaml").read_text(), re.M)
    for words in re.findall(r"(?:^|[ /])loquent ((?:[a-z][\w-]*)(?: [^#|>)]*)?)", line):
        if "docker build" not in line and words.split()[0] != "<":
            create_parser().parse_args(shlex.split(words))
    for path in re.findall(r"\b(?:deploy|requirements[\w-]*\.lock|examples)/?[\w./-]*", line):
        assert (ROOT / path).exists() or "generated" in path
