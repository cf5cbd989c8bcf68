"""Server-sent events are the same however their bytes are cut, and those that the HTML standard says they are."""

from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.http.sse import BOM, EventDecoder, ServerSentEvent

#: No deadline: other work on the machine is no failure.
quick = settings(deadline=None)

LINES = st.sampled_from(
    [
        b"data: {}",
        b"data:two",
        b"data:  indented",
        b"data",
        b"data:",
        b"event: error",
        b"event:ping",
        b"event",
        b"id: 1",
        b": a comment",
        b":",
        b"retry: 10",
        b"dat: no field",
        "data: \u00e9\u2028\U0001f44d".encode(),
        BOM,
        b"",
        b"",
    ]
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
STREAMS = st.tuples(
    st.sampled_from([b"", BOM]), st.lists(st.tuples(LINES, ENDS).map(b"".join)).map(b"".join), LINES
).map(b"".join)


def read_by_the_standard(stream: bytes) -> list[ServerSentEvent]:
    """The events of a whole stream, step by step as the standard has it."""
    text = stream.decode().removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    events: list[ServerSentEvent] = []
    data = type = ""
    for line in text.split("\n")[:-1]:
        if not line:
            if data:
                events.append(((type or "message").encode(), data.removesuffix("\n").encode()))
            data = type = ""
            continue
        if line.startswith(":"):
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data += value + "\n"
        elif field == "event":
            type = value
    return events


def decode(pieces: Sequence[bytes]) -> list[ServerSentEvent]:
    decoder = EventDecoder()
    return [event for piece in pieces for event in decoder.decode(piece)]


@quick
@given(STREAMS)
@example(b"data: a\r\n\r\n")
@example(BOM + b"data: a\n\n" + BOM + b"data: b\n\n")
def test_a_stream_gives_the_events_of_the_standard(stream: bytes) -> None:
    assert decode([stream]) == read_by_the_standard(stream)


@quick
@given(STREAMS, st.data())
def test_a_stream_that_is_cut_anywhere_gives_the_events_of_the_whole(stream: bytes, data: st.DataObject) -> None:
    places = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    pieces = [stream[start:end] for start, end in zip([0, *places], [*places, len(stream)], strict=True)]
    assert decode(pieces) == read_by_the_standard(stream)


@quick
@given(STREAMS)
@example(b"data: a\r\n\n")
def test_a_stream_that_comes_byte_by_byte_gives_the_events_of_the_whole(stream: bytes) -> None:
    assert decode([stream[place : place + 1] for place in range(len(stream))]) == read_by_the_standard(stream)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_an_event_is_told_with_its_empty_line_and_not_with_what_follows(end: bytes) -> None:
    decoder = EventDecoder()
    assert decoder.decode(b"event: ping" + end + b"data: {}" + end) == []
    assert decoder.decode(end) == [(b"ping", b"{}")]


def test_an_event_that_the_stream_ends_in_is_none() -> None:
    assert decode([b"data: whole\n\ndata: cut\n"]) == [(b"message", b"whole")]
