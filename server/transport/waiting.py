"""What a socket waits with: one reader and a few writers, and for most of its life none of them twice."""

import asyncio
from typing import Any

# asyncio's own queue and event keep double-ended queues, which take half a kilobyte each while they are empty.


class Inbox:
    """The messages for the application, which alone takes them, and never again once it was cancelled.

    It is what uvicorn uses of `asyncio.Queue`.
    """

    __slots__ = ("_messages", "_taker")

    def __init__(self) -> None:
        self._messages: list[Any] = []
        self._taker: asyncio.Future[Any] | None = None

    @property
    def is_awaited(self) -> bool:
        """Whether the application waits for a message."""
        return self._taker is not None and not self._taker.done()

    def put_nowait(self, message: Any) -> None:
        if self._taker is not None and not self._taker.done():
            self._taker.set_result(message)
        else:
            self._messages.append(message)

    def get(self) -> "asyncio.Future[Any]":
        """The next message, to be awaited at once."""
        self._taker = asyncio.get_running_loop().create_future()
        if self._messages:
            self._taker.set_result(self._messages.pop(0))
        return self._taker

    def empty(self) -> bool:
        return not self._messages


class Gate:
    """Open or shut; any number of tasks may wait until it is open: what uvicorn uses of `asyncio.Event`."""

    __slots__ = ("_open", "_waiters")

    def __init__(self) -> None:
        self._open = True
        self._waiters: list[asyncio.Future[None]] | None = None

    def is_set(self) -> bool:
        return self._open

    def clear(self) -> None:
        self._open = False

    def set(self) -> None:
        self._open = True
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self) -> None:
        if self._open:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters = self._waiters or []
        self._waiters.append(waiter)
        await waiter
