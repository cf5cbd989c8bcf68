"""Traces by OpenTelemetry: a span for each operation and, once it is over, for each run with its steps and tools.

Imported where traces are on, and nowhere else: it takes long. The standard variables `OTEL_*` say where spans go, how
many of them, and under which name.
"""

import asyncio
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from runs.observer import CANCELLED, ModelCall, RunRecord, ToolRun
from server.observability.operations import Operation

#: Seconds that the last spans have to be delivered when the process ends.
CLOSE_SECONDS = 5.0
#: How a run ends that is no failure of the server's.
_GOOD_ENDS = ("COMPLETE", "STOPPED", "AWAITING_APPROVAL", "HANDED_OVER")
_MODEL_TOKENS = {
    "gen_ai.usage.input_tokens": "input_tokens",
    "gen_ai.usage.output_tokens": "output_tokens",
    "gen_ai.usage.cache_read.input_tokens": "cache_read_tokens",
    "gen_ai.usage.cache_creation.input_tokens": "cache_write_tokens",
}


class Traces:
    """Makes spans and has them delivered, by a thread of the library's."""

    def __init__(self) -> None:
        resource = Resource.create()
        if str(resource.attributes["service.name"]).startswith("unknown_service"):
            resource = resource.merge(Resource({"service.name": "loquent"}))
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("loquent")
        self._propagator = TraceContextTextMapPropagator()

    def begin_operation(self, operation: Operation, parent: Mapping[str, str]) -> None:
        """Begin the operation's span: what its task does from now on, a run that it begins too, is below it."""
        # Of what else this task was begun in, nothing is its parent.
        context = self._propagator.extract(parent, contexts.Context())
        operation.span = span = self._tracer.start_span("operation", context, SpanKind.SERVER)
        # The task is the operation's own, so that there is nothing to go back to.
        contexts.attach(trace.set_span_in_context(span))

    def end_operation(self, operation: Operation) -> str | None:
        """End its span; gives the id of the trace."""
        span: Span = operation.span
        if span.is_recording():
            # By its type alone, as the conventions want it: names are the clients'.
            span.update_name(operation.type)
            _describe(
                span,
                {
                    "graphql.operation.type": operation.type,
                    "graphql.operation.name": operation.name,
                    "loquent.transport": operation.transport,
                    "loquent.request.id": operation.request_id,
                    "user.id": operation.owner_id,
                    "error.type": operation.code,
                },
            )
            if operation.code == "INTERNAL_SERVER_ERROR":
                span.set_status(Status(StatusCode.ERROR, operation.code))
        span.end()
        return _trace_id(span)

    def run_ended(self, record: RunRecord) -> str | None:
        """Make the spans of a run: below its operation's, where that was on this node; gives the id of the trace."""
        run = record.run
        span = self._tracer.start_span("invoke_agent loquent", start_time=_epoch(record.begun))
        _describe(
            span,
            {
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.agent.name": "loquent",
                "gen_ai.conversation.id": str(run.conversation_id),
                "loquent.reply.id": str(run.message_id),
                "loquent.run.attempt": run.attempt,
                "loquent.run.outcome": record.outcome,
                "user.id": run.owner_id,
                "error.type": record.code,
            },
        )
        if record.outcome not in _GOOD_ENDS:
            span.set_status(Status(StatusCode.ERROR, record.code or record.outcome))
        if span.is_recording():
            context = trace.set_span_in_context(span)
            for call in record.model_calls:
                self._add_step(call, context)
            for tool in record.tools:
                self._add_tool(tool, context)
        span.end(_epoch(record.ended))
        return _trace_id(span)

    def _add_step(self, call: ModelCall, run: contexts.Context) -> None:
        span = self._tracer.start_span(f"chat {call.model}", run, SpanKind.CLIENT, start_time=_epoch(call.begun))
        tokens = {name: getattr(call.usage, field) for name, field in _MODEL_TOKENS.items()}
        named = {"gen_ai.operation.name": "chat", "gen_ai.request.model": call.model, "error.type": call.code}
        _describe(span, {**named, **tokens})
        if call.code not in (None, CANCELLED):
            span.set_status(Status(StatusCode.ERROR, call.code))
        span.end(_epoch(call.ended))

    def _add_tool(self, tool: ToolRun, run: contexts.Context) -> None:
        span = self._tracer.start_span(f"execute_tool {tool.tool}", run, start_time=_epoch(tool.begun))
        _describe(
            span,
            {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": tool.tool,
                "loquent.tool.status": tool.status,
            },
        )
        if tool.status != "SUCCEEDED":
            span.set_status(Status(StatusCode.ERROR, tool.status))
        span.end(_epoch(tool.ended))

    async def close(self) -> None:
        """Deliver what is left, for as long as that may take."""
        # Not a thread of the event loop's, which waits for all of them.
        loop, closed = asyncio.get_running_loop(), asyncio.Event()

        def close() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):
                # Unless the loop is gone.
                loop.call_soon_threadsafe(closed.set)

        threading.Thread(target=close, name="traces", daemon=True).start()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await closed.wait()


def _describe(span: Span, attributes: Mapping[str, Any]) -> None:
    span.set_attributes({name: value for name, value in attributes.items() if value is not None})


def _trace_id(span: Span) -> str | None:
    context = span.get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else None


def _epoch(moment: float) -> int:
    """A moment of the monotonic clock in nanoseconds since 1970."""
    return time.time_ns() - int((time.monotonic() - moment) * 1e9)
