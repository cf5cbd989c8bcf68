"""Spans as a collector gets them: OTLP over HTTP, decoded by its own schema."""

import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from agent.stand_in.answers import Answer, Text, ToolUse
from tests.client import SEND, Client
from tests.conftest import RunningServer, StartServer, until
from tests.model import ScriptedModel

QUESTION, TITLE, ANSWER = "a question of Hal's", "a task of Hal's", "an answer for Hal"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@dataclass
class Collector:
    """What has been delivered."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)

    @property
    def requests(self) -> list[ExportTraceServiceRequest]:
        return [ExportTraceServiceRequest.FromString(body) for body in self.bodies]

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            collector.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    collector.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield collector
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
async def nothing_stays(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Has what delivers spans end, and begin no thread in a process that other tests fork off."""
    monkeypatch.setattr("os.register_at_fork", lambda **_: None)
    yield
    await until(lambda: not any(thread.name.startswith("Otel") for thread in threading.enumerate()))


@pytest.fixture
async def traced(
    start_server: StartServer, collector: Collector, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RunningServer]:
    """A server that delivers its spans twenty times a second."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    async with start_server(traces=True) as server:
        yield server


def attributes(span: Span) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value") or "") for each in span.attributes}


async def is_ready(client: Client) -> bool:
    return (await client.http.get("/readyz")).status_code == 200


async def test_an_operation_its_run_and_their_steps_are_one_trace(
    traced: RunningServer, collector: Collector, model: ScriptedModel
) -> None:
    model.script(Answer([ToolUse("addTask", {"title": TITLE})]), Answer([Text(ANSWER)]))
    hal = Client(traced.url, "hal")
    # A reply that has to wait is begun by whoever takes it, not by the operation.
    await until(lambda: is_ready(hal))
    response = await hal.http.post(
        "/graphql",
        json={"query": SEND, "variables": {"input": {"text": QUESTION}}},
        headers={"traceparent": f"00-{TRACE}-{PARENT}-01"},
    )
    exchange = response.json()["data"]["sendMessage"]
    await hal.finished(exchange["reply"]["id"])
    await until(lambda: bool(collector.named("invoke_agent loquent") and collector.named("query")))
    [mutation] = collector.named("mutation")
    [run] = collector.named("invoke_agent loquent")
    steps = sorted(collector.named("chat scripted"), key=lambda span: span.start_time_unix_nano)
    [tool] = collector.named("execute_tool addTask")

    assert (mutation.trace_id.hex(), mutation.parent_span_id.hex()) == (TRACE, PARENT)
    assert run.parent_span_id == mutation.span_id
    assert {span.parent_span_id for span in (*steps, tool)} == {run.span_id}
    assert {span.trace_id for span in (run, *steps, tool)} == {mutation.trace_id}
    # Those by their own requests are traces of their own.
    [subscription], [query] = collector.named("subscription"), collector.named("query")
    assert len({mutation.trace_id, subscription.trace_id, query.trace_id}) == 3
    assert subscription.parent_span_id == query.parent_span_id == b""

    times = [run, steps[0], tool, steps[1]]
    assert [span.start_time_unix_nano for span in times] == sorted(span.start_time_unix_nano for span in times)
    assert all(run.start_time_unix_nano <= span.end_time_unix_nano <= run.end_time_unix_nano for span in times)
    assert mutation.start_time_unix_nano <= run.start_time_unix_nano

    told = attributes(run)
    assert told["loquent.reply.id"] == exchange["reply"]["id"]
    assert told["gen_ai.conversation.id"] == exchange["conversation"]["id"]
    assert told["loquent.run.outcome"] == "COMPLETE"
    assert attributes(steps[0])["gen_ai.request.model"] == "scripted"
    assert attributes(steps[0])["gen_ai.usage.output_tokens"] > 0
    assert attributes(tool)["loquent.tool.status"] == "SUCCEEDED"
    assert attributes(mutation)["graphql.operation.name"] == "Send"
    resource = collector.requests[0].resource_spans[0].resource
    assert {each.key: each.value.string_value for each in resource.attributes}["service.name"] == "loquent"
    for text in (QUESTION, TITLE, ANSWER, hal.token):
        assert not any(text.encode() in body for body in collector.bodies)
    await hal.close()


async def test_a_socket_may_name_the_parent_of_its_operations(traced: RunningServer, collector: Collector) -> None:
    hal = Client(traced.url, "hal")
    parent = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    async with hal.socket(**parent) as socket:
        for _ in range(2):
            [data] = [data async for data in socket.subscribe("query Mine { viewer { id } }")]
            assert data["viewer"]
    await until(lambda: len(collector.named("query")) == 2)
    assert {span.parent_span_id.hex() for span in collector.named("query")} == {PARENT}
    await hal.close()


async def test_what_is_left_is_delivered_when_the_server_ends(
    start_server: StartServer, collector: Collector, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
    async with start_server(traces=True) as server:
        hal = Client(server.url, "hal")
        await hal.execute("{ viewer { id } }")
        await hal.close()
        assert collector.bodies == []
    assert len(collector.named("query")) == 1


async def test_a_collector_that_is_away_holds_nobody_up(
    start_server: StartServer, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setattr("server.observability.traces.CLOSE_SECONDS", 0.5)
    async with start_server(traces=True) as server:
        hal = Client(server.url, "hal")
        _, reply = await hal.ask("Go.")
        assert reply["status"] == "COMPLETE"
        await hal.close()


def test_nothing_of_it_is_loaded_while_traces_are_off() -> None:
    code = (
        "import sys; from server.observability.observer import Observability; from server.settings import Settings;"
        "Observability(Settings()); print(*(name for name in sys.modules if name.startswith('opentelemetry')))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []


def test_a_process_that_is_forked_off_afterwards_has_one_thread() -> None:
    reader, writer = os.pipe()
    subprocess.run(["true"], preexec_fn=lambda: os.write(writer, bytes([len(list(Path("/proc/self/task").iterdir()))])))
    assert os.read(reader, 1) == b"\x01"
