"""How this node stands at the moment: asked when somebody looks, and kept by nobody."""

import asyncio
import logging
import math
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Protocol, runtime_checkable

from prometheus_client import Histogram, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from persistence.database import Database, is_unreachable
from persistence.runs import count_waiting
from runs.live import LiveReplies
from runs.worker import Worker

logger = logging.getLogger(__name__)

#: Seconds for which the queue is not counted anew, and that counting it may take: less than the other processes wait.
QUEUE_AGE, QUEUE_PATIENCE = 5.0, 1.0
#: Seconds between two looks at how late the event loop is.
LAG_INTERVAL = 0.5


@runtime_checkable
class SharedLive(Protocol):
    """What is known of a Valkey."""

    is_reachable: bool
    #: Hints of other nodes that have come.
    hints: int


@dataclass(frozen=True, slots=True)
class Node:
    """What has figures to tell."""

    database: Database
    worker: Worker
    live: LiveReplies
    #: Those that run; WebSockets and HTTP streams that are open.
    subscriptions: Callable[[], int]
    sockets: Callable[[], int]
    #: None for a process for itself.
    valkey: SharedLive | None


class Queue:
    """How many runs wait in the database, for all nodes: asked for those who look, and not for each of them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._asked_at = -math.inf
        self._asking = asyncio.Lock()
        #: Runs that wait, and seconds that the oldest has; None where PostgreSQL does not tell.
        self.known: tuple[int, float] | None = None

    async def refresh(self) -> None:
        """Ask again unless that was done a moment ago."""
        async with self._asking:
            if time.monotonic() - self._asked_at >= QUEUE_AGE:
                await self._ask()
                self._asked_at = time.monotonic()

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(QUEUE_PATIENCE), self._database.driver() as driver:
                self.known = await count_waiting(driver)
        except Exception as error:
            self.known = None
            if not isinstance(error, TimeoutError) and not is_unreachable(error):
                logger.warning("the queue could not be counted", exc_info=error)


class NodeFigures(Collector):
    """The figures that are read when they are asked for."""

    def __init__(self, node: Node, queue: Queue) -> None:
        self._node = node
        self._queue = queue

    def collect(self) -> Iterator[Metric]:
        node, pool = self._node, self._node.database.pool_state()
        yield _gauge("open_subscriptions", "Subscriptions that are running.", node.subscriptions())
        yield _gauge("open_sockets", "WebSockets that have signed in, and HTTP streams.", node.sockets())
        yield _gauge("live_replies", "Replies whose live text this node holds.", node.live.count)
        yield _gauge("runs_under_way", "Replies that this node writes now.", node.worker.under_way)
        yield _gauge("runs_capacity", "Replies that this node writes at the most.", node.worker.capacity)
        if (queue := self._queue.known) is not None:
            yield _gauge("queued_runs", "Runs that wait for a node, of all nodes.", queue[0])
            yield _gauge("queue_oldest_seconds", "For how long the oldest of them has waited.", queue[1])
        yield _gauge("database_pool_size", "Connections to PostgreSQL that this process may have.", pool.size)
        yield _gauge("database_pool_in_use", "Connections to PostgreSQL that are in use.", pool.in_use)
        yield _gauge("database_pool_waiting", "Those who wait for a connection to PostgreSQL.", pool.waiting)
        if (valkey := node.valkey) is not None:
            yield _gauge("valkey_connected", "Whether Valkey answers: 1 or 0.", valkey.is_reachable)
            hints = "Hints of other nodes that came by Valkey."
            yield CounterMetricFamily("loquent_valkey_hints", hints, value=valkey.hints)
        build = GaugeMetricFamily("loquent_build_info", "What runs here; always 1.", labels=["version", "python"])
        build.add_metric([_version(), platform.python_version()], 1)
        yield build


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"loquent_{name}", meaning, value=float(value))


def _version() -> str:
    try:
        return version("loquent")
    except PackageNotFoundError:
        return "unknown"


async def measure_loop_lag(lag: Histogram) -> None:
    """Look for ever how much later than asked for the event loop wakes a task."""
    while True:
        due = time.monotonic() + LAG_INTERVAL
        await asyncio.sleep(LAG_INTERVAL)
        lag.observe(max(0.0, time.monotonic() - due))
