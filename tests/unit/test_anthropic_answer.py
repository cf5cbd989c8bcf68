"""The short way to a text delta: whatever comes, and however it is cut, it is read as by the long way."""

import json
import re
from itertools import pairwise

import orjson
import pytest
from anthropic import APIStatusError
from hypothesis import example, given
from hypothesis import strategies as st

from agent import anthropic_answer
from agent.anthropic_answer import Answer
from agent.model import ModelError, ModelEvent, Piece, ReasoningPiece, TextPiece

NOTHING = re.compile(rb"(?!)")


def delta(type: bytes, key: bytes, text: bytes, end: bytes = b"}}\n\n") -> bytes:
    head = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{'
    return head + b'"type":"%b","%b":%b' % (type, key, text) + end


TEXTS = st.text(max_size=8).map(orjson.dumps) | st.text(st.characters(), max_size=8).map(
    lambda text: json.dumps(text).encode()
)
# What no JSON is, what a line ends with, and what another type than text is.
WRONG_TEXTS = st.sampled_from(
    [rb'"\x"', rb'"\u12"', b'"\x01"', b'"\xff"', b'"a\rb"', b'"a\nb"', b'"', b"7", b"null", b'["a"]']
)
DELTAS = st.builds(
    delta,
    st.sampled_from([b"text_delta", b"text_delta", b"thinking_delta", b"dream_delta"]),
    st.sampled_from([b"text", b"text", b"thinking"]),
    TEXTS | WRONG_TEXTS,
    st.sampled_from(
        [
            b"}}\n\n",
            b"}}\n\n",
            b"}      }\n\n",
            b',"more":1}}\n\n',
            b"}}}\n\n",
            b"}}\r\n\r\n",
            b"}}\ndata: 1\n\n",
            b"}}\n",
        ]
    ),
)
OTHERS = st.sampled_from(
    [
        b'event: ping\ndata: {"type":"ping"}\n\n',
        b": here\n\n",
        b"event: other\n",
        b"data: {\n",
        b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n',
        b'event: content_block_start\ndata: {"type":"content_block_start","content_block":{"type":"text"}}\n\n',
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n',
    ]
)


def read(pieces: list[bytes]) -> tuple[list[Piece | ModelEvent], str]:
    """What is told of the body, texts of one kind joined, and what ended it."""
    said: list[Piece | ModelEvent] = []

    def tell(piece: Piece) -> None:
        if said and type(said[-1]) is type(piece) and isinstance(piece, TextPiece | ReasoningPiece):
            piece = type(piece)(said.pop().text + piece.text)  # type: ignore[union-attr]
        said.append(piece)

    answer = Answer(tell)
    try:
        for piece in pieces:
            if not answer.take(piece):
                said.extend(answer.read_events())
    except (ModelError, APIStatusError) as error:
        return said, str(error)
    return said, ""


@given(st.lists(DELTAS | OTHERS, max_size=12).map(b"".join), st.lists(st.integers(0, 2000), max_size=12))
@example(delta(b"text_delta", b"text", rb'"\ud83d"') + delta(b"text_delta", b"text", rb'"\udc4d"'), [])
def test_a_delta_is_read_the_same_by_both_ways(body: bytes, cuts: list[int]) -> None:
    body = b'event: ping\ndata: {"type":"ping"}\n\n' + body
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[start:end] for start, end in pairwise(places)]
    short = read(pieces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anthropic_answer, "_DELTA", NOTHING)
        assert read(pieces) == short


def test_plain_deltas_go_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Piece] = []
    answer = Answer(said.append)
    assert answer.take(b'event: ping\ndata: {"type":"ping"}\n\n') is False
    assert list(answer.read_events()) == []
    monkeypatch.setattr(anthropic_answer, "_parse", None)
    texts = [delta(b"text_delta", b"text", text) for text in (b'"one "', rb'"\"two\" \n"', '"dré👍"'.encode())]
    assert answer.take(b"".join(texts) + delta(b"thinking_delta", b"thinking", b'"Hm"', b"}   }\n\n"))
    assert said == [TextPiece('one "two" \ndré👍'), ReasoningPiece("Hm")]
