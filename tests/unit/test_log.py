"""The live log of a reply and its readers: nothing lost, nothing doubled, wherever both are cut.

Replies are written by the real turn and the real loop; only the model and the row are made of paper.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, repeat
from typing import Any, Literal, TypeVar, cast
from uuid import UUID, uuid4

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from orjson import loads

from agent.model import (
    BlockEnded,
    ModelEnded,
    ModelError,
    ModelEvent,
    ModelRequest,
    Piece,
    ReasoningPiece,
    TellPiece,
    TextPiece,
    ToolUse,
    Usage,
)
from agent.parts import Part, ReasoningPart, TextPart, ToolCallPart, parts_from_json, parts_to_json
from agent.tools import Tool, ToolFailed
from persistence import runs, tables
from persistence.database import Database
from persistence.runs import ClaimedRun
from persistence.statements import compile_statement
from resolvers.approvals import _deny
from runs import follow, memory
from runs.follow import Cursor, InvalidCursor, News, ReplyFinished, SavedReply, _Reader, follow_reply
from runs.live import LiveSlice
from runs.log import (
    LogEvent,
    LogReader,
    ReasoningDelta,
    StreamRestarted,
    TextDelta,
    ToolCallAwaitingApproval,
    ToolCallFinished,
    ToolCallStarted,
    begin_text,
    cut_log,
    events_after,
    read_parts,
    start_call,
    utf16_length,
    write_log,
)
from runs.memory import MemoryLiveReplies
from runs.turn import Agent, Turn
from tests.workers import MODELS

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
Said = ModelEvent | Piece
#: The first may run at once; for the second the user is asked.
ToolName = Literal["wait", "ask"]


@dataclass(frozen=True)
class Script:
    """What the model says in one attempt, step by step, and after how many pieces the attempt ends how."""

    steps: Sequence[Sequence[Said]]
    ending: Ending = "whole"
    after: int = 0
    #: What the user says where a call asks for it.
    approve: bool = True


END = Script([[TextPiece("The end."), BlockEnded()]])

#: Characters of one and of two code units, joined and combining ones, halves of pairs, and what is refused.
PIECES = st.lists(
    st.sampled_from(
        ["a", " ", "\n", "é", "e\u0301", "\u0301", "日本", "👍🏽", "👩‍👩‍👧", "\ud83d", "\udc4d", "\x1e", "\x00"]
    ),
    max_size=4,
).map("".join)


@st.composite
def scripts(draw: st.DrawFn, endings: Sequence[Ending], tools: Sequence[ToolName]) -> Script:
    """Up to three steps with tool calls, and a last one without."""
    steps = [[*draw_said(draw), *draw_calls(draw, tools)] for _ in range(draw(st.integers(0, 3)))]
    ending, after = draw(st.sampled_from(endings)), draw(st.integers(1, 20))
    return Script([*steps, draw_said(draw)], ending, after, draw(st.booleans()))


def draw_said(draw: st.DrawFn) -> list[Said]:
    said: list[Said] = []
    for kind in draw(st.lists(st.sampled_from(["text", "reasoning", "redacted"]), max_size=3)):
        if kind == "redacted":
            said.append(BlockEnded(redacted="c2VjcmV0"))
            continue
        pieces = draw(st.lists(PIECES, min_size=1, max_size=4))
        said += [TextPiece(piece) if kind == "text" else ReasoningPiece(piece) for piece in pieces]
        said.append(BlockEnded("" if kind == "text" else "c2ln"))
    return said


def draw_calls(draw: st.DrawFn, tools: Sequence[ToolName]) -> list[Said]:
    waits = draw(st.lists(st.integers(0, 4), min_size=1, max_size=3))
    return [use_tool(wait, draw(st.sampled_from(tools))) for wait in waits]


def use_tool(wait: int, tool: ToolName = "wait") -> ToolUse:
    """A call that ends after so many turns of the event loop."""
    return ToolUse(uuid4().hex, tool, f'{{"turns": {wait}}}')


# Writing


@dataclass
class Puppet:
    """A model, and tools, that do what a script says."""

    script: Script
    act: Callable[[], None]
    repeatable: bool
    _pieces: int = 0

    async def stream(self, request: ModelRequest, usage: Usage, tell: TellPiece) -> AsyncIterator[ModelEvent]:
        done = sum(message["role"] == "assistant" for message in request.messages)
        for event in self.script.steps[min(done, len(self.script.steps) - 1)]:
            await self._tick()
            if self.script.ending == "fails" and self._pieces >= self.script.after:
                raise ModelError("MODEL_UNAVAILABLE", "It broke.", retryable=False)
            if isinstance(event, TextPiece | ReasoningPiece):
                tell(event)
            else:
                yield event
        yield ModelEnded("end_turn")

    async def call(self, parameters: Mapping[str, Any]) -> Any:
        for _ in range(parameters["turns"]):
            await self._tick()
        if parameters["turns"] == 2:
            raise ToolFailed("BAD_USER_INPUT", "Two is too many.")
        return {"waited": parameters["turns"]}

    def tools(self, owner_id: str) -> Sequence[Tool]:
        return [
            Tool(name, "", {}, self.call, repeatable=self.repeatable, needs_approval=name == "ask")
            for name in ("wait", "ask")
        ]

    async def _tick(self) -> None:
        self._pieces += 1
        if self._pieces == self.script.after:
            self.act()
        await asyncio.sleep(0)


class Paper:
    """A database of one row, as far as a turn knows it."""

    def __init__(self) -> None:
        self.row = tables.Message(
            conversation_id=uuid4(), owner_id="ann", jump_id=uuid4(), role="ASSISTANT", status="QUEUED", attempt=0
        )

    @asynccontextmanager
    async def driver(self) -> AsyncIterator[Any]:
        yield self

    async def fetch(self, sql: str, *values: Any) -> Sequence[Any]:
        """As the driver does."""
        for statement in (runs.PARK_RUN, runs.SAVE_STEP, runs.FINISH_REPLY, runs.RELEASE_RUN):
            compiled = compile_statement(statement)
            if compiled.sql == sql:
                pairs = zip(compiled.parameters, values, strict=True)
                return self._write(statement, {name: loads(v) if is_json else v for (name, is_json), v in pairs})
        row = self.row
        return [(*(getattr(row, name) for name in tables.Message.model_fields), 1, row.depth)]

    def _write(self, statement: object, parameters: Mapping[str, Any]) -> Sequence[Any]:
        if statement is runs.RELEASE_RUN:
            return ()
        self.row.parts = parameters["parts"]
        self.row.restarts = parameters.get("restarts", self.row.restarts)
        parked = "AWAITING_APPROVAL" if statement is runs.PARK_RUN else self.row.status
        self.row.status = parameters.get("status", parked)
        # Neither does the conversation want a title, nor has it a later message.
        return [(False, False, *(getattr(self.row, name) for name in tables.Message.model_fields if name != "parts"))]

    def claim(self) -> ClaimedRun:
        row = self.row
        row.attempt, row.status = row.attempt + 1, "STREAMING"
        return ClaimedRun(row.id, row.conversation_id, row.owner_id, row.attempt, failures=0, cancel_requested=False)

    def answer(self, approve: bool) -> None:
        """Say the user's word on each call that waits for it."""
        parts = parts_from_json(self.row.parts)
        for index, call in enumerate(parts):
            if isinstance(call, ToolCallPart) and call.status == "AWAITING_APPROVAL":
                parts[index] = replace(call, status="RUNNING") if approve else _deny(parts, call, None)
        self.row.parts, self.row.status = parts_to_json(parts), "QUEUED"

    def read(self) -> SavedReply:
        row = self.row
        running = row.status in tables.RUNNING_STATUSES
        return SavedReply(running, row.attempt, list(row.restarts), parts_from_json(row.parts))

    async def load(self) -> SavedReply:
        return self.read()


class PaperTurn(Turn):
    """A turn that does what a script says."""

    def __init__(self, paper: Paper, live: MemoryLiveReplies, script: Script, *, repeatable: bool) -> None:
        self._script = script
        puppet = Puppet(script, self._act, repeatable)
        agent = Agent(puppet, MODELS, None, puppet.tools, history_messages=1, max_steps=100, max_attempts=100)
        super().__init__(paper.claim(), cast(Database, paper), live, agent)

    def _act(self) -> None:
        match self._script.ending:
            case "stopped":
                self.stop()
            case "lost":
                self.lose()
            case "handed over":
                self.hand_over()


class Recording(MemoryLiveReplies):
    """Live state that remembers each of its moments: what a reader saw who looked then, live or saved."""

    def __init__(self, paper: Paper) -> None:
        super().__init__()
        self.paper = paper
        self.moments: list[LiveSlice | SavedReply] = []

    def _wake(self, id: UUID) -> None:
        super()._wake(id)
        if id == self.paper.row.id:
            log = self.find_log(id)
            self.moments.append(
                LiveSlice(log.attempt, log.restarts, bytes(log.data), log.ended) if log else self.paper.read()
            )


async def write_on(paper: Paper, live: MemoryLiveReplies, attempts: Sequence[Script], *, repeatable: bool) -> None:
    """Write a reply to its end, with tools whose calls may be repeated by the next attempt or not."""
    for script in chain(attempts, repeat(END)):
        await PaperTurn(paper, live, script, repeatable=repeatable).write()
        if paper.row.status not in tables.RUNNING_STATUSES:
            return
        if paper.row.status == "AWAITING_APPROVAL":
            paper.answer(script.approve)
            live.notify(paper.row.id)
        else:
            assert script.ending in ("lost", "handed over"), "the turn broke off"


Moment = TypeVar("Moment", bound=LiveSlice | SavedReply)


@dataclass(frozen=True)
class Written:
    """A reply that was written, through all its attempts."""

    saved: SavedReply
    moments: Sequence[LiveSlice | SavedReply]

    @property
    def parts(self) -> Sequence[Part]:
        return self.saved.parts

    @property
    def attempt(self) -> int:
        return self.saved.attempt

    @property
    def live(self) -> Sequence[LiveSlice]:
        """The moments of the last attempt; in the last one the reply has ended."""
        return [moment for moment in self.moments if isinstance(moment, LiveSlice) and moment.attempt == self.attempt]

    @property
    def log(self) -> bytes:
        return self.live[-1].data

    @property
    def ends(self) -> Sequence[LiveSlice | SavedReply]:
        """The end as it is read live, and as it is read from the row."""
        return self.live[-1], self.saved


async def write(*attempts: Script, repeatable: bool = True) -> Written:
    """Write a reply and keep what could be read meanwhile."""
    paper = Paper()
    live = Recording(paper)
    await write_on(paper, live, attempts, repeatable=repeatable)
    return Written(paper.read(), live.moments)


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
            case ToolCallAwaitingApproval(_, part, call) | ToolCallFinished(_, part, call):
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


def visible(log: bytes) -> tuple[list[LogEvent], int]:
    """What a log tells, without what no client sees of a call."""
    events, end = read_log(log)
    calls = (ToolCallStarted, ToolCallAwaitingApproval, ToolCallFinished)
    return [
        replace(event, call=replace(event.call, parked=False, begun=False)) if isinstance(event, calls) else event
        for event in events
    ], end


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


ONE_ATTEMPT = scripts(["whole", "fails", "stopped"], ["wait"])
SEEDED = st.builds(random.Random, st.integers(0, 10_000))


# One attempt


@quick
@given(ONE_ATTEMPT)
async def test_a_saved_reply_tells_what_was_told_live_at_the_same_positions(script: Script) -> None:
    written = await write(script)
    assert visible(write_log(written.parts)) == visible(written.log)


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
    for moment in [*some(written.live, choose), written.live[-1]]:
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


async def test_a_call_that_asks_is_told_after_the_others_of_its_step_and_ends_after_the_answer() -> None:
    asks = Script([[use_tool(0, "ask"), use_tool(3)], [TextPiece("Done."), BlockEnded()]])
    for approve, status in ((True, "SUCCEEDED"), (False, "DENIED")):
        written = await write(replace(asks, approve=approve), asks)
        events, _ = read_log(write_log(written.parts))
        assert [type(event) for event in events[2:5]] == [ToolCallFinished, ToolCallAwaitingApproval, ToolCallFinished]
        assert [event.part for event in events[2:5]] == [1, 0, 0]
        assert shown(written.parts)[0].status == status


def test_a_position_counts_code_units_of_text_and_one_for_each_record() -> None:
    parts: list[Part] = [TextPart("a👍"), ToolCallPart("1", "read", {}, "SUCCEEDED", 1, 0)]
    events, end = read_log(write_log(parts))
    assert [event.position for event in events] == [4, 5, 6]
    assert end == 6


def some(moments: Sequence[Moment], choose: random.Random) -> list[Moment]:
    """The moments at which a reader happens to look."""
    return [moment for moment in moments if choose.random() < 0.4]


# Many attempts and many readers


#: Attempts that go on elsewhere, wait for the user, or end.
ATTEMPTS = st.lists(scripts(["whole", "fails", "stopped", "lost", "handed over"], ["wait", "ask"]), max_size=4)
REPEATABLE = pytest.mark.parametrize("repeatable", [True, False], ids=["repeatable", "not repeatable"])


def take(reader: _Reader, moment: LiveSlice | SavedReply) -> News:
    """Let a reader look at a moment: at what is live from where it has got to, else at the row."""
    if isinstance(moment, SavedReply):
        return reader.take_saved(moment)
    start = reader.offset if moment.attempt == reader.attempt else 0
    return reader.take(LiveSlice(moment.attempt, moment.restarts, moment.data[start:], moment.ended))


def follow_along(written: Written, end: LiveSlice | SavedReply, choose: random.Random) -> Screen:
    """One who looks now and then, leaves, comes back with any cursor it had, and reads to the end."""
    reader, screen = _Reader(Cursor()), Screen()
    known = [(Cursor(), screen)]
    for moment in [*some(written.moments, choose), end]:
        news = take(reader, moment)
        for event in news.events:
            screen = screen.copy()
            screen.take(event)
            known.append((Cursor(news.attempt, event.position), screen))
        if choose.random() < 0.3 and moment is not end:
            cursor, screen = choose.choice(known)
            reader = _Reader(cursor)
    return screen


@REPEATABLE
@unshrunk
@given(ATTEMPTS, st.lists(SEEDED, min_size=1, max_size=5))
async def test_every_reader_ends_with_the_reply_as_the_last_attempt_wrote_it(
    repeatable: bool, scripts: list[Script], readers: list[random.Random]
) -> None:
    written = await write(*scripts, repeatable=repeatable)
    for choose in readers:
        for end in written.ends:
            assert follow_along(written, end, choose).parts == shown(written.parts)


@unshrunk
@given(ATTEMPTS, SEEDED)
async def test_the_end_is_told_once_and_last(scripts: list[Script], choose: random.Random) -> None:
    written = await write(*scripts)
    reader = _Reader(Cursor())
    told = [event for moment in some(written.moments[:-1], choose) for event in take(reader, moment).events]
    assert not any(isinstance(event, ReplyFinished) for event in told)
    *_, last = take(reader, written.live[-1]).events
    assert last == ReplyFinished(read_log(written.log)[1] + 1)
    for end in written.ends:
        assert take(_Reader(Cursor(written.attempt, last.position)), end).events == []


@REPEATABLE
@unshrunk
@given(ATTEMPTS)
async def test_a_reply_of_many_attempts_is_told_live_as_it_is_saved(repeatable: bool, scripts: list[Script]) -> None:
    written = await write(*scripts, repeatable=repeatable)
    assert visible(write_log(written.parts)) == visible(written.log)


async def test_text_after_a_call_that_a_crash_interrupted_has_one_place_live_and_saved() -> None:
    crash = Script([[TextPiece("I wait."), BlockEnded(), use_tool(3)]], "lost", after=5)
    next_attempt = Script([[], [TextPiece("It broke off."), BlockEnded()]])
    written = await write(crash, next_attempt, repeatable=False)
    assert shown(written.parts)[1].status == "INTERRUPTED"
    [*_, said] = read_log(written.log)[0]
    rest = take(_Reader(Cursor(2, said.position - len(" broke off."))), written.saved).events
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
    awake = [moment for moment in written.moments if isinstance(moment, LiveSlice) and moment.attempt == 1][-1]
    for moment in (awake, written.live[-1]):
        for event in take(reader, moment).events:
            screen.take(event)
    assert screen.parts == shown(written.parts)
    assert [text for kind, text in (screen.parts[part] for part in (0, 2, 4))] == ["One.", "Deux.", "Drei."]


async def test_a_reader_who_had_to_read_the_row_goes_on_with_the_live_state_where_it_was() -> None:
    written = await write(Script([[TextPiece("One."), BlockEnded(), use_tool(3)], [TextPiece("Two."), BlockEnded()]]))
    text, call, _ = written.parts
    assert isinstance(call, ToolCallPart)
    row = SavedReply(True, 1, [], [text, replace(call, status="RUNNING", result=None, order=None)])
    # Places do not depend on how JSON is written.
    live = replace(written.live[-1], data=written.log.replace(b'["text"]', b'[ "text" ]'))
    reader, screen = _Reader(Cursor()), Screen()
    for moment in (row, live):
        for event in take(reader, moment).events:
            screen.take(event)
    assert screen.parts == shown(written.parts)


# Cursors of no place


@quick
@given(ONE_ATTEMPT, st.integers(2, 1000))
async def test_a_cursor_beyond_the_end_is_invalid(script: Script, beyond: int) -> None:
    written = await write(script)
    for end in written.ends:
        with pytest.raises(InvalidCursor):
            take(_Reader(Cursor(1, read_log(written.log)[1] + beyond)), end)


@quick
@given(ONE_ATTEMPT)
async def test_a_cursor_of_the_end_is_invalid_before_the_end(script: Script) -> None:
    written = await write(script)
    running = [moment for moment in written.live if not moment.ended][-1]
    with pytest.raises(InvalidCursor):
        take(_Reader(Cursor(1, read_log(written.log)[1] + 1)), running)


@unshrunk
@given(ATTEMPTS, st.integers(1, 5), st.integers(0, 50))
async def test_a_cursor_of_a_newer_attempt_is_invalid(scripts: list[Script], newer: int, position: int) -> None:
    written = await write(*scripts)
    for end in written.ends:
        with pytest.raises(InvalidCursor):
            take(_Reader(Cursor(written.attempt + newer, position)), end)


@quick
@given(ONE_ATTEMPT)
async def test_a_cursor_inside_a_character_is_invalid(script: Script) -> None:
    written = await write(script)
    for position in filter(partial(inside_a_pair, written.log), range(read_log(written.log)[1])):
        for end in written.ends:
            with pytest.raises(InvalidCursor):
                take(_Reader(Cursor(1, position)), end)


async def test_a_cursor_from_before_the_first_attempt_has_only_one_place() -> None:
    written = await write(END)
    for end in written.ends:
        with pytest.raises(InvalidCursor):
            take(_Reader(Cursor(0, 100)), end)


# Following


@settings(unshrunk, max_examples=30)
@given(ATTEMPTS, st.lists(st.integers(0, 40), min_size=1, max_size=4))
async def test_readers_who_follow_a_reply_from_any_moment_end_with_all_of_it(
    scripts: list[Script], delays: list[int]
) -> None:
    paper, live = Paper(), MemoryLiveReplies()
    id = paper.row.id

    async def follow_after(rounds: int) -> Screen:
        for _ in range(rounds):
            await asyncio.sleep(0)
        screen = Screen()
        finished = False
        async for news in follow_reply(live, id, Cursor(), paper.load):
            for event in news.events:
                assert not finished
                screen.take(event)
                finished = isinstance(event, ReplyFinished)
        assert finished
        return screen

    async with asyncio.timeout(60):
        _, *screens = await asyncio.gather(write_on(paper, live, scripts, repeatable=True), *map(follow_after, delays))
    for screen in screens:
        assert isinstance(screen, Screen)
        assert screen.parts == shown(paper.read().parts)


# Taking a log piece by piece


@given(
    st.lists(st.text(max_size=8).filter(bool) | st.sampled_from(["\x00call", "\x00text"]), max_size=30),
    st.integers(8, 60),
)
def test_a_log_that_is_cut_tells_what_the_whole_one_does(pieces: list[str], most: int) -> None:
    log = begin_text()
    for piece in pieces:
        match piece:
            case "\x00call":
                log += start_call(ToolCallPart("1", "tasks", {"a": "é" * 20})) + begin_text()
            case "\x00text":
                log += begin_text()
            case text:
                log += text.encode("utf-8", "replace")
    whole, cut, start = LogReader(), LogReader(), 0
    texts = ["".join(getattr(event, "text", "") for event in whole.read(log))]
    told: list[LogEvent] = []
    while start < len(log):
        end = cut_log(log, start, most)
        assert end > start
        told += cut.read(log[start:end])
        start = end
    assert cut.position == whole.position
    assert ["".join(getattr(event, "text", "") for event in told)] == texts
