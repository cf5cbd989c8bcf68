"""What may come from an MCP server, and no more of it. Only who uses MCP servers loads it."""

from collections.abc import AsyncIterator

import httpx2
from anyio.streams.text import TextReceiveStream
from mcp.client import stdio

#: Bytes of one HTTP answer, and characters of one line of a program.
LARGEST_ANSWER = 8 * 1024 * 1024


class BoundedLines(TextReceiveStream):
    """Text whose lines are cut where they get too long: such a one is no message then, and takes no memory."""

    _length = 0

    async def receive(self) -> str:
        while True:
            *lines, rest = (await super().receive()).split("\n")
            kept = [*(self._cut(line, ends=True) for line in lines), self._cut(rest, ends=False)]
            if text := "\n".join(kept):
                return text

    def _cut(self, piece: str, *, ends: bool) -> str:
        kept = piece[: max(0, LARGEST_ANSWER - self._length)]
        self._length = 0 if ends else self._length + len(kept)
        return kept


# The library keeps a line until it ends, however long it is, and cannot be told otherwise.
stdio.TextReceiveStream = BoundedLines  # type: ignore[attr-defined]


async def bound_answer(response: httpx2.Response) -> None:
    """Let the body fail where it gets too large; events are bounded by the library, each for itself.

    So does one that is compressed: it may be a thousand times as large as what comes.
    """
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        response.stream = _BoundedStream(response.stream, 0)
    elif not response.headers.get("content-type", "").startswith("text/event-stream"):
        response.stream = _BoundedStream(response.stream, LARGEST_ANSWER)


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, limit: int) -> None:
        self._stream = stream
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for piece in self._stream:
            size += len(piece)
            if size > self._limit:
                what = f"has more than {self._limit:,} bytes" if self._limit else "is compressed, which nobody wanted"
                raise httpx2.StreamError(f"the answer {what}")
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()
