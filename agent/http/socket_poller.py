"""Reading the sockets of all answers together: each at once while little comes, in turns under load.

An event loop reads a socket as soon as it has something. With a thousand answers that means a thousand reads of one
token each, fifty times a second, and a token that comes with another costs half. So these sockets are in a set of their
own, which the loop sees as one file: under load it is looked at by a timer, and what comes meanwhile waits in the
kernel, in order, for free. The more else there is to do, the rarer the looks: who starts is not kept waiting by what
runs.
"""

import asyncio
import math
import select
import socket
from collections.abc import Callable
from typing import Protocol

from agent.load import Load

#: Seconds in which each socket is read once under full load; between two looks under any.
LONGEST_WAIT, TICK = 0.05, 0.005


class SocketPoller(Protocol):
    """Calls back when a socket can be read, in the event loop of the first; needs no closing once it watches none."""

    def watch(self, opened: socket.socket, callback: Callable[[], None]) -> None:
        """Call back when the socket has something, or its end, until it has nothing more. Raises `OSError`."""

    def forget(self, opened: socket.socket) -> None:
        """Leave a socket alone that may be watched; it must still be open."""

    def count(self, pieces: int) -> None:
        """Tell how much has come: in pieces as the servers sent them, however many were read at once."""


def make_poller() -> SocketPoller:
    """The one that this system allows: only Linux has sets of sockets that are files."""
    return EpollPoller() if hasattr(select, "epoll") else LoopPoller()


class LoopPoller:
    """Has the event loop read each socket at once, whatever the load."""

    def watch(self, opened: socket.socket, callback: Callable[[], None]) -> None:
        asyncio.get_running_loop().add_reader(opened.fileno(), callback)

    def forget(self, opened: socket.socket) -> None:
        asyncio.get_running_loop().remove_reader(opened.fileno())

    def count(self, pieces: int) -> None:
        """It makes no difference."""


class EpollPoller:
    """Reads at once or in turns, as the load is."""

    def __init__(self) -> None:
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._load = Load(LONGEST_WAIT)
        self._looked = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, opened: socket.socket, callback: Callable[[], None]) -> None:
        if not self._callbacks:
            self._open()
        try:
            self._set.register(opened, select.EPOLLIN)
        except OSError:
            if not self._callbacks:
                self._close()
            raise
        self._callbacks[opened.fileno()] = callback

    def forget(self, opened: socket.socket) -> None:
        if self._callbacks.pop(opened.fileno(), None) is not None:
            self._set.unregister(opened)
            if not self._callbacks:
                self._close()

    def count(self, pieces: int) -> None:
        self._load.count += pieces

    def _open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._set = select.epoll()
        self._load = Load(LONGEST_WAIT)
        self._loop.add_reader(self._set.fileno(), self._look_at_once)

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        else:
            self._loop.remove_reader(self._set.fileno())
        self._set.close()

    def _look_at_once(self) -> None:
        self._look(len(self._callbacks))
        now = self._loop.time()
        if self._callbacks and self._load.measure(now) and self._timer is None:
            self._loop.remove_reader(self._set.fileno())
            self._looked = now
            self._timer = self._loop.call_later(TICK, self._look_in_turn)

    def _look_in_turn(self) -> None:
        # All have their turn within the wait, but not more of them in one look than in two ticks: if looks are late
        # then others need the time, and the sockets keep what they have.
        now = self._loop.time()
        share = min(now - self._looked, 2 * TICK, self._load.wait) / self._load.wait
        self._looked = now
        # Before anything can fail.
        self._timer = self._loop.call_later(TICK, self._look_in_turn)
        self._look(math.ceil(share * len(self._callbacks)))
        if self._timer is not None and not self._load.measure(self._loop.time()):
            self._timer.cancel()
            self._timer = None
            self._loop.add_reader(self._set.fileno(), self._look_at_once)

    def _look(self, most: int) -> None:
        """Call back for those that have waited longest."""
        for descriptor, _ in self._set.poll(0, most):
            if callback := self._callbacks.get(descriptor):
                try:
                    callback()
                except Exception as error:
                    # It would keep those behind it from their turn.
                    self._loop.call_exception_handler({"message": "Reading a socket failed.", "exception": error})
