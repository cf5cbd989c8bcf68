"""The live log of a reply tells what is saved, at the same positions, in whatever pieces it is read."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import BlockEnded, TextPiece
from agent.parts import Part, TextPart, ToolCallPart
from runs.log import (
    LogEvent,
    LogReader,
    ToolCallAwaitingApproval,
    ToolCallFinished,
    begin_text,
    cut_log,
    events_after,
    read_parts,
    start_call,
    write_log,
)
from tests.unit.paper_turns import REPEATABLE, hurry, write
from tests.unit.reply_screens import inside_a_pair, read_log, shown, some, units, visible
from tests.unit.reply_scripts import ATTEMPTS, ONE_ATTEMPT, SEEDED, Script, quick, unshrunk, use_tool

__all__ = ["hurry"]


pytestmark = pytest.mark.usefixtures("hurry")


@quick
@given(ONE_ATTEMPT)
async def test_a_saved_reply_tells_what_was_told_live_at_the_same_positions(script: Script) -> None:
    written = await write(script)
    assert visible(write_log(written.parts)) == visible(written.log)


@REPEATABLE
@unshrunk
@given(ATTEMPTS)
async def test_a_reply_of_many_attempts_is_told_live_as_it_is_saved(repeatable: bool, scripts: list[Script]) -> None:
    written = await write(*scripts, repeatable=repeatable)
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
