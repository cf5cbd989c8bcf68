"""What comes from an MCP server takes no more memory than it may."""

import gzip
from collections.abc import AsyncIterator

import anyio
import httpx2
import pytest
from anyio.abc import ByteReceiveStream

from agent.mcp import bounds
from agent.mcp.bounds import BoundedLines, bound_answer


class Pieces(ByteReceiveStream):
    """What a program writes."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        if not self._pieces:
            raise anyio.EndOfStream
        return self._pieces.pop(0)

    async def aclose(self) -> None:
        self._pieces.clear()


async def test_of_a_line_that_is_too_long_only_so_much_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "LARGEST_ANSWER", 10)
    lines = BoundedLines(Pieces(b"abc\n\n", b"x" * 25, b"y" * 5, b"y\nde", b"f\n0123456789\n", b"0" * 11))
    assert "".join([piece async for piece in lines]) == "abc\n\n" + "x" * 10 + "\ndef\n0123456789\n" + "0" * 10


@pytest.mark.parametrize("media_type", ["application/json", "text/event-stream"])
async def test_an_answer_that_is_compressed_is_not_unpacked(media_type: str) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield gzip.compress(b"x" * 1000)

    def respond(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"Content-Type": media_type, "Content-Encoding": "gzip"}, content=body())

    transport = httpx2.MockTransport(respond)
    async with httpx2.AsyncClient(transport=transport, event_hooks={"response": [bound_answer]}) as client:
        with pytest.raises(httpx2.StreamError, match="compressed"):
            await client.get("http://x")
