"""One line of the log for each operation and each run: ids, times and counts, and no text."""

import logging
from typing import Any

from runs.observer import RunRecord
from server.observability.logs import REQUEST_ID
from server.observability.operations import Operation

operations = logging.getLogger("loquent.operations")
runs = logging.getLogger("loquent.runs")


def log_operation(operation: Operation, trace_id: str | None) -> None:
    """The line of an operation; of one without a valid token only where all is logged: strangers may send many."""
    level = logging.DEBUG if operation.context is None else logging.INFO
    if not operations.isEnabledFor(level):
        return
    fields: dict[str, Any] = {
        "request": operation.request_id,
        "type": operation.type,
        "transport": operation.transport,
        "outcome": operation.code or "OK",
        "errors": operation.errors,
        "seconds": round(operation.duration, 6),
    }
    if (name := operation.name) is not None:
        fields["name"] = name
    if (owner := operation.owner_id) is not None:
        fields["owner"] = owner
    _log(operations, level, "operation", fields, trace_id)


def log_run(record: RunRecord, trace_id: str | None) -> None:
    """The line of a run, once its reply is saved or left."""
    if not runs.isEnabledFor(logging.INFO):
        return
    run, usage = record.run, record.usage
    fields = {
        "reply": str(run.message_id),
        "conversation": str(run.conversation_id),
        "owner": run.owner_id,
        "attempt": run.attempt,
        "outcome": record.outcome,
        "steps": len(record.model_calls),
        "tools": [tool.tool for tool in record.tools],
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "waited": round(run.waited, 6),
        "seconds": round(record.duration, 6),
    }
    if (request := REQUEST_ID.get()) is not None:
        fields["request"] = request
    if record.code is not None:
        fields["code"] = record.code
    if record.model_calls:
        fields["model"] = record.model_calls[-1].model
    if record.first_text is not None:
        fields["first_text"] = round(record.first_text, 6)
    _log(runs, logging.INFO, "run", fields, trace_id)


def _log(logger: logging.Logger, level: int, message: str, fields: dict[str, Any], trace_id: str | None) -> None:
    if trace_id is not None:
        fields["trace"] = trace_id
    # Without the search for the calling line, which takes as long as all the rest.
    record = logging.LogRecord(logger.name, level, "", 0, message, None, None)
    record.fields = fields
    logger.handle(record)
