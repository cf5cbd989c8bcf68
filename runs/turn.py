"""One attempt at a reply: history → agent → live state → saved."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal, TypeAlias, TypeVar

from agent.draft import Draft, TextKind
from agent.history import PastMessage, build_history
from agent.loop import (
    AgentEvent,
    CallEnded,
    CallParked,
    CallStarted,
    Checkpoint,
    PartAdded,
    think,
)
from agent.model import Model, ModelError, OfferedModels, Usage
from agent.parts import TextPart, join_text, parts_from_json, parts_to_json
from agent.prompt import SYSTEM_PROMPT, system_prompt
from agent.tools import Tool
from persistence import branches, messages, runs, tables
from persistence.branches import Branch
from persistence.database import Database, is_deadlock, is_unreachable
from persistence.pages import Page, Window
from persistence.runs import ClaimedRun, FinishedReply
from persistence.statements import Executor
from runs.live import LiveReplies
from runs.log import LogReader, begin_reasoning, begin_text, finish_call, park_call, start_call, write_log
from runs.naming import name_conversation
from runs.observer import ObservedModel, RunObserver, RunRecord

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
#: How the agent's work has ended.
Outcome: TypeAlias = ModelError | Literal["STOPPED", "COMPLETE"]

#: Seconds between two tries to load or save while PostgreSQL is away.
SAVE_INTERVAL = 1.0
NOBODY = RunObserver()


@dataclass(frozen=True, slots=True)
class Agent:
    """What every turn thinks with."""

    model: Model
    #: Which models write replies.
    models: OfferedModels
    #: Which one names conversations; None leaves them unnamed.
    title_model: str | None
    #: The tools that an owner's replies may use.
    toolbox: Callable[[str], Sequence[Tool]]
    #: How many messages of the branch the model is shown.
    history_messages: int
    #: How often a reply may call the model.
    max_steps: int
    #: How many nodes may die of a reply before it is given up.
    max_attempts: int
    #: What the model is told before the conversation.
    prompt: str = SYSTEM_PROMPT


class LostRun(Exception):
    """Another attempt has taken over, or the reply was deleted: nothing more may be written."""


class Turn:
    """Writes one reply, as long as the run is this node's."""

    __slots__ = (
        "_agent",
        "_database",
        "_draft",
        "_ending",
        "_live",
        "_parked",
        "_part",
        "_record",
        "_restarts",
        "_thinking",
        "afterwork",
        "frees_others",
        "run",
    )

    def __init__(
        self,
        run: ClaimedRun,
        database: Database,
        live: LiveReplies,
        agent: Agent,
        observer: RunObserver = NOBODY,
    ) -> None:
        self.run = run
        self._record = RunRecord(run, observer)
        self._database = database
        self._live = live
        self._agent = agent
        self._draft = Draft()
        self._restarts: Sequence[int] = ()
        self._part = -1
        self._parked: list[CallParked] = []
        #: Whether another run may be taken once this one has ended.
        self.frees_others = True
        #: What is to be done once the reply is saved; None for nothing.
        self.afterwork: Callable[[], Coroutine[Any, Any, None]] | None = None
        #: The task of `write`, as long as it may be cancelled.
        self._thinking: asyncio.Task[Any] | None = None
        self._ending: Literal["stopped", "lost", "handed over"] | None = "stopped" if run.cancel_requested else None

    def stop(self) -> None:
        """End the reply where it is, as the user wished."""
        self._end("stopped")

    def lose(self) -> None:
        """Write nothing more: the run is another's now."""
        self._end("lost")

    def hand_over(self) -> None:
        """Leave the run to any other node, at once."""
        self._end("handed over")

    def _end(self, ending: Literal["stopped", "lost", "handed over"]) -> None:
        # Who lost the run must not write, whatever was wished before.
        if self._ending is None or ending == "lost":
            self._ending = ending
        if self._thinking is not None:
            self._thinking.cancel()

    async def write(self) -> None:
        """Do it all. Returns when the reply is saved, parked, handed over or lost; raises nothing of its own."""
        self._record.observer.run_began(self.run)
        try:
            history = await self._begin()
            outcome = await self._think(history)
            if outcome == "STOPPED" and self._ending == "handed over":
                await self._hand_over()
            elif outcome == "COMPLETE" and self._draft.open_calls():
                await self._park()
            else:
                await self._finish(history, outcome)
        except LostRun:
            logger.warning("run %s, attempt %d: lost", self.run.message_id, self.run.attempt)
            self._record.outcome = "LOST"
            self._live.drop(self.run.message_id, self.run.attempt)
            await self._record_deleted()
        except Exception:
            # The lease runs out, and another attempt begins.
            logger.exception("run %s, attempt %d: broke off", self.run.message_id, self.run.attempt)
            self._live.drop(self.run.message_id, self.run.attempt)
        finally:
            self._record.end()

    async def _begin(self) -> list[PastMessage]:
        """Load the branch and show readers what earlier attempts saved; gives the messages before the reply."""
        if self.run.question is not None:
            self._live.begin(self.run.message_id, self.run.attempt, self._restarts, b"")
            return [PastMessage("USER", parts_from_json(self.run.question))]
        branch = Branch(self.run.conversation_id, self.run.message_id)
        window = Window(self._agent.history_messages + 1, from_end=True)
        page = await self._persist(lambda: self._load(branch, window))
        if not page.rows:
            raise LostRun
        *history, reply = page.rows
        self._draft = Draft(parts_from_json(reply.parts))
        self._draft.model = reply.model
        self._draft.usage = Usage(
            reply.input_tokens or 0,
            reply.output_tokens or 0,
            reply.cache_read_tokens or 0,
            reply.cache_write_tokens or 0,
        )
        self._record.is_fresh = not self._draft.parts
        log = write_log(self._draft.parts)
        self._part = len(self._draft.parts) - 1
        if self.run.attempt > 1:
            reader = LogReader()
            reader.read(log)
            # An attempt that saved nothing went on where this one does.
            missing = self.run.attempt - 1 - len(reply.restarts)
            self._restarts = [*reply.restarts, *[reader.position] * missing]
            await self._save_step()
        self._live.begin(self.run.message_id, self.run.attempt, self._restarts, log)
        return [_past(message) for message in history]

    async def _think(self, history: list[PastMessage]) -> Outcome:
        """Let the agent write until it is done, stopped or failed."""
        if self.run.failures >= self._agent.max_attempts:
            return ModelError("INTERNAL", "The server failed too often while it wrote this reply.", retryable=True)
        if self._ending is not None:
            return "STOPPED"
        try:
            stopped = await self._until_ended(self._follow_agent(history))
        except ModelError as error:
            logger.warning("run %s: %s: %s (%s)", self.run.message_id, error.code, error, error.reason)
            return error
        except LostRun:
            raise
        except Exception:
            logger.exception("run %s failed", self.run.message_id)
            return ModelError("INTERNAL", "Something went wrong on the server.", retryable=True)
        return "STOPPED" if stopped else "COMPLETE"

    async def _until_ended(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do it until it is done or the reply is to end; whether that came first. Raises `LostRun`."""
        # Work in a task of its own would be easier to cancel, but there would be twice as many tasks.
        self._thinking = task = asyncio.current_task()
        assert task is not None
        stopped = False
        try:
            await work
        except asyncio.CancelledError:
            if self._ending is None:
                raise
            stopped = True
        finally:
            self._thinking = None
            # What was cancelled is the work: the reply is still to be saved.
            while self._ending is not None and task.cancelling():
                task.uncancel()
            if self._ending == "lost":
                raise LostRun
        return stopped

    async def _finish(self, history: Sequence[PastMessage], outcome: Outcome) -> None:
        self._interrupt_calls()
        error = outcome if isinstance(outcome, ModelError) else None
        end = FinishedReply(
            status="FAILED" if isinstance(outcome, ModelError) else outcome,
            parts=parts_to_json(self._draft.parts),
            text=join_text(self._draft.parts),
            model=self._draft.model,
            usage=self._draft.usage.as_columns(),
            error_code=error.code if error else None,
            error_message=error.message if error else None,
            error_retryable=error.retryable if error else None,
        )
        ended = await self._save(lambda driver: runs.finish_reply(driver, self.run, end))
        if ended is None:
            raise LostRun
        self.frees_others = ended.followed
        self._record.outcome = "FAILED" if isinstance(outcome, ModelError) else outcome
        self._record.code = end.error_code
        self._live.end(self.run.message_id, self.run.attempt, ended.reply)
        self._live.notify(self.run.conversation_id)
        name = self._agent.title_model
        if name is not None and ended.untitled and end.status == "COMPLETE" and history:
            model, asked = ObservedModel(self._agent.model, self._record), join_text(history[-1].parts)
            self.afterwork = partial(
                name_conversation, self._database, self._live, model, name, self.run, asked, end.text
            )

    async def _park(self) -> None:
        """Leave the reply to its user: no node holds it until every call is answered."""
        saved = await self._save(
            lambda driver: runs.park_run(
                driver,
                self.run,
                parts=parts_to_json(self._draft.parts),
                model=self._draft.model,
                usage=self._draft.usage.as_columns(),
            )
        )
        if not saved:
            raise LostRun
        self._record.outcome = "AWAITING_APPROVAL"
        # Only now: whoever is told may answer at once.
        for parked in self._parked:
            self._append(park_call(parked.part, parked.call))
        self._live.drop(self.run.message_id, self.run.attempt)
        self._live.notify(self.run.conversation_id)

    async def _hand_over(self) -> None:
        await self._save(lambda driver: runs.release_run(driver, self.run))
        self._record.outcome = "HANDED_OVER"
        self._live.drop(self.run.message_id, self.run.attempt)

    async def _follow_agent(self, history: list[PastMessage]) -> None:
        agent = self._agent
        messages = build_history(history)
        # They may be long, and the model has them in its own words now; but a title is made of the question.
        del history[:-1]
        events = think(
            ObservedModel(agent.model, self._record),
            agent.models.choose(self.run.model),
            agent.toolbox(self.run.owner_id),
            system_prompt(datetime.now(UTC).date(), agent.prompt),
            messages,
            self._draft,
            self._tell_text,
            max_steps=agent.max_steps,
            run_tool=self._record.call_tool,
        )
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Checkpoint):
                    await self._save_step()
                else:
                    self._tell(event)

    def _tell(self, event: AgentEvent) -> None:
        """Show readers what the agent did."""
        match event:
            case PartAdded(part):
                data = begin_reasoning()
            case CallStarted(part, call):
                data = start_call(call)
            case CallEnded(part, call):
                self._append(finish_call(part, call))
                return
            case CallParked():
                self._parked.append(event)
                return
            case Checkpoint():
                return
        self._part = part
        self._append(data)

    def _tell_text(self, kind: TextKind, part: int, text: str) -> None:
        """Show readers what the agent says."""
        data = text.encode()
        if part != self._part:
            self._part = part
            data = (self._begin_text() if kind is TextPart else begin_reasoning()) + data
        self._append(data)

    def _begin_text(self) -> bytes:
        self._record.note_text()
        return begin_text()

    def _append(self, data: bytes) -> None:
        self._live.append(self.run.message_id, self.run.attempt, data)

    def _interrupt_calls(self) -> None:
        """Of a reply that was cut, the tool calls under way have no known end."""
        for index, _ in self._draft.open_calls():
            self._tell(CallEnded(index, self._draft.end_call(index, "INTERRUPTED", None)))

    async def _save_step(self) -> None:
        saved = await self._save(
            lambda driver: runs.save_step(
                driver,
                self.run.message_id,
                self.run.attempt,
                parts=parts_to_json(self._draft.parts),
                model=self._draft.model,
                restarts=self._restarts,
                usage=self._draft.usage.as_columns(),
            )
        )
        if not saved:
            raise LostRun

    async def _record_deleted(self) -> None:
        """A reply that was deleted while it was written has cost what it has cost."""
        usage = self._draft.usage
        if usage == Usage():
            return
        try:
            async with self._database.session() as session:
                await messages.record_deleted(session, self.run.owner_id, self.run.message_id, usage.as_columns())
        except Exception as error:
            logger.warning("run %s: not known whether it was deleted: %s", self.run.message_id, error)

    async def _load(self, branch: Branch, window: Window) -> Page[tables.Message]:
        async with self._database.driver() as driver:
            [page] = await branches.fetch_branches(driver, self.run.owner_id, [(branch, window)])
        return page

    async def _save(self, statement: Callable[[Executor], Awaitable[Result]]) -> Result:
        async def execute() -> Result:
            async with self._database.driver() as driver:
                return await statement(driver)

        return await self._persist(execute)

    async def _persist(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Do it, again and again while PostgreSQL is away and the run is not lost."""
        while True:
            try:
                return await work()
            except Exception as error:
                if not (is_unreachable(error) or is_deadlock(error)):
                    raise
                logger.warning("run %s: waiting for PostgreSQL: %s", self.run.message_id, error)
            if self._ending == "lost":
                raise LostRun
            await asyncio.sleep(SAVE_INTERVAL)


def _past(message: tables.Message) -> PastMessage:
    cut = {"STOPPED": "stopped", "FAILED": "failed"}.get(message.status)
    return PastMessage(message.role, parts_from_json(message.parts), cut)  # type: ignore[arg-type]
