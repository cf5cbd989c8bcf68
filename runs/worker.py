"""Takes runs and has them written: claims, renews leases, recovers, shuts down.

The table is the truth and is polled; a hint only makes it fast.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, TypeAlias, TypeVar, cast
from uuid import UUID

from persistence import runs
from persistence.database import Database, is_unreachable
from persistence.runs import ClaimedRun
from runs.live import LiveReplies, Signal
from runs.turn import Turn

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
#: Stores a new run, claimed for so many seconds or, given None, for any node to take; gives a result and, where it was
#: claimed, the run.
Store: TypeAlias = Callable[[float | None], Awaitable[tuple[Result, ClaimedRun | None]]]

#: Seconds between two looks at the table when no hint comes.
POLL_INTERVAL = 1.0
#: Runs that are claimed at once: as long as that takes, so many places are held for them, and no new run begins there.
MOST_CLAIMED = 50
#: Seconds between two tries to renew leases while PostgreSQL is away.
RENEW_RETRY = 0.5
NO_MESSAGE = UUID(int=0)


class Worker:
    """The writer of replies on this node."""

    def __init__(
        self,
        database: Database,
        live: LiveReplies,
        start_turn: Callable[[ClaimedRun], Turn],
        *,
        capacity: int,
        lease: float,
        grace: float,
    ) -> None:
        self.live = live
        self._database = database
        self._start_turn = start_turn
        #: How many it writes at the same time.
        self.capacity = capacity
        self._lease = lease
        self._grace = grace
        self._turns: dict[UUID, Turn] = {}
        self._tasks: dict[asyncio.Task[None], Turn] = {}
        self._hint = asyncio.Event()
        self._draining = False
        self._shutting_down: asyncio.Task[None] | None = None
        self._afterwork: set[asyncio.Task[None]] = set()
        live.on_signal(self._hear)
        self._loops: list[asyncio.Task[None]] = []
        self._reachable = False
        self._after_outage = False
        #: New runs that are being stored as claimed.
        self._starting: set[asyncio.Task[Any]] = set()
        #: How many runs the look at the table that is under way may bring.
        self._asked_for = 0
        #: Whether the last look at the table left no run that could be taken.
        self._took_all = False

    @property
    def is_alive(self) -> bool:
        """Whether it takes runs: its loops go and its last look at the table worked."""
        running = bool(self._loops) and not any(loop.done() for loop in self._loops)
        return running and self._reachable and not self._draining

    @property
    def under_way(self) -> int:
        """Replies that it writes now."""
        return len(self._tasks)

    def wake(self) -> None:
        """Hint that there may be a run to take, here or, where there is no room, on another node."""
        self._hint.set()
        if self._draining or len(self._tasks) >= self.capacity:
            self.live.signal("wake", NO_MESSAGE)

    async def start_run(self, store: Store[Result]) -> Result:
        """Have a new run stored, and begin it at once where there is room and none waits; else it is queued."""
        if not self.is_alive or not self._took_all or self._free_places() <= 0:
            result, _ = await store(None)
            self.wake()
            return result
        starting = asyncio.create_task(self._start_run(store))
        self._starting.add(starting)
        # A run that is stored as claimed must begin, whoever gives up waiting: nobody else takes it soon.
        return await asyncio.shield(starting)

    async def _start_run(self, store: Store[Result]) -> Result:
        try:
            result, run = await store(self._lease)
        finally:
            self._starting.discard(cast("asyncio.Task[Any]", asyncio.current_task()))
            if not self._took_all:
                # Its place may be free again, and there was none when somebody looked.
                self._hint.set()
        if run is not None:
            self._begin(run)
        else:
            self.wake()
        return result

    def _free_places(self) -> int:
        return self.capacity - len(self._tasks) - len(self._starting) - self._asked_for

    def find_run(self, message_id: UUID) -> ClaimedRun | None:
        """The run of a reply that is written here."""
        turn = self._turns.get(message_id)
        return turn.run if turn else None

    def stop_reply(self, message_id: UUID) -> None:
        """Stop a reply, on whichever node it is written."""
        if turn := self._turns.get(message_id):
            turn.stop()
        else:
            self.live.signal("stop", message_id)

    def lose_reply(self, message_id: UUID) -> None:
        """A reply was deleted: whoever writes or reads it ends, on every node."""
        if turn := self._turns.get(message_id):
            turn.lose()
        else:
            self.live.signal("lose", message_id)
        self.live.notify(message_id)

    def _hear(self, signal: Signal, message_id: UUID) -> None:
        """What another node signals. A lost signal costs time: the heartbeat and the poll find the same."""
        if signal == "wake":
            self._hint.set()
        elif turn := self._turns.get(message_id):
            turn.stop() if signal == "stop" else turn.lose()

    def start(self) -> None:
        self._loops = [asyncio.create_task(self._claim_forever()), asyncio.create_task(self._renew_forever())]

    def drain(self) -> None:
        """Take no more runs; a claim that is under way still counts."""
        self._draining = True
        self._hint.set()

    def begin_shut_down(self) -> None:
        """Begin what `shut_down` waits for: the grace time runs while connections are closed."""
        if self._shutting_down is None:
            self.drain()
            self._shutting_down = asyncio.create_task(self._shut_down())

    async def shut_down(self) -> None:
        """Take no more runs; those under way finish within the grace time or are handed over."""
        self.begin_shut_down()
        assert self._shutting_down is not None
        await self._shutting_down

    async def _shut_down(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._grace):
                await _end_of(lambda: [*self._loops[:1], *self._starting, *self._tasks])
        self._hand_over()
        # What was being stored or claimed until now.
        with suppress(TimeoutError):
            async with asyncio.timeout(self._lease):
                await _end_of(lambda: [*self._loops[:1], *self._starting])
                self._hand_over()
                await _end_of(lambda: list(self._tasks))
        # Another node may take them at once.
        self.live.signal("wake", NO_MESSAGE)
        loose = [*self._loops, *self._afterwork]
        for task in loose:
            task.cancel()
        await asyncio.gather(*loose, return_exceptions=True)

    def _hand_over(self) -> None:
        for turn in self._turns.values():
            turn.hand_over()

    async def _claim_forever(self) -> None:
        while not self._draining:
            self._hint.clear()
            if not await self._claim() and not self._draining:
                try:
                    async with asyncio.timeout(POLL_INTERVAL):
                        await self._hint.wait()
                except TimeoutError:
                    pass

    async def _claim(self) -> bool:
        """Take some runs, as far as there is room; gives whether to look for more at once."""
        room = min(self._free_places(), MOST_CLAIMED)
        if room <= 0:
            self._took_all = False
            return False
        self._asked_for = room
        try:
            if self._after_outage:
                await self._database.ping()
                # Every lease has run out, but the nodes live: each first renews its own.
                await asyncio.sleep(2 * RENEW_RETRY)
                self._after_outage = False
            async with self._database.driver() as driver:
                claimed = await runs.claim_runs(driver, room, self._lease)
        except Exception as error:
            self._note_failure(error)
            return False
        finally:
            self._asked_for = 0
        self._note_success()
        for run in claimed:
            self._begin(run)
        self._took_all = len(claimed) < room and not any(run.left_others for run in claimed)
        return bool(claimed) and not self._took_all

    def _begin(self, run: ClaimedRun) -> None:
        turn = self._start_turn(run)
        self._turns[run.message_id] = turn
        self.live.notify(run.conversation_id)
        task = asyncio.create_task(turn.write(), name=f"run {run.message_id}")
        self._tasks[task] = turn
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        turn = self._tasks.pop(task)
        if self._turns.get(turn.run.message_id) is turn:
            del self._turns[turn.run.message_id]
        # The turn is its own: kept there, neither would go before the next search for garbage.
        afterwork, turn.afterwork = turn.afterwork, None
        if afterwork is not None and not self._draining:
            # What a saved reply leaves to be done holds no place of one that is still to be written.
            later = asyncio.create_task(afterwork())
            self._afterwork.add(later)
            later.add_done_callback(self._afterwork.discard)
        if turn.frees_others or not self._took_all:
            # There is room again, or a run has waited for this one.
            self.wake()

    async def _renew_forever(self) -> None:
        while True:
            renewed = await self._renew(dict(self._turns)) if self._turns else True
            await asyncio.sleep(self._lease / 3 if renewed else RENEW_RETRY)

    async def _renew(self, turns: dict[UUID, Turn]) -> bool:
        """Renew the leases of these turns; False where PostgreSQL could not be asked."""
        held = [(message_id, turn.run.attempt) for message_id, turn in turns.items()]
        try:
            async with self._database.driver() as driver:
                renewed = await runs.extend_leases(driver, held, self._lease)
        except Exception as error:
            # Others cannot take the runs either: they need the same database.
            self._note_failure(error)
            return False
        for run in renewed:
            turn = turns.pop(run.message_id)
            if run.cancel_requested:
                turn.stop()
        for turn in turns.values():
            # A turn that has just ended holds no lease either; to lose it then changes nothing.
            turn.lose()
        return True

    def _note_success(self) -> None:
        if not self._reachable:
            self._reachable = True
            logger.info("worker: taking runs")

    def _note_failure(self, error: Exception) -> None:
        if not is_unreachable(error):
            logger.error("worker: a look at the runs failed", exc_info=error)
        elif self._reachable:
            logger.warning("worker: PostgreSQL cannot be reached: %s", error)
            self._after_outage = True
        self._reachable = False


async def _end_of(tasks: Callable[[], Iterable[asyncio.Task[Any]]]) -> None:
    """Wait until all of them have ended, those too that are there only once another has."""
    while running := [task for task in tasks() if not task.done()]:
        await asyncio.wait(running)
