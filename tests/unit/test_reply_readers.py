"""The readers of a reply: nothing lost, nothing doubled, wherever they and the reply are cut."""

import asyncio
import random
from dataclasses import replace
from functools import partial
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.model import BlockEnded, TextPiece
from agent.parts import TextPart, ToolCallPart
from runs import follow
from runs.follow import Cursor, InvalidCursor, News, ReplyFinished, SavedReply, _Reader, follow_reply
from runs.live import LiveSlice
from runs.log import StreamRestarted, TextDelta, ToolCallAwaitingApproval, ToolCallStarted, write_log
from runs.memory import MemoryLiveReplies
from tests.unit.paper_turns import REPEATABLE, Paper, Written, hurry, write, write_on
from tests.unit.reply_screens import Screen, inside_a_pair, read_log, shown, some
from tests.unit.reply_scripts import ATTEMPTS, END, ONE_ATTEMPT, SEEDED, Script, quick, unshrunk, use_tool

__all__ = ["hurry"]


pytestmark = pytest.mark.usefixtures("hurry")

# Many attempts and many readers


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


async def test_a_reader_learns_at_once_that_what_was_live_waits_for_its_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "POLL_INTERVAL", 3600.0)
    live, id, saved = MemoryLiveReplies(), uuid4(), SavedReply(running=True, attempt=1, restarts=(), parts=[])
    text, call = TextPart("One. "), ToolCallPart("call", "addTask", {}, "AWAITING_APPROVAL", parked=True)

    async def load() -> SavedReply:
        return saved

    told: list[type] = []

    async def read() -> None:
        async for news in follow_reply(live, id, Cursor(), load):
            told.extend(type(event) for event in news.events)
            if ToolCallAwaitingApproval in told:
                return

    live.begin(id, 1, (), write_log([text]))
    reading = asyncio.create_task(read())
    # Until it waits for more.
    for _ in range(20):
        await asyncio.sleep(0)
    assert told == [TextDelta]
    saved = replace(saved, parts=[text, call])
    live.drop(id, 1)
    async with asyncio.timeout(60):
        await reading
    assert told == [TextDelta, ToolCallStarted, ToolCallAwaitingApproval]
