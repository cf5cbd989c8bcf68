"""Text goes to its readers directly, and not a character of it is lost or comes twice on the way."""

import asyncio
import itertools
import random
from collections.abc import Callable
from contextlib import aclosing
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.parts import ToolCallPart
from runs.feed import CROWD_WAIT, LONGEST_WAIT, Feed, Pace, TextPiece
from runs.follow import Cursor, ReplyFinished, SavedReply, follow_reply
from runs.log import MARK, LogReader, TextDelta, begin_reasoning, begin_text, read_parts, start_call
from runs.memory import MemoryLiveReplies


class Reader:
    """Follows a reply; now and then it cannot be sent anything."""

    def __init__(self, live: MemoryLiveReplies, message_id: UUID, log: bytearray, busy: float, seed: int) -> None:
        self._live = live
        self._id = message_id
        self._log = log
        self._busy = busy
        self._random = random.Random(seed)
        self.events: list[tuple[int, str, str]] = []
        self.direct = 0

    def deliver(self, piece: TextPiece, cursor: Cursor, shared: dict[Any, Any]) -> bool:
        if self._random.random() < self._busy:
            return False
        assert cursor == Cursor(1, piece.position)
        self.direct += 1
        self._note(piece)
        return True

    def _note(self, event: Any) -> None:
        self.events.append((event.position, type(event).__name__, getattr(event, "text", "")))

    async def load(self) -> SavedReply:
        parts, _ = read_parts(bytes(self._log))
        log = self._live.find_log(self._id)
        return SavedReply(log is not None and not log.ended, 1, (), parts)

    async def read(self) -> None:
        async with aclosing(follow_reply(self._live, self._id, Cursor(), self.load, self.deliver)) as stream:
            async for news in stream:
                for event in news.events:
                    self._note(event)
                    if isinstance(event, ReplyFinished):
                        return
                if self._random.random() < 0.3:
                    await asyncio.sleep(0)


PIECES = st.lists(
    st.sampled_from([b"word ", "né ".encode(), "👍🏽".encode(), begin_text(), begin_reasoning()])
    | st.builds(lambda: start_call(ToolCallPart("1", "tasks", {}))),
    min_size=1,
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(pieces=PIECES, busy=st.floats(0, 0.6), seed=st.integers(0, 2**32), readers=st.integers(1, 4))
async def test_whatever_is_written_reaches_every_reader_once_and_in_order(
    pieces: list[bytes], busy: float, seed: int, readers: int
) -> None:
    live, message_id, whole = MemoryLiveReplies(), uuid4(), bytearray(begin_text())
    choose = random.Random(seed)
    live.begin(message_id, 1, (), bytes(whole))
    following = [Reader(live, message_id, whole, busy, seed + number) for number in range(readers)]
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for reader in following:
            group.create_task(reader.read())
        within_text = True
        for piece in pieces:
            is_record = piece.startswith(MARK)
            if not (is_record or within_text):
                # A writer begins a part before it writes text.
                piece = begin_text() + piece
            within_text = not is_record or not piece.startswith(MARK + b'["call"')
            whole += piece
            live.append(message_id, 1, piece)
            if choose.random() < 0.5:
                await asyncio.sleep(0)
        live.end(message_id, 1)
    expected = LogReader().read(bytes(whole))
    for reader in following:
        positions = [position for position, _, _ in reader.events]
        assert positions == sorted(set(positions)), "in order, and none twice"
        assert "".join(text for _, _, text in reader.events) == "".join(getattr(e, "text", "") for e in expected)
        calls = [kind for _, kind, _ in reader.events if kind == "ToolCallStarted"]
        assert len(calls) == sum(type(event).__name__ == "ToolCallStarted" for event in expected)


async def test_text_is_delivered_within_the_call_that_writes_it() -> None:
    live, message_id, log = MemoryLiveReplies(), uuid4(), bytearray(begin_text())
    live.begin(message_id, 1, (), bytes(log))
    reader = Reader(live, message_id, log, busy=0, seed=1)
    reading = asyncio.create_task(reader.read())
    # It has all it needs: not one of its steps waits for anything.
    for _ in range(20):
        await asyncio.sleep(0)
    live.append(message_id, 1, b"at once")
    assert reader.events == [(8, "TextDelta", "at once")]
    assert reader.direct == 1
    live.end(message_id, 1)
    await reading


@pytest.mark.parametrize("running", [True, False])
async def test_a_reader_that_comes_later_is_delivered_what_it_has_missed(running: bool) -> None:
    live, message_id, log = MemoryLiveReplies(), uuid4(), bytearray(begin_text() + b"so far")
    if running:
        live.begin(message_id, 1, (), bytes(log))
    reader = Reader(live, message_id, log, busy=0, seed=1)
    reading = asyncio.create_task(reader.read())
    for _ in range(20):
        await asyncio.sleep(0)
    assert (reader.events[0], reader.direct) == ((7, "TextDelta", "so far"), 1)
    if running:
        live.append(message_id, 1, b", and on")
        assert (reader.events[1], reader.direct) == ((15, "TextDelta", ", and on"), 2)
        log += b", and on"
        live.end(message_id, 1)
    await reading
    assert reader.direct == len(reader.events) - 1


async def test_a_reader_that_fails_harms_neither_the_writer_nor_the_others(caplog: pytest.LogCaptureFixture) -> None:
    log = bytearray(begin_text())
    feed = Feed(log, Pace())
    taken: list[str] = []

    class Listener:
        def __init__(self, fails: bool) -> None:
            self.fails = fails
            self.dismissed = False

        def take(self, piece: TextPiece, shared: dict[Any, Any]) -> bool:
            if self.fails:
                raise RuntimeError
            taken.append(piece.text)
            return True

        def dismiss(self) -> None:
            self.dismissed = True

    bad, good = Listener(True), Listener(False)
    assert feed.join(len(log), bad)
    assert feed.join(len(log), good)
    log += b"one "
    feed.flush()
    log += b"two "
    feed.flush()
    assert taken == ["one ", "two "]
    assert (bad.dismissed, good.dismissed) == (True, False)
    assert len(caplog.records) == 1


async def test_who_has_not_read_all_cannot_listen() -> None:
    log = bytearray(begin_text() + b"some")
    feed = Feed(log, Pace())
    assert not feed.join(len(log) - 1, Reader(MemoryLiveReplies(), uuid4(), log, 0, 1))  # type: ignore[arg-type]


class Clock:
    """A loop whose time passes only when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, call: Callable[[], None]) -> None:
        self._timers.append((self.now + delay, call))

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [timer for timer in self._timers if timer[0] <= end]:
            first = min(due, key=lambda timer: timer[0])
            self._timers.remove(first)
            self.now = first[0]
            first[1]()
        self.now = end


def test_under_load_pieces_wait_for_each_other_and_none_waits_for_long() -> None:
    clock, pace = Clock(), Pace()
    pace._loop = clock  # type: ignore[assignment]
    began = clock.time()
    pieces: list[tuple[float, TextPiece]] = []

    class Listener:
        def take(self, piece: TextPiece, shared: dict[Any, Any]) -> bool:
            pieces.append((clock.time(), piece))
            return True

        def dismiss(self) -> None:
            pass

    log = bytearray(begin_text())
    feed = Feed(log, pace)
    assert feed.join(len(log), Listener())
    # As if there were many readers.
    written = 0
    while clock.time() < began + 0.6:
        log += b"x"
        written += 1
        pace.hand_out(feed, 500)
        clock.pass_time(0.005)
    clock.pass_time(LONGEST_WAIT + 0.005)
    assert sum(len(piece.text) for _, piece in pieces if isinstance(piece, TextDelta)) == written
    late = [time for time, _ in pieces if time - began > 0.25]
    gaps = [after - before for before, after in itertools.pairwise(late)]
    assert len(late) < 25
    assert min(gaps) > LONGEST_WAIT / 2


@pytest.mark.parametrize(("readers", "pieces_each"), [(1, 100), (2, 100), (101, 41), (1001, 21)])
async def test_the_more_readers_the_longer_a_piece_waits_for_the_next(readers: int, pieces_each: int) -> None:
    pace, clock, taken = Pace(), Clock(), []
    pace._loop = clock  # type: ignore[assignment]

    class Listener:
        def take(self, piece: TextPiece, shared: dict[Any, Any]) -> bool:
            taken.append(piece.text)
            return True

        def dismiss(self) -> None:
            pass

    log = bytearray(begin_text())
    feed = Feed(log, pace)
    assert all(feed.join(len(log), Listener()) for _ in range(readers))
    for _ in range(100):
        log += b"word "
        feed.grow()
        clock.pass_time(0.02)
    clock.pass_time(CROWD_WAIT)
    assert sum(map(len, taken)) == len("word ") * 100 * readers
    assert len(taken) <= pieces_each * readers
    assert len(taken) >= 0.6 * pieces_each * readers
