"""What a run tells those who operate the server: ids, times and counts, and no text.

Nothing here is told for a token: of a reply's text only the first piece is noted.
"""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from agent.model import Model, ModelError, ModelEvent, ModelRequest, TellPiece, Usage
from agent.parts import ToolCallPart, ToolCallStatus
from agent.tools import Outcome, Tool, call_tool
from persistence.runs import ClaimedRun

#: How a run has left its node: as a finished reply, or without the end of it.
RunOutcome: TypeAlias = Literal["COMPLETE", "STOPPED", "FAILED", "AWAITING_APPROVAL", "HANDED_OVER", "LOST", "BROKEN"]

#: What stands for a tool that does not exist: the model may call by any name.
UNKNOWN_TOOL = "unknown"
#: How a call of the model has ended that nobody waited for any more.
CANCELLED = "CANCELLED"


@dataclass(slots=True)
class ModelCall:
    """One call of the model; times in seconds of the monotonic clock."""

    model: str
    begun: float
    ended: float = 0.0
    usage: Usage = field(default_factory=Usage)
    #: The code of its failure.
    code: str | None = CANCELLED


@dataclass(slots=True)
class ToolRun:
    """One call of a tool; times in seconds of the monotonic clock."""

    tool: str
    begun: float
    ended: float = 0.0
    status: ToolCallStatus = "INTERRUPTED"


class RunObserver:
    """Whom runs tell; this one does not listen."""

    def run_began(self, run: ClaimedRun) -> None: ...

    def first_text(self, seconds: float) -> None:
        """The first text of a reply has come, so long after its question was stored."""

    def model_called(self, call: ModelCall) -> None: ...

    def tool_called(self, call: ToolRun) -> None: ...

    def run_ended(self, record: "RunRecord") -> None:
        """All of it, once the reply is saved or left; called in the task that wrote it."""


class RunRecord:
    """What is noted of one attempt at a reply while it is written."""

    __slots__ = (
        "begun",
        "code",
        "ended",
        "first_text",
        "is_fresh",
        "model_calls",
        "observer",
        "outcome",
        "run",
        "tools",
    )

    def __init__(self, run: ClaimedRun, observer: RunObserver) -> None:
        self.run = run
        self.observer = observer
        #: Seconds of the monotonic clock.
        self.begun, self.ended = time.monotonic(), 0.0
        #: Seconds from the stored question to the first text; None until there was one, or if others began the reply.
        self.first_text: float | None = None
        #: Whether no earlier attempt has saved any of the reply.
        self.is_fresh = True
        self.model_calls: list[ModelCall] = []
        self.tools: list[ToolRun] = []
        self.outcome: RunOutcome = "BROKEN"
        #: The code of a failed reply.
        self.code: str | None = None

    @property
    def duration(self) -> float:
        """Seconds that this attempt took."""
        return self.ended - self.begun

    @property
    def usage(self) -> Usage:
        """What this attempt has cost."""
        total = Usage()
        for call in self.model_calls:
            total.add(call.usage)
        return total

    def note_text(self) -> None:
        """A part of text begins."""
        if self.is_fresh and self.first_text is None:
            self.first_text = self.run.waited + time.monotonic() - self.begun
            self.observer.first_text(self.first_text)

    def end(self) -> None:
        """The attempt is over, as `outcome` says."""
        self.ended = time.monotonic()
        self.observer.run_ended(self)

    async def call_tool(self, tools: Sequence[Tool], call: ToolCallPart) -> Outcome:
        """As `agent.tools.call_tool`."""
        known = any(tool.name == call.tool for tool in tools)
        noted = ToolRun(call.tool if known else UNKNOWN_TOOL, time.monotonic())
        self.tools.append(noted)
        try:
            outcome = await call_tool(tools, call)
            noted.status = outcome[0]
        finally:
            noted.ended = time.monotonic()
            self.observer.tool_called(noted)
        return outcome


class ObservedModel:
    """A `Model` whose calls are noted in a record."""

    def __init__(self, model: Model, record: RunRecord) -> None:
        self._model = model
        self._record = record

    async def stream(self, request: ModelRequest, usage: Usage, tell: TellPiece) -> AsyncGenerator[ModelEvent]:
        """As `Model.stream`."""
        call = ModelCall(request.model, time.monotonic())
        self._record.model_calls.append(call)
        try:
            stream = self._model.stream(request, call.usage, tell)
            # It is long, and the answer takes its time.
            del request
            async with aclosing(stream) as events:  # type: ignore[type-var]
                async for event in events:
                    yield event
            call.code = None
        except ModelError as error:
            call.code = error.code
            raise
        finally:
            call.ended = time.monotonic()
            usage.add(call.usage)
            self._record.observer.model_called(call)
