"""What a model says in each attempt at a reply, as Hypothesis draws it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import uuid4

from hypothesis import Phase, settings
from hypothesis import strategies as st

from agent.model import BlockEnded, ModelEvent, Piece, ReasoningPiece, TextPiece, ToolUse

#: No deadline: other work on the machine is no failure.
quick = settings(deadline=None, max_examples=60)
#: Making a failure of several attempts smaller would take minutes.
unshrunk = settings(quick, phases=[Phase.explicit, Phase.reuse, Phase.generate])

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
    """What the model says in one step, in pieces of text and of reasoning."""
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
    """One to three calls of tools."""
    waits = draw(st.lists(st.integers(0, 4), min_size=1, max_size=3))
    return [use_tool(wait, draw(st.sampled_from(tools))) for wait in waits]


def use_tool(wait: int, tool: ToolName = "wait") -> ToolUse:
    """A call that ends after so many turns of the event loop."""
    return ToolUse(uuid4().hex, tool, f'{{"turns": {wait}}}')


ONE_ATTEMPT = scripts(["whole", "fails", "stopped"], ["wait"])

#: Attempts that go on elsewhere, wait for the user, or end.
ATTEMPTS = st.lists(scripts(["whole", "fails", "stopped", "lost", "handed over"], ["wait", "ask"]), max_size=4)
SEEDED = st.builds(random.Random, st.integers(0, 10_000))
