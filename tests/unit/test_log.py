"""The live log of a reply and its readers: nothing lost, nothing doubled, wherever both are cut.

Replies are written by the real turn and the real loop; only the model and its row are of paper.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, cast
from uuid import UUID, uuid4

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from agent.model import (
    BlockEnded,
    ModelEnded,
    ModelError,
    ModelEvent,
    ModelRequest,
    ReasoningPiece,
    TextPiece,
    ToolUse,
    Usage,
)
from agent.parts import Part, ReasoningPart, TextPart, ToolCallPart, parts_from_json, parts_to_json
from agent.tools import Tool, ToolFailed
from persistence import tables
from persistence.database import Database
from persistence.runs import ClaimedRun
from runs import follow, memory
from runs.follow import Cursor, InvalidCursor, News, ReplyFinished, SavedReply, _Reader, follow_reply
from runs.live import LiveSlice
from runs.log import (
    LogEvent,
    LogReader,
    ReasoningDelta,
    StreamRestarted,
    TextDelta,
    ToolCallFinished,
    ToolCallStarted,
    events_after,
    read_parts,
    utf16_length,
    write_log,
)
from runs.memory import MemoryLiveReplies
from runs.turn import Agent, LostRun, Turn

#: No deadline: other work on the machine is no failure.
quick = settings(deadline=None, max_examples=60)
#: Making a failure of several attempts smaller would take minutes.
unshrunk = settings(quick, phases=[Phase.explicit, Phase.reuse, Phase.generate])

pytestmark = pytest.mark.usefixtures("hurry")


@pytest.fixture(scope="module")
def hurry() -> Iterator[None]:
    """Readers take each piece at once, and live state goes with the end of its reply."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(follow, "PACE", 0.0)
        patch.setattr(memory, "LINGER", 0.0)
        yield


# What a model says


Ending = Literal["whole", "fails", "stopped", "lost", "handed over"]


@dataclass(frozen=True)
class Script:
    """What the model says in one attempt, step by step, and after how many pieces the attempt ends how."""

    steps: Sequence[Sequence[ModelEvent]]
    ending: Ending = "whole"
    after: int = 0


#: Characters of one and of two code units, joined and combining ones, halves of pairs, and what is refused.
PIECES = st.lists(
    st.sampled_from(
        ["a", " ", "\n", "é", "e\u0301", "\u0301", "日本", "👍🏽", "👩‍👩‍👧", "\ud83d", "\udc4d", "\x1e", "\x00"]
    ),
    max_size=4,
).map("".join)


@st.composite
def scripts(draw: st.DrawFn, endings: Sequence[Ending]) -> Script:
    """Up to three steps with tool calls, and a last one without."""
    steps = [[*draw_said(draw), *draw_calls(draw)] for _ in range(draw(st.integers(0, 3)))]
    return Script([*steps, draw_said(draw)], draw(st.sampled_from(endings)), draw(st.integers(1, 40)))


def draw_said(draw: st.DrawFn) -> list[ModelEvent]:
    said: list[ModelEvent] = []
    for kind in draw(st.lists(st.sampled_from(["text", "reasoning", "redacted"]), max_size=3)):
        if kind == "redacted":
            said.append(BlockEnded(redacted="c2VjcmV0"))
            continue
        pieces = draw(st.lists(PIECES, min_size=1, max_size=4))
        said += [TextPiece(piece) if kind == "text" else ReasoningPiece(piece) for piece in pieces]
        said.append(BlockEnded("" if kind == "text" else "c2ln"))
    return said


def draw_calls(draw: st.DrawFn) -> list[ModelEvent]:
    return [use_tool(wait) for wait in draw(st.lists(st.integers(0, 4), min_size=1, max_size=3))]


def use_tool(wait: int) -> ToolUse:
    """A call that ends after so many turns of the event loop."""
    return ToolUse(uuid4().hex, "wait", f'{{"turns": {wait}}}')


# Writing


@dataclass
class Puppet:
    """A model, and tools, that do what a script says."""

    script: Script
    act: Callable[[], None]
    repeatable: bool
    name: str = "puppet"
    _pieces: int = 0

    async def stream(self, request: ModelRequest, usage: Usage) -> AsyncIterator[ModelEvent]:
        done = sum(message["role"] == "assistant" for message in request.messages)
        for event in self.script.steps[min(done, len(self.script.steps) - 1)]:
            await self._tick()
            if self.script.ending == "fails" and self._pieces >= self.script.after:
                raise ModelError("MODEL_UNAVAILABLE", "It broke.", retryable=False)
            yield event
        yield ModelEnded("end_turn", self.name)

    async def call(self, parameters: Mapping[str, Any]) -> Any:
        for _ in range(parameters["turns"]):
            await self._tick()
        if parameters["turns"] == 2:
            raise ToolFailed("BAD_USER_INPUT", "Two is too many.")
        return {"waited": parameters["turns"]}

    def tools(self, owner_id: str) -> Sequence[Tool]:
        return [Tool("wait", "", {}, self.call, repeatable=self.repeatable)]

    async def _tick(self) -> None:
        self._pieces += 1
        if self._pieces == self.script.after:
            self.act()
        await asyncio.sleep(0)


class Paper:
    """A database of one row, as far as a turn reads it."""

    def __init__(self) -> None:
        self.row = tables.Message(
            conversation_id=uuid4(), owner_id="ann", jump_id=uuid4(), role="ASSISTANT", status="QUEUED", attempt=0
        )

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Any]:
        yield self

    async def execute(self, query: object, parameters: object) -> Any:
        return [(self.row, 1, self.row.depth)]

    async def load(self) -> SavedReply:
        row = self.row
        running = row.status in tables.RUNNING_STATUSES
        return SavedReply(running, row.attempt, list(row.restarts), parts_from_json(row.parts))


class PaperTurn(Turn):
    """A turn that saves on paper."""

    def __init__(self, paper: Paper, script: Script, live: MemoryLiveReplies, *, repeatable: bool = True) -> None:
        puppet = Puppet(script, self._act, repeatable)
        agent = Agent(puppet, None, puppet.tools, history_messages=1, max_steps=100)
        row = paper.row
        row.attempt += 1
        row.status = "STREAMING"
        run = ClaimedRun(row.id, row.conversation_id, row.owner_id, row.attempt, cancel_requested=False)
        super().__init__(run, cast(Database, paper), live, agent)
        self.script = script
        self.row = row

    def _act(self) -> None:
        match self.script.ending:
            case "stopped":
                self.stop()
            case "lost":
                self.lose()
            case "handed over":
                self.hand_over()

    async def _save_step(self) -> None:
        self.row.parts = parts_to_json(self._draft.parts)
        self.row.restarts = list(self._restarts)

    async def attempt(self) -> bool:
        """Write as `Turn.write` does; False where another attempt has to follow."""
        try:
            end = await self._think(await self._begin())
        except LostRun:
            end = None
        if end is None:
            self._live.drop(self.row.id, self.row.attempt)
            return False
        self.row.parts, self.row.status = end.parts, end.status
        self._live.end(self.row.id, self.row.attempt)
        return True


class Recording(MemoryLiveReplies):
    """Live state that remembers each of its moments."""

    def __init__(self) -> None:
        super().__init__()
        self.moments: list[LiveSlice] = []

    def notify(self, message_id: UUID) -> None:
        super().notify(message_id)
        if log := self._logs.get(message_id):
            self.moments.append(LiveSlice(log.attempt, log.restarts, bytes(log.data), log.ended))


@dataclass(frozen=True)
class Written:
    """A reply that was written, through all its attempts."""

    saved: SavedReply
    moments: Sequence[LiveSlice]

    @property
    def parts(self) -> Sequence[Part]:
        return self.saved.parts

    @property
    def log(self) -> bytes:
        return self.moments[-1].data

    @property
    def from_row(self) -> LiveSlice:
        """What is read once the live state is gone."""
        return LiveSlice(self.saved.attempt, self.saved.restarts, write_log(self.parts), ended=True)


async def write(*attempts: Script, repeatable: bool = True) -> Written:
    """Write a reply, with tools whose calls may be repeated by the next attempt or not."""
    paper, live = Paper(), Recording()
    for script in attempts:
        if await PaperTurn(paper, script, live, repeatable=repeatable).attempt():
            break
    return Written(await paper.load(), live.moments)


# Reading


@dataclass
class Screen:
    """A reply as a front end builds it from events; nothing may come twice."""

    parts: dict[int, Any] = field(default_factory=dict)

    def copy(self) -> "Screen":
        return Screen(dict(self.parts))

    def take(self, event: LogEvent | StreamRestarted | ReplyFinished) -> None:
        match event:
            case TextDelta(_, part, offset, text) | ReasoningDelta(_, part, offset, text):
                kind, before = self.parts.get(part, (type(event), ""))
                assert kind is type(event)
                assert utf16_length(before) == offset, "something was lost or doubled"
                self.parts[part] = kind, before + text
            case ToolCallStarted(_, part, call):
                assert part not in self.parts
                self.parts[part] = call
            case ToolCallFinished(_, part, call):
                assert self.parts[part].id == call.id
                self.parts[part] = call
            case StreamRestarted(_, part):
                self.parts = {known: shown for known, shown in self.parts.items() if known < part}


def shown(parts: Sequence[Part]) -> dict[int, Any]:
    """What a screen shows of a reply in the end."""
    whole: dict[int, Any] = {}
    for index, part in enumerate(parts):
        match part:
            case ToolCallPart():
                whole[index] = part
            case TextPart(text):
                whole[index] = TextDelta, text
            case ReasoningPart(text) if text:
                whole[index] = ReasoningDelta, text
    return whole


def read_log(log: bytes) -> tuple[list[LogEvent], int]:
    reader = LogReader()
    events = reader.read(log)
    return events, reader.position


def units(events: Sequence[LogEvent | StreamRestarted | ReplyFinished]) -> list[tuple[Any, ...]]:
    """Each code unit of text, and each record, with the position after it: the same however events are cut."""
    told: list[tuple[Any, ...]] = []
    for event in events:
        match event:
            case TextDelta(position, part, offset, text) | ReasoningDelta(position, part, offset, text):
                encoded = text.encode("utf-16-le")
                begin = position - len(encoded) // 2
                told += [
                    (begin + n + 1, type(event), part, offset + n, encoded[2 * n : 2 * n + 2])
                    for n in range(len(encoded) // 2)
                ]
            case _:
                told.append((event.position, event))
    return told


def inside_a_pair(log: bytes, position: int) -> bool:
    """Whether a position cuts a character."""
    return any(
        told[0] == position and len(told) == 5 and 0xD8 <= told[4][1] <= 0xDB for told in units(read_log(log)[0])
    )


ONE_ATTEMPT = scripts(["whole", "fails", "stopped"])
SEEDED = st.builds(random.Random, st.integers(0, 10_000))


# One attempt


@quick
@given(ONE_ATTEMPT)
async def test_a_saved_reply_tells_what_was_told_live_at_the_same_positions(script: Script) -> None:
    written = await write(script)
    assert read_log(write_log(written.parts)) == read_log(written.log)


@quick
@given(ONE_ATTEMPT)
async def test_the_parts_read_from_the_live_log_are_those_that_are_saved(script: Script) -> None:
    written = await write(script)
    parts, position = read_parts(written.log)
    assert position == read_log(written.log)[1]
    assert len(parts) == len(written.parts)
    assert shown(parts) == shown([_without_step(part) for part in written.parts])


def _without_step(part: Part) -> Part:
    return part if isinstance(part, ToolCallPart) else type(part)(part.text)


@quick
@given(ONE_ATTEMPT, SEEDED)
async def test_a_log_that_is_read_piece_by_piece_tells_the_same_as_at_once(
    script: Script, choose: random.Random
) -> None:
    written = await write(script)
    reader, told, read = LogReader(), list[LogEvent](), 0
    for moment in [*some(written.moments, choose), written.moments[-1]]:
        told += reader.read(moment.data[read:])
        read = len(moment.data)
    whole, position = read_log(written.log)
    assert units(told) == units(whole)
    assert reader.position == position


@quick
@given(ONE_ATTEMPT)
async def test_what_comes_after_a_position_is_exactly_the_rest(script: Script) -> None:
    log = (await write(script)).log
    events, end = read_log(log)
    for position in range(end + 2):
        if inside_a_pair(log, position):
            with pytest.raises(ValueError):
                events_after(events, position)
        else:
            rest = [told for told in units(events) if told[0] > position]
            assert units(events_after(events, position)) == rest


def test_a_position_counts_code_units_of_text_and_one_for_each_record() -> None:
    parts: list[Part] = [TextPart("a👍"), ToolCallPart("1", "read", {}, "SUCCEEDED", 1, 0)]
    events, end = read_log(write_log(parts))
    assert [event.position for event in events] == [4, 5, 6]
    assert end == 6


def some(moments: Sequence[LiveSlice], choose: random.Random) -> list[LiveSlice]:
    """The moments at which a reader happens to look."""
    return [moment for moment in moments if choose.random() < 0.4]


# Many attempts and many readers


#: Up to two attempts that go on elsewhere, and one that ends.
ATTEMPTS = st.tuples(
    st.lists(scripts(["lost", "handed over"]), max_size=2), scripts(["whole", "fails", "stopped"])
).map(lambda drawn: [*drawn[0], drawn[1]])
REPEATABLE = pytest.mark.parametrize("repeatable", [True, False], ids=["repeatable", "not repeatable"])


def take(reader: _Reader, moment: LiveSlice) -> News:
    """Let a reader look at a moment as live state shows it: from where it has got to."""
    start = reader.offset if moment.attempt == reader.attempt else 0
    return reader.take(LiveSlice(moment.attempt, moment.restarts, moment.data[start:], moment.ended))


def follow_along(written: Written, choose: random.Random, *, saved: bool) -> Screen:
    """One who looks now and then, leaves, and comes back with any cursor it had; reads the end live or saved."""
    reader, screen = _Reader(Cursor()), Screen()
    known = [(Cursor(), screen)]
    for moment in some(written.moments, choose):
        news = take(reader, moment)
        for event in news.events:
            screen = screen.copy()
            screen.take(event)
            known.append((Cursor(news.attempt, event.position), screen))
        if choose.random() < 0.3:
            cursor, screen = choose.choice(known)
            reader = _Reader(cursor)
    if saved:
        reader.rewind()
    news = reader.take(written.from_row) if saved else take(reader, written.moments[-1])
    screen = screen.copy()
    for event in news.events:
        screen.take(event)
    return screen


@pytest.mark.parametrize("saved", [False, True], ids=["live", "saved"])
@REPEATABLE
@unshrunk
@given(ATTEMPTS, st.lists(SEEDED, min_size=1, max_size=5))
async def test_every_reader_ends_with_the_reply_as_the_last_attempt_wrote_it(
    repeatable: bool, saved: bool, scripts: list[Script], readers: list[random.Random]
) -> None:
    written = await write(*scripts, repeatable=repeatable)
    for choose in readers:
        assert follow_along(written, choose, saved=saved).parts == shown(written.parts)


@unshrunk
@given(ATTEMPTS, SEEDED)
async def test_the_end_is_told_once_and_last(scripts: list[Script], choose: random.Random) -> None:
    written = await write(*scripts)
    reader = _Reader(Cursor())
    told = [event for moment in some(written.moments[:-1], choose) for event in take(reader, moment).events]
    assert not any(isinstance(event, ReplyFinished) for event in told)
    *_, last = take(reader, written.moments[-1]).events
    assert last == ReplyFinished(read_log(written.log)[1] + 1)
    again = _Reader(Cursor(written.saved.attempt, last.position))
    assert take(again, written.from_row).events == []


@REPEATABLE
@unshrunk
@given(ATTEMPTS)
async def test_a_reply_of_many_attempts_is_told_live_as_it_is_saved(repeatable: bool, scripts: list[Script]) -> None:
    written = await write(*scripts, repeatable=repeatable)
    assert read_log(write_log(written.parts)) == read_log(written.log)


async def test_text_after_a_call_that_a_crash_interrupted_has_one_place_live_and_saved() -> None:
    crash = Script([[TextPiece("I wait."), BlockEnded(), use_tool(3)]], "lost", after=5)
    next_attempt = Script([[], [TextPiece("It broke off."), BlockEnded()]])
    written = await write(crash, next_attempt, repeatable=False)
    assert shown(written.parts)[1].status == "INTERRUPTED"
    [*_, said] = read_log(written.log)[0]
    rest = take(_Reader(Cursor(2, said.position - len(" broke off."))), written.from_row).events
    assert [event.text for event in rest if isinstance(event, TextDelta)] == [" broke off."]
    assert [type(event) for event in rest] == [TextDelta, ReplyFinished]


async def test_a_reader_is_told_what_of_a_dead_attempt_is_void() -> None:
    dead = Script([[TextPiece("One."), BlockEnded(), use_tool(0)], [TextPiece("Two.")] * 9], "lost", after=6)
    written = await write(dead, Script([[], [TextPiece("Three."), BlockEnded()]]))
    reader, screen = _Reader(Cursor()), Screen()
    told = [event for moment in written.moments for event in take(reader, moment).events]
    for event in told:
        screen.take(event)
    assert [event.part for event in told if isinstance(event, StreamRestarted)] == [2]
    assert (screen.parts[0], screen.parts[2]) == ((TextDelta, "One."), (TextDelta, "Three."))
    assert any(isinstance(event, TextDelta) and event.text == "Two." for event in told)


async def test_a_reader_who_slept_through_an_attempt_goes_back_as_far_as_any_attempt_did() -> None:
    first = Script([[TextPiece("One."), BlockEnded(), use_tool(0)], [TextPiece("Two.")] * 9], "lost", after=6)
    second = Script([[], [TextPiece("Deux."), BlockEnded(), use_tool(0)], [TextPiece("Trois.")] * 9], "lost", after=6)
    written = await write(first, second, Script([[], [], [TextPiece("Drei."), BlockEnded()]]))
    reader, screen = _Reader(Cursor()), Screen()
    awake = [[moment for moment in written.moments if moment.attempt == attempt][-1] for attempt in (1, 3)]
    for moment in awake:
        for event in take(reader, moment).events:
            screen.take(event)
    assert screen.parts == shown(written.parts)
    assert [text for kind, text in (screen.parts[part] for part in (0, 2, 4))] == ["One.", "Deux.", "Drei."]


# Cursors of no place


@quick
@given(ONE_ATTEMPT, st.integers(2, 1000))
async def test_a_cursor_beyond_the_end_is_invalid(script: Script, beyond: int) -> None:
    written = await write(script)
    end = read_log(written.log)[1]
    for moment in (written.moments[-1], written.from_row):
        with pytest.raises(InvalidCursor):
            take(_Reader(Cursor(1, end + beyond)), moment)


@quick
@given(ONE_ATTEMPT)
async def test_a_cursor_of_the_end_is_invalid_before_the_end(script: Script) -> None:
    written = await write(script)
    running = [moment for moment in written.moments if not moment.ended][-1]
    with pytest.raises(InvalidCursor):
        take(_Reader(Cursor(1, read_log(written.log)[1] + 1)), running)


@unshrunk
@given(ATTEMPTS, st.integers(1, 5), st.integers(0, 50))
async def test_a_cursor_of_a_newer_attempt_is_invalid(scripts: list[Script], newer: int, position: int) -> None:
    written = await write(*scripts)
    for moment in (written.moments[-1], written.from_row):
        with pytest.raises(InvalidCursor):
            take(_Reader(Cursor(written.saved.attempt + newer, position)), moment)


@quick
@given(ONE_ATTEMPT)
async def test_a_cursor_inside_a_character_is_invalid(script: Script) -> None:
    written = await write(script)
    for position in range(read_log(written.log)[1]):
        if inside_a_pair(written.log, position):
            for moment in (written.moments[-1], written.from_row):
                with pytest.raises(InvalidCursor):
                    take(_Reader(Cursor(1, position)), moment)


async def test_a_cursor_from_before_the_first_attempt_has_only_one_place() -> None:
    written = await write(Script([[TextPiece("Hello.")]]))
    with pytest.raises(InvalidCursor):
        take(_Reader(Cursor(0, 100)), written.moments[-1])


# Following


@settings(unshrunk, max_examples=30)
@given(ATTEMPTS, st.lists(st.integers(0, 40), min_size=1, max_size=4))
async def test_readers_who_follow_a_reply_from_any_moment_end_with_all_of_it(
    scripts: list[Script], delays: list[int]
) -> None:
    paper, live = Paper(), MemoryLiveReplies()

    async def write_all() -> None:
        for script in scripts:
            if await PaperTurn(paper, script, live).attempt():
                return

    async def follow_after(rounds: int) -> Screen:
        for _ in range(rounds):
            await asyncio.sleep(0)
        screen = Screen()
        finished = False
        async for news in follow_reply(live, paper.row.id, Cursor(), paper.load):
            for event in news.events:
                assert not finished
                screen.take(event)
                finished = isinstance(event, ReplyFinished)
        assert finished
        return screen

    async with asyncio.timeout(10):
        _, *screens = await asyncio.gather(write_all(), *map(follow_after, delays))
    for screen in screens:
        assert isinstance(screen, Screen)
        assert screen.parts == shown((await paper.load()).parts)
