"""What `/metrics` tells of real replies, and that the dashboard and the alerts name what it tells."""

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import connect

from agent.stand_in.answers import Answer, Refusal, Text, ToolUse
from tests.acceptance.clusters import find_servers
from tests.acceptance.nodes import REPOSITORY, Node, run_cluster
from tests.client import Client, GraphQLFailed
from tests.conftest import RunningServer, StartServer, until
from tests.model import ScriptedModel, say

STOP = "mutation ($id: ID!) { stopMessage(input: {messageId: $id}) { message { status } } }"
DASHBOARD = REPOSITORY / "deploy/grafana/loquent.json"
ALERTS = REPOSITORY / "deploy/prometheus/alerts.yml"
#: Words of PromQL and of its templates that are no labels.
OF_PROMETHEUS = {"job", "instance", "le", "worker"}


class Figures(dict[tuple[str, frozenset[tuple[str, str]]], float]):
    """The samples of a text of `/metrics`."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.families = list(text_string_to_metric_families(text))
        for family in self.families:
            for sample in family.samples:
                self[sample.name, frozenset(sample.labels.items())] = sample.value

    def of(self, name: str, **labels: str) -> float:
        return self.get((f"loquent_{name}", frozenset(labels.items())), 0.0)


async def figures_of(url: str) -> Figures:
    async with httpx2.AsyncClient(timeout=30) as http:
        response = await http.get(f"{url}/metrics")
        assert response.status_code == 200
        return Figures(response.text)


@pytest.fixture
async def fresh(start_server: StartServer, model: ScriptedModel) -> AsyncIterator[RunningServer]:
    """A server that has counted nothing yet."""
    async with start_server(runs_per_node=7) as server:
        yield server


@pytest.fixture
async def cara(fresh: RunningServer) -> AsyncIterator[Client]:
    client = Client(fresh.url, "cara")
    yield client
    await client.close()


async def test_a_finished_reply_is_counted_with_its_tokens_and_tools(
    fresh: RunningServer, model: ScriptedModel, cara: Client
) -> None:
    model.script(Answer([ToolUse("addTask", {"title": "x"}), ToolUse("tell me a secret", {})]), say("Done."))
    _, reply = await cara.ask("Add it.")
    figures = await figures_of(fresh.url)
    assert figures.of("replies_started_total") == 1
    assert figures.of("replies_finished_total", status="COMPLETE", code="") == 1
    assert figures.of("time_to_first_token_seconds_count") == 1
    assert figures.of("reply_duration_seconds_count") == 1
    assert figures.of("model_calls_total", model="scripted", outcome="OK") == 2
    assert figures.of("tool_calls_total", tool="addTask", status="SUCCEEDED") == 1
    # What the model makes up is no label.
    assert figures.of("tool_calls_total", tool="unknown", status="FAILED") == 1
    for kind, field in (("input", "inputTokens"), ("output", "outputTokens")):
        assert figures.of("tokens_total", kind=kind, model="scripted") == reply["usage"][field] > 0
    assert figures.of("runs_capacity") == 7
    assert figures.of("runs_under_way") == 0
    assert figures.of("live_replies") == 1
    assert figures.of("database_pool_size") == 20
    assert not any("secret" in str(sample) for sample in figures)


async def test_a_stopped_and_a_failed_reply_are_counted_as_such(
    fresh: RunningServer, model: ScriptedModel, cara: Client
) -> None:
    model.script(Answer([Text("On and on. " * 100)], tokens_per_second=20))
    sent = await cara.send("Write.")
    await until(lambda: model.open_streams > 0)
    assert (await figures_of(fresh.url)).of("runs_under_way") == 1
    await cara.execute(STOP, id=sent.reply)
    await cara.finished(sent.reply)
    model.script(Refusal(400, "invalid_request_error", "No."))
    await cara.ask("Fail.")
    figures = await figures_of(fresh.url)
    assert figures.of("replies_finished_total", status="STOPPED", code="") == 1
    assert figures.of("replies_finished_total", status="FAILED", code="MODEL_REJECTED_REQUEST") == 1
    assert figures.of("model_calls_total", model="scripted", outcome="CANCELLED") == 1
    assert figures.of("model_calls_total", model="scripted", outcome="MODEL_REJECTED_REQUEST") == 1
    assert figures.of("replies_started_total") == 2


async def test_operations_are_counted_by_type_and_outcome(fresh: RunningServer, cara: Client) -> None:
    await cara.execute("query Mine { viewer { id } }")
    for wrong in ("{ nothing }", "query Broken {"):
        with pytest.raises(GraphQLFailed):
            await cara.execute(wrong)
    with pytest.raises(GraphQLFailed):
        await cara.execute(STOP, id="no such id")
    await cara.http.post("/graphql", content=b"no JSON")
    async with httpx2.AsyncClient() as stranger:
        await stranger.post(f"{fresh.url}/graphql", json={"query": "{ viewer { id } }"})
    figures = await figures_of(fresh.url)
    assert figures.of("operations_total", type="query", outcome="OK") == 1
    assert figures.of("operations_total", type="query", outcome="BAD_USER_INPUT") == 1
    assert figures.of("operations_total", type="mutation", outcome="BAD_USER_INPUT") == 1
    assert figures.of("operations_total", type="unknown", outcome="BAD_USER_INPUT") == 2
    assert figures.of("operations_total", type="unknown", outcome="UNAUTHENTICATED") == 1
    assert figures.of("operation_duration_seconds_count", type="query") == 2


async def test_refusals_by_rate_limits_and_sockets_that_are_closed_are_counted(
    start_server: StartServer, model: ScriptedModel
) -> None:
    async with start_server(rate_limit=1, operations_per_second=1, operations_per_socket=1) as server:
        dan = Client(server.url, "dan")
        await dan.ask("Once.")
        with pytest.raises(GraphQLFailed):
            await dan.send("Twice.")
        async with dan.socket() as socket:
            assert (await figures_of(server.url)).of("open_sockets") == 1
            for refused in (False, True):
                results = socket.subscribe("{ viewer { id } }")
                if refused:
                    with pytest.raises(GraphQLFailed):
                        await anext(results)
                else:
                    assert await anext(results)
                await results.aclose()
        async with connect(f"ws{server.url[4:]}/graphql", subprotocols=["graphql-transport-ws"]) as connection:  # type: ignore[list-item]
            await connection.send(json.dumps({"type": "connection_init", "payload": {"Authorization": "Bearer no"}}))
            await connection.wait_closed()

        async def counted() -> bool:
            return (await figures_of(server.url)).of("sockets_closed_total", code="4403") == 1

        await until(counted)
        figures = await figures_of(server.url)
        assert figures.of("rate_limit_refusals_total", code="RATE_LIMITED") == 2
        assert figures.of("operations_total", type="mutation", outcome="RATE_LIMITED") == 1
        assert figures.of("open_sockets") == 0
        await dan.close()


async def test_a_request_keeps_the_id_that_it_came_with(cara: Client, model: ScriptedModel) -> None:
    async def id_of(**headers: str) -> str:
        response = await cara.http.post("/graphql", json={"query": "{ viewer { id } }"}, headers=headers)
        return str(response.headers["x-request-id"])

    assert await id_of(**{"X-Request-Id": "from.the-proxy_1"}) == "from.the-proxy_1"
    assert re.fullmatch("[0-9a-f]{16}", await id_of())
    assert re.fullmatch("[0-9a-f]{16}", await id_of(**{"X-Request-Id": "a, b; " * 20 + "c"}))


async def test_several_processes_answer_together_with_a_label_for_each(
    tmp_path: Path, _model: ScriptedModel, model: ScriptedModel
) -> None:
    assert _model.server is not None
    async with run_cluster(tmp_path, _model.server.base_url, count=0) as cluster:
        node = cluster.add_node("pair", "--workers", "2", LOQUENT_VALKEY_URL=None)
        node.start()
        try:
            await node.wait_until_ready()
            erin = Client(node.url, "erin")
            for _ in range(6):
                await erin.ask("Hello?")
            await erin.close()
            await until_told(node, {"0", "1"})
            # Whichever is asked tells the same.
            for _ in range(8):
                figures = await figures_of(node.url)
                assert sum(figures.of("replies_started_total", worker=worker) for worker in "01") == 6
                assert {figures.of("valkey_connected", worker=worker) for worker in "01"} == {1.0}
                names = [family.name for family in figures.families]
                assert len(names) == len(set(names))
            server = find_servers(node)[0]
            os.kill(server, signal.SIGKILL)
            await until(lambda: len(find_servers(node)) == 2 and server not in find_servers(node))
            await until_told(node, {"0", "1"})
        finally:
            await node.terminate()


async def until_told(node: Node, workers: set[str]) -> None:
    async def told() -> bool:
        try:
            figures = await figures_of(node.url)
        except httpx2.HTTPError:
            return False
        return {labels["worker"] for _, labels in map(_unpack, figures)} == workers

    await until(told)


def _unpack(sample: tuple[str, frozenset[tuple[str, str]]]) -> tuple[str, Mapping[str, str]]:
    return sample[0], dict(sample[1])


# The dashboard and the alerts


def expressions(tree: Any) -> Iterator[str]:
    """All queries of a dashboard."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key in ("expr", "definition"):
                yield value
            yield from expressions(value)
    elif isinstance(tree, list):
        for entry in tree:
            yield from expressions(entry)


@pytest.fixture(scope="module")
async def told(tmp_path_factory: pytest.TempPathFactory, _model: ScriptedModel) -> dict[str, set[str]]:
    """The names of all samples that a node with Valkey tells, each with its labels."""
    assert _model.server is not None
    async with run_cluster(tmp_path_factory.mktemp("node"), _model.server.base_url, count=1) as cluster:
        node = cluster.nodes[0]
        fay = Client(node.url, "fay")
        _model.script(Answer([ToolUse("addTask", {"title": "x"})]), say("Done."))
        await fay.ask("Add it.")
        with pytest.raises(GraphQLFailed):
            await fay.execute("{ nothing }")
        await fay.close()
        text = await figures_of(node.url)
    names: dict[str, set[str]] = {}
    for family in text.families:
        # Of what has not happened yet there is the name alone.
        names.setdefault(f"{family.name}_total" if family.type == "counter" else family.name, set())
        for sample in family.samples:
            names.setdefault(sample.name, set()).update(sample.labels)
    return names


async def test_dashboard_and_alerts_ask_for_what_there_is(told: dict[str, set[str]]) -> None:
    board = list(expressions(json.loads(DASHBOARD.read_text())))
    assert len(board) > 30
    alerts = re.findall(r"expr: (?:\|\n)?((?:.+\n)+?) *(?:for|labels):", ALERTS.read_text())
    assert len(alerts) == ALERTS.read_text().count("- alert:")
    asked = set()
    for expression in [*board, *alerts]:
        assert expression.count("(") == expression.count(")")
        for name in re.findall(r"\b(?:loquent|process|python)_\w+", expression):
            assert name in told, f"{name} in {expression}"
            asked.add(name)
    for mentioned in re.findall(r"\bloquent_\w+", ALERTS.read_text()):
        assert mentioned in told
    # What is told without being shown is of no use but to find causes.
    unseen = {name.removesuffix("_bucket") for name in told if name.startswith("loquent_")} - {
        name.removesuffix("_bucket") for name in asked
    }
    assert {name for name in unseen if not name.endswith(("_count", "_sum"))} == {"loquent_database_pool_size"}


async def test_dashboard_and_alerts_ask_by_labels_that_there_are(told: dict[str, set[str]]) -> None:
    labels = {label for names in told.values() for label in names} | OF_PROMETHEUS | {"reason", "code"}
    texts = [*expressions(json.loads(DASHBOARD.read_text())), ALERTS.read_text()]
    for text in texts:
        for group in re.findall(r"\bby \(([^)]*)\)", text):
            assert {label.strip() for label in group.split(",")} <= labels, text
        for group in re.findall(r"\w\{([^{}]*=[^{}]*)\}", text):
            assert set(re.findall(r"(\w+)\s*(?:=|!=|=~)\s*\"", group)) <= labels, text


async def test_figures_that_are_asked_for_at_once_are_told_to_all(fresh: RunningServer) -> None:
    told = await asyncio.gather(*(figures_of(fresh.url) for _ in range(20)))
    assert all(("loquent_queued_runs", frozenset()) in figures for figures in told)
