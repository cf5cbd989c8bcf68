"""A message that is taken without the parser is the same as with it, however the bytes of a socket come."""

import asyncio
import struct
from typing import Any
from unittest.mock import Mock

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from server.transport.websocket_protocol import WebSocketProtocol
from server.transport.wire import PIECE
from tests.frames import HANDSHAKE, NO_MASK, write_frame

LIMIT = 300
#: The last has what it hides look like frames.
MASKS = [b"\x01\x80\x7f\x20", NO_MASK]


TEXTS = st.one_of(
    st.text(max_size=5).map(str.encode),
    st.sampled_from([b"text", b"\xff", "\U0001f600".encode()[:2]]),
    st.sampled_from([125, 126, 127, 128, LIMIT, LIMIT + 1, PIECE + 1]).map(lambda length: b"x" * length),
    st.sampled_from([b"a", b"b" * 130]).map(lambda data: write_frame(0x81, data, MASKS[0])),
    st.just(b"close"),
)
# Whole texts most of all, parts of one, other kinds, and what the protocol does not know.
KINDS = st.sampled_from([0x81] * 5 + [0x01, 0x01, 0x80, 0x00, 0x82, 0x89, 0x8A, 0x88, 0xC1, 0x83])
FRAMES = st.one_of(
    st.builds(write_frame, KINDS, TEXTS, st.sampled_from(MASKS)),
    st.builds(write_frame, st.just(0x81), TEXTS, st.sampled_from(MASKS)),
    st.builds(write_frame, st.just(0x81), TEXTS, st.sampled_from([*MASKS, None])),
    # With its length in eight bytes, which it does not need: as long as if 127 were the length.
    st.just(struct.pack("!BBQ4x", 0x81, 0xFF, 119) + b"x" * 119),
)


class Told:
    """What the application was told, and what the client was sent."""

    def __init__(self, protocol: type[WebSocketProtocol]) -> None:
        self.told: list[Any] = []
        self.sent = bytearray()
        self.reading, self.was_closed = True, False
        transport = Mock(write=self.sent.extend, pause_reading=self._pause, resume_reading=self._resume)
        transport.is_closing = lambda: transport.close.called
        config = uvicorn.Config(self._run, interface="asgi3", ws_max_size=LIMIT, log_config=None)
        config.load()
        self.protocol = protocol(config=config, server_state=ServerState(), app_state={})
        self.protocol.connection_made(transport)
        self.protocol.data_received(HANDSHAKE + b"\r\n")

    async def _run(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            self.told.append(await receive())
            if self.told[-1]["type"] == "websocket.disconnect":
                return
            if self.told[-1].get("text") == "close":
                await send({"type": "websocket.close", "code": 4000})
                return
            # A reader that takes its time.
            await asyncio.sleep(0)

    @property
    def is_closed(self) -> bool:
        return self.protocol.transport.is_closing()

    def _pause(self) -> None:
        assert self.reading
        self.reading = False

    def _resume(self) -> None:
        assert not self.reading
        self.reading = True

    async def give(self, data: bytes, turns: int) -> None:
        """Bytes that come at once, and the turns of the event loop until the next."""
        if not self.is_closed:
            self.protocol.data_received(data)
        for _ in range(turns):
            await asyncio.sleep(0)


class Parsed(WebSocketProtocol):
    """The reference: every byte goes through the parser."""

    def _take_message(self, data: bytes) -> bool:
        return False


async def told_of(protocol: type[WebSocketProtocol], pieces: list[tuple[bytes, int]]) -> Told:
    """What comes of pieces of bytes, after each of which the event loop has so many turns."""
    told = Told(protocol)
    await told.give(b"", 5)
    assert told.sent.startswith(b"HTTP/1.1 101 ")
    for piece, turns in pieces:
        await told.give(piece, turns)
    await told.give(b"", 5 * len(pieces))
    told.was_closed = told.is_closed
    told.protocol.connection_lost(None)
    await asyncio.gather(*told.protocol.tasks)
    return told


@st.composite
def cut(draw: st.DrawFn, frames: list[bytes]) -> list[tuple[bytes, int]]:
    """The frames one by one, or with what belongs together apart, or with what does not in one piece."""
    pieces = [b""]
    for each in frames:
        place = draw(st.sampled_from([0, 0, 0, 0, 1, 2, 3, 6, len(each) - 1]))
        if place:
            pieces.append(each[:place])
        if draw(st.sampled_from([True, True, True, False])):
            pieces.append(each[place:])
        else:
            pieces[-1] += each[place:]
    return [(piece, draw(st.integers(0, 3))) for piece in pieces]


@settings(max_examples=1000, deadline=None)
@given(pieces=st.lists(FRAMES, min_size=1, max_size=6).flatmap(cut))
def test_messages_are_the_same_without_the_parser(pieces: list[tuple[bytes, int]]) -> None:
    async def both() -> tuple[Told, Told]:
        return await told_of(WebSocketProtocol, pieces), await told_of(Parsed, pieces)

    loop = asyncio.new_event_loop()
    try:
        fast, parsed = loop.run_until_complete(both())
    finally:
        loop.close()
    assert fast.told == parsed.told
    assert fast.sent == parsed.sent
    assert (fast.reading, fast.was_closed) == (parsed.reading, parsed.was_closed) or fast.was_closed


@pytest.mark.parametrize("length", [0, 1, 125, 126, 200])
async def test_whole_texts_come_without_the_parser(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(WebSocketProtocol)
    await told.give(b"", 5)
    monkeypatch.setattr(told.protocol.conn, "receive_data", None)
    await told.give(write_frame(0x81, b"x" * length, MASKS[0]), 3)
    await told.give(write_frame(0x81, b"y" * length, MASKS[1]), 3)
    assert [each["text"] for each in told.told] == ["x" * length, "y" * length]


async def test_no_more_is_read_while_a_message_waits_for_the_application() -> None:
    told = Told(WebSocketProtocol)
    await told.give(b"", 5)
    reading = []
    for data, turns in (
        (write_frame(0x81, b"taken", MASKS[0]), 0),
        (write_frame(0x81, b"waits", MASKS[0]), 0),
        (b"", 5),
    ):
        await told.give(data, turns)
        reading.append(told.reading)
    assert reading == [True, False, True]
    assert [each["text"] for each in told.told] == ["taken", "waits"]
