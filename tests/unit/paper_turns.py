"""Replies that the real turn and the real loop write; only the model and the row are made of paper."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from orjson import loads

from agent.model import ModelEnded, ModelError, ModelEvent, ModelRequest, ReasoningPiece, TellPiece, TextPiece, Usage
from agent.parts import Part, ToolCallPart, parts_from_json, parts_to_json
from agent.tools import Tool, ToolFailed
from persistence import runs, tables
from persistence.database import Database
from persistence.runs import ClaimedRun
from persistence.statements import compile_statement
from resolvers.approvals import _deny
from runs import follow, memory
from runs.follow import SavedReply
from runs.live import LiveSlice
from runs.memory import MemoryLiveReplies
from runs.turn import Agent, Turn
from tests.unit.reply_scripts import END, Script
from tests.workers import MODELS


@pytest.fixture(scope="module")
def hurry() -> Iterator[None]:
    """Readers take each piece at once, and live state goes with the end of its reply."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(follow, "PACE", 0.0)
        patch.setattr(memory, "LINGER", 0.0)
        yield


@dataclass
class Puppet:
    """A model, and tools, that do what a script says."""

    script: Script
    act: Callable[[], None]
    repeatable: bool
    _pieces: int = 0

    async def stream(self, request: ModelRequest, usage: Usage, tell: TellPiece) -> AsyncIterator[ModelEvent]:
        done = sum(message["role"] == "assistant" for message in request.messages)
        for event in self.script.steps[min(done, len(self.script.steps) - 1)]:
            await self._tick()
            if self.script.ending == "fails" and self._pieces >= self.script.after:
                raise ModelError("MODEL_UNAVAILABLE", "It broke.", retryable=False)
            if isinstance(event, TextPiece | ReasoningPiece):
                tell(event)
            else:
                yield event
        yield ModelEnded("end_turn")

    async def call(self, parameters: Mapping[str, Any]) -> Any:
        for _ in range(parameters["turns"]):
            await self._tick()
        if parameters["turns"] == 2:
            raise ToolFailed("BAD_USER_INPUT", "Two is too many.")
        return {"waited": parameters["turns"]}

    def tools(self, owner_id: str) -> Sequence[Tool]:
        return [
            Tool(name, "", {}, self.call, repeatable=self.repeatable, needs_approval=name == "ask")
            for name in ("wait", "ask")
        ]

    async def _tick(self) -> None:
        self._pieces += 1
        if self._pieces == self.script.after:
            self.act()
        await asyncio.sleep(0)


class Paper:
    """A database of one row, as far as a turn knows it."""

    def __init__(self) -> None:
        self.row = tables.Message(
            conversation_id=uuid4(), owner_id="ann", jump_id=uuid4(), role="ASSISTANT", status="QUEUED", attempt=0
        )

    @asynccontextmanager
    async def driver(self) -> AsyncIterator[Any]:
        yield self

    async def fetch(self, sql: str, *values: Any) -> Sequence[Any]:
        """As the driver does."""
        for statement in (runs.PARK_RUN, runs.SAVE_STEP, runs.FINISH_REPLY, runs.RELEASE_RUN):
            compiled = compile_statement(statement)
            if compiled.sql == sql:
                pairs = zip(compiled.parameters, values, strict=True)
                return self._write(statement, {name: loads(v) if is_json else v for (name, is_json), v in pairs})
        row = self.row
        return [(*(getattr(row, name) for name in tables.Message.model_fields), 1, row.depth)]

    def _write(self, statement: object, parameters: Mapping[str, Any]) -> Sequence[Any]:
        if statement is runs.RELEASE_RUN:
            return ()
        self.row.parts = parameters["parts"]
        self.row.restarts = parameters.get("restarts", self.row.restarts)
        parked = "AWAITING_APPROVAL" if statement is runs.PARK_RUN else self.row.status
        self.row.status = parameters.get("status", parked)
        # Neither does the conversation want a title, nor has it a later message.
        return [(False, False, *(getattr(self.row, name) for name in tables.Message.model_fields if name != "parts"))]

    def claim(self) -> ClaimedRun:
        row = self.row
        row.attempt, row.status = row.attempt + 1, "STREAMING"
        return ClaimedRun(row.id, row.conversation_id, row.owner_id, row.attempt, failures=0, cancel_requested=False)

    def answer(self, approve: bool) -> None:
        """Say the user's word on each call that waits for it."""
        parts = parts_from_json(self.row.parts)
        for index, call in enumerate(parts):
            if isinstance(call, ToolCallPart) and call.status == "AWAITING_APPROVAL":
                parts[index] = replace(call, status="RUNNING") if approve else _deny(parts, call, None)
        self.row.parts, self.row.status = parts_to_json(parts), "QUEUED"

    def read(self) -> SavedReply:
        row = self.row
        running = row.status in tables.RUNNING_STATUSES
        return SavedReply(running, row.attempt, list(row.restarts), parts_from_json(row.parts))

    async def load(self) -> SavedReply:
        return self.read()


class PaperTurn(Turn):
    """A turn that does what a script says."""

    def __init__(self, paper: Paper, live: MemoryLiveReplies, script: Script, *, repeatable: bool) -> None:
        self._script = script
        puppet = Puppet(script, self._act, repeatable)
        agent = Agent(puppet, MODELS, None, puppet.tools, history_messages=1, max_steps=100, max_attempts=100)
        super().__init__(paper.claim(), cast(Database, paper), live, agent)

    def _act(self) -> None:
        match self._script.ending:
            case "stopped":
                self.stop()
            case "lost":
                self.lose()
            case "handed over":
                self.hand_over()


class Recording(MemoryLiveReplies):
    """Live state that remembers each of its moments: what a reader saw who looked then, live or saved."""

    def __init__(self, paper: Paper) -> None:
        super().__init__()
        self.paper = paper
        self.moments: list[LiveSlice | SavedReply] = []

    def _wake(self, id: UUID) -> None:
        super()._wake(id)
        if id == self.paper.row.id:
            log = self.find_log(id)
            self.moments.append(
                LiveSlice(log.attempt, log.restarts, bytes(log.data), log.ended) if log else self.paper.read()
            )


async def write_on(paper: Paper, live: MemoryLiveReplies, attempts: Sequence[Script], *, repeatable: bool) -> None:
    """Write a reply to its end, with tools whose calls may be repeated by the next attempt or not."""
    for script in chain(attempts, repeat(END)):
        await PaperTurn(paper, live, script, repeatable=repeatable).write()
        if paper.row.status not in tables.RUNNING_STATUSES:
            return
        if paper.row.status == "AWAITING_APPROVAL":
            paper.answer(script.approve)
            live.notify(paper.row.id)
        else:
            assert script.ending in ("lost", "handed over"), "the turn broke off"


@dataclass(frozen=True)
class Written:
    """A reply that was written, through all its attempts."""

    saved: SavedReply
    moments: Sequence[LiveSlice | SavedReply]

    @property
    def parts(self) -> Sequence[Part]:
        return self.saved.parts

    @property
    def attempt(self) -> int:
        return self.saved.attempt

    @property
    def live(self) -> Sequence[LiveSlice]:
        """The moments of the last attempt; in the last one the reply has ended."""
        return [moment for moment in self.moments if isinstance(moment, LiveSlice) and moment.attempt == self.attempt]

    @property
    def log(self) -> bytes:
        return self.live[-1].data

    @property
    def ends(self) -> Sequence[LiveSlice | SavedReply]:
        """The end as it is read live, and as it is read from the row."""
        return self.live[-1], self.saved


async def write(*attempts: Script, repeatable: bool = True) -> Written:
    """Write a reply and keep what could be read meanwhile."""
    paper = Paper()
    live = Recording(paper)
    await write_on(paper, live, attempts, repeatable=repeatable)
    return Written(paper.read(), live.moments)


REPEATABLE = pytest.mark.parametrize("repeatable", [True, False], ids=["repeatable", "not repeatable"])
