"""Connections of SQLAlchemy's pool, lent to statements that the driver executes alone."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
from sqlalchemy import PoolProxiedConnection
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine

#: What the driver raises where its connection is of no more use.
BROKEN = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class DriverPool:
    """Lends connections, first to who asked first.

    SQLAlchemy's pool takes as long to lend one as the driver does for a statement, and who comes later may overtake
    who waits there. So some are kept here, and while somebody waits they go from hand to hand.
    """

    def __init__(self, engine: AsyncEngine, size: int, timeout: float) -> None:
        """Of an engine with a pool of `size`; nobody waits here for longer than `timeout` seconds."""
        self._engine = engine
        self._size = size
        self._timeout = timeout
        #: Connections that stay when they are given back; all but one of those that are idle go when the pool has none.
        self._most_kept = size // 2
        self._closed = False
        self._kept: list[PoolProxiedConnection] = []
        #: Connections that are kept, lent or being opened.
        self._taken = 0
        #: Each is given a connection, or None: it may then take one from the pool.
        self._waiting: deque[asyncio.Future[PoolProxiedConnection | None]] = deque()

    @property
    def kept(self) -> int:
        """Connections that nobody uses."""
        return len(self._kept)

    @property
    def waiting(self) -> int:
        """How many wait here for one."""
        return len(self._waiting)

    @property
    def waiting_for_pool(self) -> int:
        """How many wait for one of the pool's, sessions most of all."""
        pool: Any = self._engine.pool
        # SQLAlchemy does not tell.
        return len(getattr(pool._pool._queue, "_getters", ()))

    @asynccontextmanager
    async def lend(self) -> AsyncIterator["asyncpg.Connection[Any]"]:
        """A connection for the block.

        Raises `sqlalchemy.exc.TimeoutError` where none is free for too long, here or then in the pool.
        """
        pooled = await self._take()
        connection: Any = pooled.driver_connection
        try:
            yield connection
        except BaseException as error:
            # Of a statement that was cancelled, or failed on the way, nobody knows how far it came.
            if not isinstance(error, Exception) or isinstance(error, BROKEN):
                connection.terminate()
            raise
        finally:
            self._give_back(pooled)

    def close(self) -> None:
        """Give the pool back what is kept, and what is lent when it comes back."""
        self._closed = True
        self._release_kept(0)

    async def _take(self) -> PoolProxiedConnection:
        pooled: PoolProxiedConnection | None = None
        if self._kept:
            pooled = self._kept.pop()
        elif self._taken < self._size:
            self._taken += 1
        else:
            pooled = await self._wait()
        try:
            while pooled is None or _is_closed(pooled):
                if pooled is not None:
                    # It was kept since before PostgreSQL went away.
                    _let_go(pooled)
                pooled = await self._engine.raw_connection()
        except BaseException:
            self._leave()
            raise
        return pooled

    async def _wait(self) -> PoolProxiedConnection | None:
        waiter: asyncio.Future[PoolProxiedConnection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(self._timeout):
                return await waiter
        except BaseException as error:
            with suppress(ValueError):
                self._waiting.remove(waiter)
            if waiter.done() and not waiter.cancelled():
                # It came at the same moment.
                given = waiter.result()
                self._leave() if given is None else self._give_back(given)
            if isinstance(error, TimeoutError):
                raise PoolTimeoutError(f"No connection was free for {self._timeout:g} seconds.") from None
            raise

    def _give_back(self, pooled: PoolProxiedConnection) -> None:
        is_wanted = self.waiting_for_pool > 0
        # More than may be kept here must not go from hand to hand while others wait for the pool.
        may_stay = not self._closed and not _is_closed(pooled) and (self._taken <= self._most_kept or not is_wanted)
        if may_stay and self._hand_over(pooled):
            return
        if may_stay and self._taken <= self._most_kept:
            self._kept.append(pooled)
            if is_wanted:
                self._release_kept(1)
            return
        try:
            _let_go(pooled)
        finally:
            self._leave()

    def _release_kept(self, most: int) -> None:
        """Give the pool back what is kept, but for so many."""
        while len(self._kept) > most:
            self._taken -= 1
            self._kept.pop().close()

    def _leave(self) -> None:
        """One less is taken, or another may take it."""
        if not self._hand_over(None):
            self._taken -= 1

    def _hand_over(self, pooled: PoolProxiedConnection | None) -> bool:
        """Give it to who has waited longest; False where nobody waits."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(pooled)
                return True
        return False


def _is_closed(pooled: PoolProxiedConnection) -> bool:
    connection: Any = pooled.driver_connection
    return bool(connection.is_closed())


def _let_go(pooled: PoolProxiedConnection) -> None:
    """Give it back to the pool, which opens another in the place of a closed one."""
    if _is_closed(pooled):
        pooled.invalidate()
    pooled.close()
