"""What is counted and measured of operations and runs, for Prometheus; nothing is for a token."""

from typing import Generic, TypeVar, get_args

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, PlatformCollector, ProcessCollector

from agent.model import ErrorCode, Usage
from persistence.runs import ClaimedRun
from runs.observer import ModelCall, RunObserver, RunRecord, ToolRun
from server.observability.operations import Operation

#: Seconds.
OPERATION_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)
FIRST_TEXT_BUCKETS = (0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5, 10, 20, 60)
REPLY_BUCKETS = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600)
LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)

#: Values that the labels of one metric may have together; those that come later are counted as `other`.
MOST_SERIES = 500
OTHER = "other"

_FINISHED = ("COMPLETE", "STOPPED", "FAILED")

Metric = TypeVar("Metric", Counter, Histogram)

# When a counter began is of no use to anybody here, and a third of all lines.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


class Series(dict[tuple[str, ...], Metric], Generic[Metric]):
    """The series of a metric by the values of its labels: found in a tenth of the time that `labels` takes."""

    def __init__(self, metric: Metric) -> None:
        super().__init__()
        self._metric: Metric = metric

    def __missing__(self, values: tuple[str, ...]) -> Metric:
        if len(self) >= MOST_SERIES:
            values = (OTHER,) * len(values)
        series: Metric = self._metric.labels(*values)
        self[values] = series
        return series


class Metrics(RunObserver):
    """The figures of this process."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(name, meaning, labels, registry=registry)

        def histogram(name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(name, meaning, labels, buckets=buckets, registry=registry)

        self._operations = Series(
            counter("loquent_operations_total", "GraphQL operations that have ended.", "type", "outcome")
        )
        self._operation_seconds = Series(
            histogram(
                "loquent_operation_duration_seconds", "Queries and mutations, to the result.", OPERATION_BUCKETS, "type"
            )
        )
        self._refusals = Series(
            counter("loquent_rate_limit_refusals_total", "Operations refused since a user asked for too much.", "code")
        )
        self._closed_sockets = Series(
            counter("loquent_sockets_closed_total", "WebSockets that the server closed, by close code.", "code")
        )
        self._begun = counter("loquent_replies_started_total", "Replies that were begun.")
        self._finished = Series(
            counter("loquent_replies_finished_total", "Replies that runs have finished.", "status", "code")
        )
        self._left = Series(
            counter("loquent_runs_left_total", "Runs that ended here before their reply was finished.", "reason")
        )
        self._taken_over = counter("loquent_takeovers_total", "Runs taken over from nodes that let their lease end.")
        self._first_text = histogram(
            "loquent_time_to_first_token_seconds", "From a stored question to the first text.", FIRST_TEXT_BUCKETS
        )
        self._reply_seconds = histogram(
            "loquent_reply_duration_seconds", "From a stored question to the saved reply.", REPLY_BUCKETS
        )
        self._tokens = Series(counter("loquent_tokens_total", "Tokens that models have billed.", "kind", "model"))
        self._model_calls = Series(
            counter("loquent_model_calls_total", "Calls of models that have ended.", "model", "outcome")
        )
        self._tool_calls = Series(
            counter("loquent_tool_calls_total", "Calls of tools that have ended.", "tool", "status")
        )
        self.loop_lag = histogram(
            "loquent_event_loop_lag_seconds", "How late a timer of the event loop comes.", LAG_BUCKETS
        )

        # Of a series that begins with its first event Prometheus sees no increase.
        for status in ("COMPLETE", "STOPPED"):
            self._finished[status, ""]
        for code in get_args(ErrorCode):
            self._finished["FAILED", code]

    def end_operation(self, operation: Operation) -> None:
        type, code = operation.type, operation.code
        self._operations[type, code or "OK"].inc()
        if type in ("query", "mutation"):
            self._operation_seconds[(type,)].observe(operation.duration)
        if code in ("RATE_LIMITED", "QUOTA_EXCEEDED"):
            self._refusals[(code,)].inc()

    def note_closed_socket(self, code: int) -> None:
        self._closed_sockets[(str(code),)].inc()

    def run_began(self, run: ClaimedRun) -> None:
        if run.attempt == 1:
            self._begun.inc()
        if run.taken_over:
            self._taken_over.inc()

    def first_text(self, seconds: float) -> None:
        self._first_text.observe(seconds)

    def model_called(self, call: ModelCall) -> None:
        self._model_calls[call.model, call.code or "OK"].inc()
        self._count_tokens(call.model, call.usage)

    def _count_tokens(self, model: str, usage: Usage) -> None:
        if usage.input_tokens:
            self._tokens["input", model].inc(usage.input_tokens)
        if usage.output_tokens:
            self._tokens["output", model].inc(usage.output_tokens)
        if usage.cache_read_tokens:
            self._tokens["cache_read", model].inc(usage.cache_read_tokens)
        if usage.cache_write_tokens:
            self._tokens["cache_write", model].inc(usage.cache_write_tokens)

    def tool_called(self, call: ToolRun) -> None:
        self._tool_calls[call.tool, call.status].inc()

    def run_ended(self, record: RunRecord) -> None:
        if record.outcome not in _FINISHED:
            self._left[(record.outcome,)].inc()
            return
        self._finished[record.outcome, record.code or ""].inc()
        if record.is_fresh:
            self._reply_seconds.observe(record.run.waited + record.duration)
