"""What an operator sees of a running server: figures, log lines and traces, told by operations and runs."""

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from persistence.runs import ClaimedRun
from runs.observer import ModelCall, RunObserver, RunRecord, ToolRun
from server.observability.log_lines import log_operation, log_run
from server.observability.logs import REQUEST_ID
from server.observability.metrics import Metrics
from server.observability.metrics_page import MetricsPage, Sibling
from server.observability.node_figures import Node, NodeFigures, Queue, measure_loop_lag
from server.observability.operations import Operation
from server.settings import Settings

if TYPE_CHECKING:
    from server.observability.traces import Traces


class Observability(RunObserver):
    """Whom operations (`OperationObserver`) and runs tell, and what comes of it."""

    def __init__(self, settings: Settings) -> None:
        self._metrics = Metrics()
        self._traces = _make_traces() if settings.traces else None
        self._sibling = _find_sibling(settings)
        self._measuring: asyncio.Task[None] | None = None
        self._page: MetricsPage | None = None

    def watch(self, node: Node) -> MetricsPage:
        """Tell how a node stands too; gives what answers to `/metrics`."""
        queue = Queue(node.database)
        self._metrics.registry.register(NodeFigures(node, queue))
        self._page = MetricsPage(self._metrics.registry, queue.refresh, self._sibling)
        return self._page

    async def start(self) -> None:
        self._measuring = asyncio.create_task(measure_loop_lag(self._metrics.loop_lag))
        if self._page is not None:
            await self._page.start()

    async def close(self) -> None:
        """The last to be closed: what others do until then is told too."""
        if self._measuring is not None:
            self._measuring.cancel()
        if self._page is not None:
            await self._page.close()
        if self._traces is not None:
            await self._traces.close()

    def begin_operation(self, transport: str, request_id: str, parent: Mapping[str, str]) -> Operation:
        """In the task that executes it, and that executes nothing else."""
        REQUEST_ID.set(request_id)
        operation = Operation(transport, request_id)
        if self._traces is not None:
            self._traces.begin_operation(operation, parent)
        return operation

    def end_operation(self, operation: Operation) -> None:
        operation.duration = time.monotonic() - operation.begun
        self._metrics.end_operation(operation)
        log_operation(operation, self._traces.end_operation(operation) if self._traces is not None else None)

    def note_closed_socket(self, code: int) -> None:
        self._metrics.note_closed_socket(code)

    def run_began(self, run: ClaimedRun) -> None:
        self._metrics.run_began(run)

    def first_text(self, seconds: float) -> None:
        self._metrics.first_text(seconds)

    def model_called(self, call: ModelCall) -> None:
        self._metrics.model_called(call)

    def tool_called(self, call: ToolRun) -> None:
        self._metrics.tool_called(call)

    def run_ended(self, record: RunRecord) -> None:
        self._metrics.run_ended(record)
        log_run(record, self._traces.run_ended(record) if self._traces is not None else None)


def _make_traces() -> "Traces":
    # Here, since the library takes a third of the time that all else takes to load.
    from server.observability.traces import Traces

    return Traces()


def _find_sibling(settings: Settings) -> Sibling | None:
    if settings.workers_dir is None or settings.worker_index is None:
        return None
    return Sibling(settings.workers_dir, settings.worker_index)
