"""What a real process logs: one line of JSON for each operation and each run, and no text of anybody's."""

import json
import logging
import sys
from collections.abc import AsyncIterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from agent.stand_in.answers import Answer, Text, ToolUse
from server.observability.logs import MOST_LINES, BackgroundHandler, JsonFormatter, TextFormatter
from tests.acceptance.nodes import Cluster, Node, run_cluster
from tests.client import SEND, Client, GraphQLFailed
from tests.conftest import until
from tests.model import ScriptedModel

QUESTION, TITLE, ANSWER, SEARCH = "a question of Gina's", "a task of Gina's", "an answer for Gina", "a search of Gina's"


@pytest.fixture(scope="module")
async def _cluster(tmp_path_factory: pytest.TempPathFactory, _model: ScriptedModel) -> AsyncIterator[Cluster]:
    assert _model.server is not None
    async with run_cluster(tmp_path_factory.mktemp("nodes"), _model.server.base_url, count=0) as cluster:
        yield cluster


async def start_node(cluster: Cluster, name: str, **environment: str) -> Node:
    node = cluster.add_node(name, **environment)
    cluster.nodes.append(node)
    node.start()
    await node.wait_until_ready()
    return node


def lines_of(node: Node, logger: str) -> list[dict[str, Any]]:
    """What this logger of the node has written; every line of the log must be JSON."""
    lines = [json.loads(line) for line in node.log.read_text().splitlines()]
    return [line for line in lines if line["logger"] == logger]


async def use(node: Node, model: ScriptedModel) -> Client:
    """A user asks, reads the reply and searches for it."""
    model.script(Answer([ToolUse("addTask", {"title": TITLE})]), Answer([Text(ANSWER)]))
    client = Client(node.url, "gina")
    body = {"query": SEND, "operationName": "Send", "variables": {"input": {"text": QUESTION}}}
    response = await client.http.post("/graphql", json=body, headers={"X-Request-Id": "from-the-proxy"})
    reply = response.json()["data"]["sendMessage"]["reply"]["id"]
    await client.finished(reply)
    await client.execute(
        "query Find($text: String!) { conversations(search: $text) { edges { cursor } } }", text=SEARCH
    )
    with pytest.raises(GraphQLFailed):
        await client.execute(f'mutation {{ deleteTask(input: {{id: "{SEARCH}"}}) {{ deletedId }} }}')
    await client.close()
    return client


async def test_each_operation_and_each_run_has_a_line_with_ids_and_no_texts(
    _cluster: Cluster, model: ScriptedModel
) -> None:
    node = await start_node(_cluster, "json")
    gina = await use(node, model)
    await until(lambda: len(lines_of(node, "loquent.operations")) == 5)
    sent, read, shown, found, refused = lines_of(node, "loquent.operations")
    assert sent["request"] == "from-the-proxy"
    for line, type, name, transport in (
        (sent, "mutation", "Send", "http"),
        (read, "subscription", "Stream", "websocket"),
        (shown, "query", None, "http"),
        (found, "query", "Find", "http"),
    ):
        assert (line["type"], line.get("name"), line["transport"]) == (type, name, transport)
        assert (line["owner"], line["outcome"], line["errors"]) == ("gina", "OK", 0)
        assert 0 < line["seconds"] < 60
    assert (refused["outcome"], refused["errors"]) == ("BAD_USER_INPUT", 1)
    [run] = lines_of(node, "loquent.runs")
    assert (run["outcome"], run["attempt"], run["steps"], run["tools"]) == ("COMPLETE", 1, 2, ["addTask"])
    assert run["request"] == "from-the-proxy"
    assert run["model"] == node.writer
    assert 0 < run["first_text"] <= run["seconds"] + run["waited"]
    assert run["input_tokens"] > 0
    assert run["node"] == sent["node"]

    whole = node.log.read_text()
    for secret in (QUESTION, TITLE, ANSWER, SEARCH, gina.token, gina.token.split(".")[2]):
        assert secret not in whole


async def test_a_higher_level_leaves_those_lines_out(_cluster: Cluster, model: ScriptedModel) -> None:
    node = await start_node(_cluster, "quiet", LOQUENT_LOG_LEVEL="warning")
    await use(node, model)
    assert await node.terminate() == 0
    assert lines_of(node, "loquent.operations") == lines_of(node, "loquent.runs") == []


async def test_the_same_lines_can_be_read_by_people(_cluster: Cluster, model: ScriptedModel) -> None:
    node = await start_node(_cluster, "text", LOQUENT_LOG_FORMAT="text")
    await use(node, model)
    assert await node.terminate() == 0
    lines = node.log.read_text().splitlines()
    assert any(" INFO loquent.operations: operation request=from-the-proxy type=mutation " in line for line in lines)
    assert any(" INFO loquent.runs: run reply=" in line and " request=from-the-proxy" in line for line in lines)


# Writing


def record(message: str, *arguments: object, failed: bool = False) -> logging.LogRecord:
    return logging.LogRecord("server", logging.ERROR, "", 0, message, arguments, sys.exc_info() if failed else None)


def test_an_error_is_one_line_with_its_traceback() -> None:
    try:
        raise ValueError("a\nb")
    except ValueError:
        written = JsonFormatter().format(record("incident %s", "x", failed=True))
    assert "\n" not in written
    line = json.loads(written)
    assert (line["level"], line["message"]) == ("error", "incident x")
    assert line["traceback"].endswith("ValueError: a\nb")


def test_what_is_no_unicode_is_still_a_line() -> None:
    line = json.loads(JsonFormatter().format(record("half: \ud800")))
    assert (line["level"], line["message"]) == ("error", "half: \ufffd")


def test_nobody_waits_for_who_reads_the_log() -> None:
    stream = StringIO()
    handler = BackgroundHandler(stream)
    handler.setFormatter(TextFormatter("%(message)s"))
    # As if the thread stood in its write.
    handler._waiting.set()
    for number in range(MOST_LINES + 5):
        handler.emit(record("line %d", number))
    assert stream.getvalue() == ""
    handler.flush()
    lines = stream.getvalue().splitlines()
    assert lines[:MOST_LINES] == [f"line {number}" for number in range(MOST_LINES)]
    assert lines[MOST_LINES:] == ["5 lines of the log were lost: they are not read as fast as they come"]


def test_all_that_was_logged_is_written_at_the_end(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        handler = BackgroundHandler(file)
        handler.setFormatter(TextFormatter("%(message)s"))
        for number in range(1000):
            handler.emit(record("line %d", number))
        handler.flush()
    assert (tmp_path / "log").read_text().splitlines() == [f"line {number}" for number in range(1000)]
