"""Workers on a database of their own: to send, to run, to die."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, cast
from uuid import UUID

from sqlalchemy import text

from agent.model import OfferedModels
from agent.parts import Part, parts_from_json, parts_to_json
from agent.tools import Tool
from persistence.database import Database
from persistence.runs import ClaimedRun, claim_runs, save_step
from resolvers.context import Context
from resolvers.exchanges import Exchange, Newest, send_message
from resolvers.rate_limit import RateLimit
from runs.live import LiveReplies
from runs.memory import MemoryLiveReplies
from runs.turn import Turn
from runs.worker import Worker
from tests.conftest import until

#: What these nodes offer.
MODELS = OfferedModels(("scripted", "other"))
#: Seconds of the lease of a node that dies.
SHORT = 0.05
#: Longer than any test.
NEVER = 60.0
#: What a call of the model costs is none of these tests' business.
NOTHING = {"input_tokens": 0, "output_tokens": 0, "cache_read_tokens": 0, "cache_write_tokens": 0}


@dataclass
class Tools:
    """Tools that note their calls; `hold` ends when the test says so."""

    calls: list[str] = field(default_factory=list)
    may_end: asyncio.Event = field(default_factory=asyncio.Event)

    def offer(self, owner_id: str) -> Sequence[Tool]:
        once, again = partial(self._note, "once"), partial(self._note, "again")
        anything = {"type": "object", "properties": {}}
        return [
            Tool("once", "Does it.", anything, once),
            Tool("again", "Does it, as often as you like.", anything, again, repeatable=True),
            Tool("ask", "Does it if the user agrees.", anything, partial(self._note, "ask"), needs_approval=True),
            Tool("hold", "Waits.", anything, self._hold, repeatable=True),
        ]

    async def _note(self, tool: str, parameters: Mapping[str, Any]) -> Any:
        self.calls.append(tool)
        return {"did": tool}

    async def _hold(self, parameters: Mapping[str, Any]) -> Any:
        await self.may_end.wait()
        return {}


StartNode = Callable[..., Any]


def call_by(queue: Database, owner_id: str, live: LiveReplies | None = None) -> Context:
    """A caller on a node whose worker takes nothing."""

    def refuse(run: ClaimedRun) -> Turn:
        raise AssertionError("the worker was not started")

    worker = Worker(queue, live or MemoryLiveReplies(), refuse, capacity=1, lease=1, grace=0)
    return Context(owner_id, queue, worker, RateLimit(1_000_000), MODELS)


async def send(queue: Database, question: str, *, owner: str = "ann") -> Exchange:
    """A question in a conversation of its own; its reply waits until a worker takes it."""
    context = call_by(queue, owner)
    return await send_message(context, question, conversation_id=None, parent_id=Newest.NEWEST, idempotency_key=None)


async def claim(queue: Database, lease: float = SHORT) -> ClaimedRun:
    """Take the only run that waits, as a node does that then dies."""
    async with queue.connection() as connection:
        [run] = await claim_runs(connection, 10, lease)
    return run


async def begin_and_die(
    queue: Database, parts: Sequence[Part] = (), *, question: str = "Go.", lease: float = SHORT
) -> ClaimedRun:
    """A reply of which a node has saved so much, and then died."""
    await send(queue, question)
    run = await claim(queue, lease)
    assert await save(queue, run, parts)
    return run


async def save(queue: Database, run: ClaimedRun, parts: Sequence[Part]) -> bool:
    async with queue.connection() as connection:
        return await save_step(
            connection,
            run.message_id,
            run.attempt,
            parts=parts_to_json(parts),
            model="scripted",
            restarts=[0] * (run.attempt - 1),
            usage=NOTHING,
        )


async def row_of(queue: Database, message_id: UUID) -> dict[str, Any]:
    """The message as it is stored."""
    async with queue.connection() as connection:
        found = await connection.execute(text("select * from message where id = :id"), {"id": message_id})
        return dict(found.mappings().one())


async def lease_end(queue: Database, message_id: UUID) -> datetime:
    """Until when the run is its node's, by the clock of the database."""
    async with queue.connection() as connection:
        query = text("select lease_until from run where message_id = :id")
        return cast(datetime, (await connection.execute(query, {"id": message_id})).scalar_one())


async def clock(queue: Database) -> datetime:
    """What time it is for the database."""
    async with queue.connection() as connection:
        return cast(datetime, (await connection.execute(text("select clock_timestamp()"))).scalar_one())


async def parts_of(queue: Database, message_id: UUID) -> list[Part]:
    return parts_from_json((await row_of(queue, message_id))["parts"])


async def statuses(queue: Database) -> list[str]:
    """Of all replies, oldest first."""
    async with queue.connection() as connection:
        query = "select status from message where role = 'ASSISTANT' order by created_at"
        return list((await connection.execute(text(query))).scalars())


async def finished(queue: Database, message_id: UUID) -> dict[str, Any]:
    """The message, once it is saved for good."""

    async def is_finished() -> bool:
        return (await row_of(queue, message_id))["finished_at"] is not None

    await until(is_finished)
    return await row_of(queue, message_id)
