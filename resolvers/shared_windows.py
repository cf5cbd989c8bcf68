"""Windows of a rate limit that all nodes share, in Valkey."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from limits import RateLimitItem
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from limits.util import WindowStats
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

#: Seconds that Valkey may take to answer, and between two looks whether it is back.
PATIENCE, RETRY = 0.25, 0.5
#: How many questions a node asks Valkey at once; further ones wait.
CONNECTIONS = 32
UNREACHABLE = (RedisError, OSError, TimeoutError)


class SharedWindows:
    """The windows that all nodes share, as long as Valkey answers in time."""

    def __init__(self, url: str) -> None:
        self._pool = ConnectionPool.from_url(
            url,
            # One more try at once, for a connection that was lost while nobody used it.
            retry=Retry(NoBackoff(), 1),
            socket_timeout=PATIENCE,
            socket_connect_timeout=PATIENCE,
        )
        # The client's own blocking pool goes on with some waits that are cancelled.
        self._connections = asyncio.Semaphore(CONNECTIONS)
        # By the pool, since the library knows other forms of URLs than the client does.
        options: dict[str, Any] = {"key_prefix": "loquent:limit", "connection_pool": self._pool}
        self._limiter = MovingWindowRateLimiter(RedisStorage("redis://", implementation="redispy", **options))
        self._return: asyncio.Task[None] | None = None

    async def close(self) -> None:
        if self._return:
            self._return.cancel()
        await self._pool.aclose()

    async def hit(self, item: RateLimitItem, user: str) -> bool | None:
        """Whether one more was counted; None while Valkey is away."""
        return await self._ask(lambda: self._limiter.hit(item, user))

    async def get_window_stats(self, item: RateLimitItem, user: str) -> WindowStats | None:
        """When the oldest entry goes, and how many are left; None while Valkey is away."""
        return await self._ask(lambda: self._limiter.get_window_stats(item, user))

    async def _ask(self, question: Callable[[], Awaitable[Answer]]) -> Answer | None:
        try:
            # In this order: whoever waits here waits for this node, which says nothing about Valkey.
            async with self._connections, asyncio.timeout(PATIENCE):
                # Looked at now: those before may have found out.
                return None if self._return else await question()
        except UNREACHABLE as error:
            # Of many that wait at the same time, one tells.
            if not self._return:
                logger.warning("Valkey cannot be reached, each node counts messages by itself: %r", error)
                self._return = asyncio.create_task(self._wait_for_return())
            return None

    async def _wait_for_return(self) -> None:
        """Look for Valkey, so that no message has to."""
        valkey = Redis(connection_pool=self._pool)
        while True:
            await asyncio.sleep(RETRY)
            with suppress(*UNREACHABLE):
                async with asyncio.timeout(PATIENCE):
                    await valkey.ping()
                break
        logger.info("Valkey is back, nodes count messages together")
        self._return = None
