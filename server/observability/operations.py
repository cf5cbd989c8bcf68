"""Operations as those who operate the server see them: one record each, from the request to the last result."""

import random
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from graphql import GraphQLError

from schema.context import RequestContext

#: What may stand for a request in logs and headers.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
#: Characters that are kept of an operation's name.
LONGEST_NAME = 100
UNKNOWN = "unknown"


class Operation:
    """What is noted of one operation."""

    __slots__ = ("begun", "code", "context", "duration", "errors", "request_id", "span", "transport")

    def __init__(self, transport: str, request_id: str) -> None:
        self.transport = transport
        self.request_id = request_id
        #: Seconds of the monotonic clock; seconds that it took.
        self.begun, self.duration = time.monotonic(), 0.0
        #: None until the caller is known.
        self.context: RequestContext | None = None
        #: The code of the first error, and how many errors there were.
        self.code: str | None = None
        self.errors = 0
        #: Of whom traces it.
        self.span: Any = None

    @property
    def owner_id(self) -> str | None:
        return self.context.caller.owner_id if self.context else None

    @property
    def type(self) -> str:
        """`query`, `mutation` or `subscription`; `unknown` where the request names none."""
        node = self.context.operation if self.context else None
        return node.operation.value if node else UNKNOWN

    @property
    def name(self) -> str | None:
        """As its document has it."""
        node = self.context.operation if self.context else None
        return node.name.value[:LONGEST_NAME] if node and node.name else None

    def refuse(self, code: str) -> None:
        """Note an error that is not of a field."""
        self.errors += 1
        self.code = self.code or code

    def note_errors(self, errors: Sequence[GraphQLError] | None) -> None:
        """Note the errors of a result; they have their codes."""
        for error in errors or ():
            self.refuse((error.extensions or {}).get("code", "INTERNAL_SERVER_ERROR"))


class OperationObserver(Protocol):
    """Whom the transports tell."""

    def begin_operation(self, transport: str, request_id: str, parent: Mapping[str, str]) -> Operation:
        """`parent` may have the fields of https://www.w3.org/TR/trace-context/, whose span is then the parent."""

    def end_operation(self, operation: Operation) -> None: ...

    def note_closed_socket(self, code: int) -> None:
        """The server closes a WebSocket."""


def request_id(given: str | None) -> str:
    """What a client calls its request by, where that can be used, else a new id."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return f"{random.getrandbits(64):016x}"


def trace_parent(payload: Mapping[str, Any] | None) -> dict[str, str]:
    """The fields of a trace in the payload of a `connection_init`."""
    fields = {name: (payload or {}).get(name) for name in ("traceparent", "tracestate")}
    return {name: value for name, value in fields.items() if isinstance(value, str)}
