"""Model and tools in turn, until the model has nothing more to ask for."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeAlias

from agent.draft import Draft, TextKind
from agent.history import continue_history
from agent.model import (
    BlockEnded,
    Model,
    ModelEnded,
    ModelError,
    ModelEvent,
    ModelRequest,
    ModelStarted,
    Piece,
    TextPiece,
    ToolUse,
)
from agent.parts import ReasoningPart, TextPart, ToolCallPart
from agent.tools import Outcome, Tool, call_tool, parse_parameters

logger = logging.getLogger(__name__)

#: Calls of the model for one step, as long as no token of it has come; seconds before the second.
TRIES, FIRST_WAIT, LONGEST_WAIT = 4, 0.5, 20.0


@dataclass(frozen=True, slots=True)
class PartAdded:
    """A part without text of its own: reasoning that the model keeps to itself."""

    part: int


@dataclass(frozen=True, slots=True)
class CallStarted:
    part: int
    call: ToolCallPart


@dataclass(frozen=True, slots=True)
class CallParked:
    """The call waits for the user's word."""

    part: int
    call: ToolCallPart


@dataclass(frozen=True, slots=True)
class CallEnded:
    part: int
    call: ToolCallPart


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The draft has reached a state worth saving: before its tools run, and after."""


AgentEvent = PartAdded | CallStarted | CallParked | CallEnded | Checkpoint
#: Is told what is said when it comes, between two events, outside of any task: the kind of part, its index, the text.
TellText: TypeAlias = Callable[[TextKind, int, str], None]
#: Runs one call of a tool, as `call_tool` does.
RunTool: TypeAlias = Callable[[Sequence[Tool], ToolCallPart], Coroutine[Any, Any, Outcome]]


async def think(
    model: Model,
    name: str,
    tools: Sequence[Tool],
    system: Sequence[Mapping[str, Any]],
    history: Sequence[Mapping[str, Any]],
    draft: Draft,
    tell: TellText,
    *,
    max_steps: int,
    run_tool: RunTool = call_tool,
) -> AsyncGenerator[AgentEvent]:
    """Write `draft` on, giving each change, until the model `name` is done or the user must agree to a call.

    What is said goes to `tell`. Raises `ModelError`, and what `tell` raises; what was written until then stays in
    the draft.
    """

    earlier = len(draft.parts)

    def ask() -> ModelRequest:
        definitions = [_definition(tool) for tool in tools]
        return ModelRequest(name, continue_history(history, draft.parts, earlier), system, definitions)

    if interrupted := _interrupt_calls(tools, draft):
        for ending in interrupted:
            yield ending
        if not draft.open_calls():
            # What the model says next is a step of its own.
            draft.step += 1
            yield Checkpoint()
    while True:
        if not draft.open_calls():
            if draft.step >= max_steps:
                raise ModelError("STEP_LIMIT", f"The reply took more than {max_steps} steps.", retryable=True)
            async with aclosing(_write_step(model, ask, draft, tell)) as events:
                async for event in events:
                    yield event
            if not draft.open_calls():
                return
        async with aclosing(_run_tools(tools, draft, run_tool)) as changes:
            async for change in changes:
                yield change
        if waiting := draft.open_calls():
            for index, call in waiting:
                if not call.parked:
                    yield CallParked(index, draft.park_call(index))
            return
        draft.step += 1
        yield Checkpoint()


def _interrupt_calls(tools: Sequence[Tool], draft: Draft) -> list[CallEnded]:
    """End the calls that an earlier attempt began and that may not be done twice."""
    repeatable = {tool.name for tool in tools if tool.repeatable}
    return [
        CallEnded(index, draft.end_call(index, "INTERRUPTED", None))
        for index, call in draft.open_calls()
        if call.begun and call.tool not in repeatable
    ]


async def _write_step(
    model: Model, ask: Callable[[], ModelRequest], draft: Draft, tell: TellText
) -> AsyncGenerator[AgentEvent]:
    """One call of the model, made again while nothing of it has been shown.

    The request is not kept: it is long, and so may the answer be.
    """

    def write(piece: Piece) -> None:
        kind: TextKind = TextPart if isinstance(piece, TextPiece) else ReasoningPart
        part, whole = draft.add(kind, piece.text)
        if whole:
            tell(kind, part, whole)

    shown = len(draft.parts)
    for wait in _waits():
        try:
            async with aclosing(model.stream(ask(), draft.usage, write)) as events:  # type: ignore[type-var]
                async for event in events:
                    if (change := _take(event, draft)) is not None:
                        yield change
            return
        except ModelError as error:
            draft.close()
            if len(draft.parts) > shown or not error.retryable or wait is None:
                raise
            logger.warning("the model failed, trying again: %s (%s)", error.message, error.reason)
            await asyncio.sleep(max(wait, min(error.retry_after or 0, LONGEST_WAIT)))


def _waits() -> list[float | None]:
    """Seconds before each further try, and None after the last."""
    spread = [FIRST_WAIT * 2**n * random.uniform(0.75, 1.25) for n in range(TRIES - 1)]  # noqa: S311
    return [*spread, None]


def _take(event: ModelEvent, draft: Draft) -> AgentEvent | None:
    """What the event changes in the draft. Raises `ModelError`."""
    match event:
        case BlockEnded(signature, redacted):
            if draft.close(signature, redacted):
                return PartAdded(len(draft.parts) - 1)
        case ToolUse(id, tool, raw):
            return CallStarted(*draft.start_call(id, tool, parse_parameters(raw)))
        case ModelStarted(name):
            draft.model = name
        case ModelEnded(reason):
            _check_end(reason)
    return None


def _check_end(reason: str) -> None:
    match reason:
        case "refusal":
            raise ModelError("MODEL_REFUSED", "The model refused to answer.", retryable=False)
        case "max_tokens":
            raise ModelError("OUTPUT_LIMIT", "The reply reached the limit of its length.", retryable=False)
        case "model_context_window_exceeded":
            raise ModelError("CONTEXT_TOO_LONG", "The conversation is too long for the model.", retryable=False)


async def _run_tools(tools: Sequence[Tool], draft: Draft, run_tool: RunTool) -> AsyncGenerator[AgentEvent]:
    """Run the tool calls that may run side by side, telling each end as it comes."""
    asking = {tool.name for tool in tools if tool.needs_approval}
    ready = [
        index
        for index, call in draft.open_calls()
        if call.status == "RUNNING" and (call.parked or call.tool not in asking)
    ]
    for index in ready:
        draft.begin_call(index)
    if ready:
        yield Checkpoint()
    calls = dict(draft.open_calls())
    running = {asyncio.create_task(run_tool(tools, calls[index])): index for index in ready}
    try:
        while running:
            ended, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                index = running.pop(task)
                yield CallEnded(index, draft.end_call(index, *task.result()))
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _definition(tool: Tool) -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
