"""Sockets that are read together: each gets everything, whatever the load is and whatever a callback does."""

import asyncio
import contextlib
import gc
import random
import select
import socket
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent import load as agent_load
from agent.http import socket_poller
from agent.http.socket_channel import Channel
from agent.http.socket_poller import LONGEST_WAIT, EpollPoller, LoopPoller, SocketPoller
from tests.conftest import PATIENCE, until

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="Only Linux reads sockets in turns.")


def open_pair() -> tuple[socket.socket, socket.socket]:
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    return near, far


class Line:
    """Two sockets: what the far one says, the near one takes when the poller calls back."""

    def __init__(self, poller: SocketPoller) -> None:
        self.near, self.far = open_pair()
        self.said, self.taken, self.reads = bytearray(), bytearray(), 0
        #: What goes before taking, in the callback.
        self.before: Callable[[], None] = lambda: None
        poller.watch(self.near, self.take)

    def take(self) -> None:
        self.before()
        if self.near.fileno() < 0:
            return
        with contextlib.suppress(BlockingIOError):
            self.taken += self.near.recv(65536)
            self.reads += 1

    def say(self) -> None:
        """Say one piece, which is like none of the last ones."""
        piece = bytes([len(self.said) % 251])
        self.far.sendall(piece)
        self.said += piece

    def close(self, poller: SocketPoller) -> None:
        if self.near.fileno() >= 0:
            poller.forget(self.near)
        self.near.close()
        self.far.close()


@contextmanager
def open_lines(poller: SocketPoller, number: int = 40) -> Iterator[list[Line]]:
    lines = [Line(poller) for _ in range(number)]
    try:
        yield lines
    finally:
        for line in lines:
            line.close(poller)


def all_taken(lines: list[Line]) -> bool:
    return all(line.taken == line.said for line in lines)


async def at_once(lines: list[Line]) -> bool:
    """Have each line say something; tells whether all was taken as soon as the event loop came to it."""
    for line in lines:
        line.say()
    for _ in range(5):
        await asyncio.sleep(0)
    return all_taken(lines)


@asynccontextmanager
async def load(poller: SocketPoller, lines: list[Line]) -> AsyncIterator[None]:
    """So much to count that the lines are read in turns."""

    async def count() -> None:
        while True:
            poller.count(1_000_000)
            await asyncio.sleep(0.01)

    async def in_turns() -> bool:
        return not await at_once(lines)

    counting = asyncio.create_task(count())
    try:
        await until(in_turns)
        yield
    finally:
        counting.cancel()
        await asyncio.wait([counting])


@pytest.fixture
async def errors() -> AsyncIterator[list[Exception]]:
    """What the event loop was told of; a test takes out what it expects."""
    loop, told = asyncio.get_running_loop(), list[Exception]()

    def tell(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        told.append(context["exception"])

    loop.set_exception_handler(tell)
    yield told
    loop.set_exception_handler(None)
    assert told == []


@pytest.fixture(params=["at once", "in turns", "by the loop"])
async def poller_and_lines(
    request: pytest.FixtureRequest, errors: list[Exception]
) -> AsyncIterator[tuple[SocketPoller, list[Line]]]:
    """Lines that are read in each of the ways."""
    poller: SocketPoller = LoopPoller() if request.param == "by the loop" else EpollPoller()
    with open_lines(poller) as lines:
        async with load(poller, lines) if request.param == "in turns" else contextlib.nullcontext():
            yield poller, lines


PollerAndLines = tuple[SocketPoller, list[Line]]


# Load


async def test_while_little_comes_each_piece_is_handed_on_at_once() -> None:
    poller, loop = EpollPoller(), asyncio.get_running_loop()
    end = loop.time() + 4 * agent_load.MEASURED
    with open_lines(poller) as lines:
        while loop.time() < end:
            assert await at_once(lines)
            poller.count(len(lines))
            await asyncio.sleep(0.01)


async def test_under_load_each_socket_has_its_turn_and_gets_everything_in_order_and_at_once_again_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A slow machine shall reach it, too.
    monkeypatch.setattr(agent_load, "QUIET_RATE", 500)
    monkeypatch.setattr(agent_load, "BUSY_RATE", 1000)
    poller, loop = EpollPoller(), asyncio.get_running_loop()
    with open_lines(poller) as lines:

        async def talk(seconds: float) -> float:
            start = loop.time()
            while (passed := loop.time() - start) < seconds:
                await at_once(lines)
                poller.count(len(lines))
                await asyncio.sleep(0.002)
            return passed

        await talk(0.5)
        before = [line.reads for line in lines]
        turns = await talk(1.0) / LONGEST_WAIT
        reads = [line.reads - earlier for line, earlier in zip(lines, before, strict=True)]
        assert max(reads) - min(reads) <= 2
        # A look takes one more rather than one less than its share.
        assert min(reads) >= 2 and max(reads) <= 1.25 * turns + 2
        await until(lambda: all_taken(lines))
        await until(lambda: at_once(lines))


async def test_a_wait_of_next_to_nothing_is_no_problem(
    monkeypatch: pytest.MonkeyPatch, errors: list[Exception]
) -> None:
    # As at a rate that is above the quiet one by no more than what is lost in rounding.
    monkeypatch.setattr(socket_poller, "LONGEST_WAIT", 1e-12)
    poller = EpollPoller()
    with open_lines(poller) as lines:
        async with load(poller, lines):
            await until(lambda: all_taken(lines))


# What callbacks do


async def test_a_callback_that_raises_costs_the_others_nothing(
    poller_and_lines: PollerAndLines, errors: list[Exception]
) -> None:
    _, lines = poller_and_lines
    broken, others = lines[::2], lines[1::2]

    def fail() -> None:
        raise ZeroDivisionError

    for line in broken:
        line.before = fail
    for _ in range(3):
        for line in lines:
            line.say()
        await until(lambda: all_taken(others))
    await until(lambda: errors != [])
    assert {type(error) for error in errors} == {ZeroDivisionError}
    for line in broken:
        line.before = lambda: None
    await until(lambda: all_taken(lines))
    errors.clear()


@pytest.mark.parametrize("left", [0, 1, 30])
async def test_a_callback_may_close_any_of_the_sockets(poller_and_lines: PollerAndLines, left: int) -> None:
    poller, lines = poller_and_lines
    await until(lambda: all_taken(lines))
    rest, closed = lines[:left], lines[left:]

    def close() -> None:
        for line in closed:
            line.close(poller)
            line.before = was_called

    def was_called() -> None:
        raise AssertionError("It is closed.")

    # Its own is among them.
    closed[0].before = close
    for line in lines:
        line.say()
    await until(lambda: closed[0].near.fileno() < 0 and all_taken(rest))
    for line in rest:
        line.say()
    await until(lambda: all_taken(rest))


async def test_a_callback_may_close_all_sockets_and_open_another(poller_and_lines: PollerAndLines) -> None:
    poller, lines = poller_and_lines
    await until(lambda: all_taken(lines))
    others: list[Line] = []

    def replace() -> None:
        for line in lines:
            line.close(poller)
        others.append(Line(poller))

    lines[7].before = replace
    for line in lines:
        line.say()
    await until(lambda: others != [])
    for _ in range(3):
        others[0].say()
        await until(lambda: all_taken(others))
    others[0].close(poller)


async def test_what_is_not_watched_waits(poller_and_lines: PollerAndLines) -> None:
    poller, lines = poller_and_lines
    await until(lambda: all_taken(lines))
    waiting, others = lines[::2], lines[1::2]
    for line in waiting:
        poller.forget(line.near)
        # Once more does no harm.
        poller.forget(line.near)
    reads = [line.reads for line in waiting]
    for line in lines:
        line.say()
        line.say()
    await until(lambda: all_taken(others))
    assert [line.reads for line in waiting] == reads
    for line in waiting:
        poller.watch(line.near, line.take)
    await until(lambda: all_taken(lines))


# What a poller holds


def sets_of_sockets() -> int:
    """How many this process has."""
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            count += "eventpoll" in str(descriptor.readlink())
    return count


@pytest.mark.parametrize("busy", [False, True])
async def test_a_poller_that_watches_nothing_holds_neither_a_file_nor_a_timer(busy: bool) -> None:
    poller, before = EpollPoller(), sets_of_sockets()
    with open_lines(poller) as lines:
        assert sets_of_sockets() == before + 1
        async with load(poller, lines) if busy else contextlib.nullcontext():
            for line in lines:
                line.close(poller)
            assert sets_of_sockets() == before
    # A timer would hold it.
    left = weakref.ref(poller)
    del poller, lines, line
    gc.collect()
    assert left() is None


@pytest.mark.parametrize("make", [EpollPoller, LoopPoller])
async def test_a_poller_may_be_used_again_also_by_another_event_loop(make: Callable[[], SocketPoller]) -> None:
    poller = make()

    async def use() -> None:
        with open_lines(poller) as lines:
            assert await at_once(lines)
            if make is EpollPoller:
                async with load(poller, lines):
                    await until(lambda: all_taken(lines))

    def use_in_loops_of_its_own() -> None:
        for _ in range(2):
            asyncio.run(use())

    await use()
    await use()
    await asyncio.to_thread(use_in_loops_of_its_own)
    await use()


# Channels


async def test_what_a_socket_does_not_take_at_once_is_sent_later_and_in_order() -> None:
    near, far = open_pair()
    channel = Channel(near, LoopPoller())
    pieces = [random.Random(seed).randbytes(1_000_000) for seed in range(4)]
    sent = bytearray()
    for piece in pieces:
        channel.write(piece)
        # There is room again before the next.
        sent += far.recv(65536)
    async with asyncio.timeout(PATIENCE):
        while len(sent) < 4_000_000:
            sent += await asyncio.get_running_loop().sock_recv(far, 65536)
    assert sent == b"".join(pieces)
    # Else it would be called for ever: there is room for more.
    assert not asyncio.get_running_loop().remove_writer(near.fileno())
    channel.close()
    far.close()


async def test_a_channel_that_is_closed_sends_nothing_more() -> None:
    near, far = open_pair()
    channel, descriptor = Channel(near, LoopPoller()), near.fileno()
    channel.write(bytes(4_000_000))
    channel.close()
    assert not asyncio.get_running_loop().remove_writer(descriptor)
    sent = 0
    while piece := await asyncio.get_running_loop().sock_recv(far, 65536):
        sent += len(piece)
    assert 0 < sent < 4_000_000
    channel.close()
    far.close()


async def test_that_writing_failed_is_known_from_reading() -> None:
    near, far = open_pair()
    channel, received, failures = Channel(near, EpollPoller()), list[bytes](), list[OSError]()
    channel.listen(received.append, failures.append)
    far.close()
    channel.write(bytes(4_000_000))
    assert received == [] and failures == []
    await until(lambda: b"" in received or failures != [])
    channel.close()


async def test_a_channel_that_its_receiver_closes_hands_on_nothing_more(poller_and_lines: PollerAndLines) -> None:
    poller, lines = poller_and_lines
    near, far = open_pair()
    channel, received, failures = Channel(near, poller), list[bytes](), list[OSError]()

    def receive(data: bytes) -> None:
        received.append(data)
        channel.close()

    channel.listen(receive, failures.append)
    far.sendall(b"all")
    far.close()
    await until(lambda: received != [])
    await until(lambda: all_taken(lines))
    channel.read()
    assert received == [b"all"] and failures == []
