"""A database whose only workers are those that a test starts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import make_url, text

from agent.anthropic.model import AnthropicModel
from persistence.database import Database
from persistence.runs import ClaimedRun
from runs.live import LiveReplies
from runs.memory import MemoryLiveReplies
from runs.observer import RunObserver
from runs.turn import NOBODY, Agent, Turn
from runs.worker import Worker
from tests.conftest import empty
from tests.model import ScriptedModel
from tests.workers import MODELS, StartNode, Tools

# What they assert is shown as in a test.
pytest.register_assert_rewrite("tests.service.conversations", "tests.service.inputs")


@pytest.fixture(scope="session")
async def _own_database(database: Database, database_url: str) -> AsyncIterator[Database]:
    async with database.connection() as connection:
        await connection.execute(text("create database queue"))
    own = Database(make_url(database_url).set(database="queue").render_as_string(hide_password=False), pool_size=20)
    await own.migrate()
    yield own
    await own.close()


@pytest.fixture
async def queue(_own_database: Database) -> AsyncIterator[Database]:
    """A database beside the shared one, whose only workers are a test's own."""
    yield _own_database
    await empty(_own_database)


@pytest.fixture
def tools() -> Tools:
    return Tools()


@pytest.fixture
async def start_node(queue: Database, model: ScriptedModel, tools: Tools) -> AsyncIterator[StartNode]:
    """Starts a worker as a node has one: `async with start_node(capacity=1) as worker`."""
    assert model.server is not None
    scripted = AnthropicModel(api_key="key", base_url=model.server.base_url, max_output_tokens=1000)

    @asynccontextmanager
    async def start(
        *,
        live: LiveReplies | None = None,
        capacity: int = 100,
        lease: float = 30.0,
        grace: float = 0.0,
        max_attempts: int = 5,
        observer: RunObserver = NOBODY,
    ) -> AsyncIterator[Worker]:
        live = live or MemoryLiveReplies()
        agent = Agent(scripted, MODELS, None, tools.offer, history_messages=20, max_steps=8, max_attempts=max_attempts)

        def start_turn(run: ClaimedRun) -> Turn:
            return Turn(run, queue, live, agent, observer)

        worker = Worker(queue, live, start_turn, capacity=capacity, lease=lease, grace=grace)
        worker.start()
        try:
            yield worker
        finally:
            await worker.shut_down()

    yield start
    await scripted.close()
