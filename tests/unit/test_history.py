"""What the model is told of a conversation: always a request that the API takes, whatever became of earlier replies."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.history import CACHE_MARK, PastMessage, build_history, continue_history
from agent.parts import Part, ReasoningPart, TextPart, ToolCallPart, ToolCallStatus
from agent.prompt import system_prompt
from agent.stand_in.rules import find_complaint


def question(text: str) -> PastMessage:
    return PastMessage("USER", [TextPart(text)])


def reply(*parts: Part, cut: Any = None) -> PastMessage:
    return PastMessage("ASSISTANT", parts, cut)


def call(id: str = "call", step: int = 0, **more: Any) -> ToolCallPart:
    ended = {"status": "SUCCEEDED", "result": {"task": {"title": "x"}}, "order": 0}
    return ToolCallPart(id, "addTask", {"title": "x"}, step=step, **{**ended, **more})


def shape(messages: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Role and types of blocks of each message."""
    return [(message["role"], [block["type"] for block in message["content"]]) for message in messages]


def blocks(messages: Sequence[Mapping[str, Any]], type: str) -> list[dict[str, Any]]:
    return [block for message in messages for block in message["content"] if block["type"] == type]


def texts(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    return [block["text"] for block in blocks(messages, "text")]


def complaint(messages: Sequence[Mapping[str, Any]]) -> str | None:
    """With what the API would refuse these messages."""
    system = [dict(block) for block in system_prompt(date(2026, 1, 1))]
    return find_complaint({"model": "m", "max_tokens": 1, "messages": list(messages), "system": system})


# The window


def test_questions_and_replies_are_told_in_their_order() -> None:
    history = build_history([question("1"), reply(TextPart("2")), question("3")])
    assert shape(history) == [("user", ["text"]), ("assistant", ["text"]), ("user", ["text"])]
    assert texts(history) == ["1", "2", "3"]


def test_a_reply_whose_question_lies_before_the_window_is_left_out() -> None:
    window = [reply(TextPart("2"), call(), cut="stopped"), question("3"), reply(TextPart("4")), question("5")]
    history = build_history(window)
    assert texts(history) == ["3", "4", "5"]
    assert complaint(history) is None


@pytest.mark.parametrize("window", [[], [reply(TextPart("2"))]])
def test_a_window_without_a_question_tells_nothing(window: list[PastMessage]) -> None:
    assert build_history(window) == []


def test_the_parts_of_a_question_are_told_as_one_text() -> None:
    [message] = build_history([PastMessage("USER", [TextPart("a"), TextPart("b")])])
    assert texts([message]) == ["ab"]


def test_only_the_last_block_of_the_history_is_marked_for_the_cache() -> None:
    history = build_history([question("1"), reply(TextPart("2"), cut="failed"), question("3")])
    marked = [block for message in history for block in message["content"] if "cache_control" in block]
    assert marked == [{"type": "text", "text": "3", "cache_control": CACHE_MARK}]
    assert history[-1]["content"][-1] is marked[0]


# Replies


def test_each_step_of_a_reply_is_told_with_its_calls_and_then_their_results() -> None:
    steps: list[Part] = [
        TextPart("I look.", step=0),
        call("a", order=1),
        call("b", order=0),
        TextPart("I add.", step=1),
        call("c", 1, order=2),
        TextPart("Done.", step=2),
    ]
    history = build_history([question("?"), reply(*steps), question("!")])
    assert shape(history) == [
        ("user", ["text"]),
        ("assistant", ["text", "tool_use", "tool_use"]),
        ("user", ["tool_result", "tool_result"]),
        ("assistant", ["text", "tool_use"]),
        ("user", ["tool_result"]),
        ("assistant", ["text"]),
        ("user", ["text"]),
    ]
    assert [block["tool_use_id"] for block in blocks(history, "tool_result")] == ["a", "b", "c"]
    assert complaint(history) is None


@pytest.mark.parametrize(
    ("status", "is_error", "told"),
    [
        ("SUCCEEDED", False, '{"a":1}'),
        ("FAILED", True, '{"a":1}'),
        ("DENIED", True, '{"a":1}'),
        ("AWAITING_APPROVAL", True, "not agreed"),
        ("INTERRUPTED", True, "not known"),
        ("RUNNING", True, "not known"),
    ],
)
def test_the_model_is_told_whether_a_call_worked(status: ToolCallStatus, is_error: bool, told: str) -> None:
    history = build_history(
        [question("?"), reply(replace(call(status=status, result={"a": 1}), begun=True)), question("!")]
    )
    [result] = blocks(history, "tool_result")
    assert result["is_error"] is is_error
    assert told in result["content"]


@pytest.mark.parametrize("parameters", ["{bad", ["a"], 1, None])
def test_malformed_parameters_are_told_back_within_an_object(parameters: Any) -> None:
    bad = ToolCallPart("a", "addTask", parameters, "FAILED", {"error": {}}, 0)
    history = build_history([question("?"), reply(bad), question("!")])
    assert blocks(history, "tool_use")[0]["input"] == {"malformed": parameters}
    assert complaint(history) is None


def test_reasoning_goes_back_as_it_came_redacted_or_not() -> None:
    thought: list[Part] = [ReasoningPart("Hm.", "c2ln"), ReasoningPart("", data="c2VjcmV0"), TextPart("So."), call()]
    history = continue_history(build_history([question("?")]), thought)
    assert history[1]["content"][:2] == [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "c2VjcmV0"},
    ]


def test_reasoning_of_which_only_the_signature_is_told_goes_back() -> None:
    history = continue_history(build_history([question("?")]), [ReasoningPart("", "c2ln"), call()])
    assert blocks(history, "thinking") == [{"type": "thinking", "thinking": "", "signature": "c2ln"}]


def test_reasoning_of_an_earlier_reply_stays_away_for_its_model_or_what_stood_before_it_may_have_changed() -> None:
    history = build_history([question("?"), reply(ReasoningPart("Hm.", "c2ln"), TextPart("So.")), question("!")])
    assert shape(history)[1] == ("assistant", ["text"])


def test_reasoning_of_an_earlier_attempt_stays_away() -> None:
    before: list[Part] = [ReasoningPart("Hm.", "c2ln"), call("a")]
    after: list[Part] = [ReasoningPart("", "bmV3", step=1), call("b", step=1)]
    history = continue_history(build_history([question("?")]), [*before, *after], earlier=len(before))
    assert shape(history)[1::2] == [("assistant", ["tool_use"]), ("assistant", ["thinking", "tool_use"])]
    assert complaint(history) is None


def test_reasoning_without_its_signature_stays_away() -> None:
    history = continue_history(build_history([question("?")]), [ReasoningPart("Hm."), TextPart("So.")])
    assert shape(history)[1] == ("assistant", ["text"])


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [ReasoningPart("Hm.")],
        [ReasoningPart("Hm.", "c2ln")],
        [ReasoningPart("", data="c2VjcmV0")],
        [TextPart(" \n")],
        [ReasoningPart("Hm.", "c2ln"), TextPart("\n")],
    ],
)
def test_a_reply_that_said_nothing_is_no_message(parts: list[Part]) -> None:
    history = build_history([question("1"), reply(*parts, cut="stopped"), question("2")])
    assert shape(history) == [("user", ["text"]), ("user", ["text", "text"])]
    assert complaint(history) is None


@pytest.mark.parametrize(
    "parts",
    [
        [TextPart("I look."), ReasoningPart("Hm.", "c2ln")],
        [TextPart("I look."), ReasoningPart("", data="c2VjcmV0")],
        [TextPart("I look."), ReasoningPart("Hm.", "c2ln"), TextPart(" ")],
    ],
)
def test_no_reply_ends_in_reasoning_which_the_api_refuses(parts: list[Part]) -> None:
    history = build_history([question("1"), reply(*parts, cut="stopped"), question("2")])
    assert shape(history)[1] == ("assistant", ["text"])


# Notes


def test_the_next_question_tells_why_a_reply_is_not_whole() -> None:
    window = [
        question("1"),
        reply(TextPart("2"), cut="stopped"),
        question("3"),
        reply(cut="failed"),
        question("5"),
        reply(TextPart("6")),
        question("7"),
    ]
    history = build_history(window)
    first, second = (message["content"] for message in history if message["content"][0]["text"].startswith("<note>"))
    assert "stopped" in first[0]["text"]
    assert first[1]["text"] == "3"
    assert "error" in second[0]["text"]
    assert second[1]["text"] == "5"


# Going on


def test_a_reply_in_the_making_goes_on_after_its_results() -> None:
    history = build_history([question("?")])
    going_on = continue_history(history, [TextPart("I look."), call()])
    assert shape(going_on) == [("user", ["text"]), ("assistant", ["text", "tool_use"]), ("user", ["tool_result"])]
    assert "cache_control" in going_on[0]["content"][-1]
    assert "cache_control" in going_on[-1]["content"][-1]
    assert complaint(going_on) is None


def test_going_on_changes_nothing_of_the_history() -> None:
    history = build_history([question("?")])
    before = copy.deepcopy(history)
    for steps in range(6):
        going_on = continue_history(history, [call(f"c{step}", step) for step in range(steps)])
        assert len(going_on) == 1 + 2 * steps
        assert complaint(going_on) is None
    assert history == before


# Anything

#: No deadline: other work on the machine is no failure.
quick = settings(deadline=None)

STATUSES: Sequence[ToolCallStatus] = ("RUNNING", "AWAITING_APPROVAL", "SUCCEEDED", "FAILED", "DENIED", "INTERRUPTED")
SAID = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
CUTS: Any = st.sampled_from([None, "stopped", "failed"])


@st.composite
def windows(draw: st.DrawFn) -> list[PastMessage]:
    """The last messages of a branch that ends in a question; its replies are of every kind."""
    window: list[PastMessage] = []
    ids = (f"toolu_{number}" for number in range(10_000))
    if draw(st.booleans()):
        window.append(reply(*draw_parts(draw, ids), cut=draw(CUTS)))
    for _ in range(draw(st.integers(0, 3))):
        window.append(question(draw(SAID) + "?"))
        window.append(reply(*draw_parts(draw, ids), cut=draw(CUTS)))
    return [*window, question(draw(SAID) + "?")]


def draw_parts(draw: st.DrawFn, ids: Iterator[str]) -> list[Part]:
    """Parts of a reply; every step but the last has a call."""
    parts: list[Part] = []
    for step in range(draw(st.integers(0, 3))):
        parts += draw_said(draw, step)
        parts += [draw_call(draw, next(ids), step) for _ in range(draw(st.integers(1, 3)))]
    return parts + draw_said(draw, 9)


def draw_said(draw: st.DrawFn, step: int) -> list[Part]:
    kinds = draw(st.lists(st.sampled_from(["text", "blank", "signed", "unsigned", "redacted"]), max_size=3))
    made: Mapping[str, Part] = {
        "text": TextPart(draw(SAID) + "!", step),
        "blank": TextPart("\n", step),
        "signed": ReasoningPart(draw(SAID), "c2ln", step=step),
        "unsigned": ReasoningPart(draw(SAID), step=step),
        "redacted": ReasoningPart("", data="c2VjcmV0", step=step),
    }
    return [made[kind] for kind in kinds]


def draw_call(draw: st.DrawFn, id: str, step: int) -> ToolCallPart:
    parameters = draw(st.just({"title": "x"}) | SAID | st.none() | st.lists(st.integers(0, 9)))
    return ToolCallPart(id, "addTask", parameters, draw(st.sampled_from(STATUSES)), {"a": 1}, 0, step=step)


@quick
@given(windows())
def test_whatever_became_of_earlier_replies_the_api_takes_the_request(window: list[PastMessage]) -> None:
    history = build_history(window)
    assert complaint(history) is None
    assert texts(history)[-1] == window[-1].parts[0].text  # type: ignore[union-attr]


@st.composite
def steps(draw: st.DrawFn) -> list[Part]:
    """What a reply in the making has done: steps that each end with a call."""
    return [
        part
        for step in range(draw(st.integers(0, 4)))
        for part in [*draw_said(draw, step), draw_call(draw, f"toolu_now_{step}", step)]
    ]


@quick
@given(windows(), steps())
def test_whatever_a_reply_has_done_so_far_the_api_takes_the_next_request(
    window: list[PastMessage], parts: list[Part]
) -> None:
    assert complaint(continue_history(build_history(window), parts)) is None
