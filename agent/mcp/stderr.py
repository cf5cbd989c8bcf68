"""What a program writes on its standard error, in the log: so much of it, without what is secret."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TextIO

from agent.text import on_one_line

logger = logging.getLogger(__name__)

#: Characters of a line, and lines in so many seconds; what is more is counted.
LONGEST_LINE, MOST_LINES, PERIOD = 500, 20, 10.0


@asynccontextmanager
async def log_stderr(name: str, redact: Callable[[str], str]) -> AsyncIterator[TextIO]:
    """A file for a program to write on; its lines are logged under the name."""
    reading, writing = os.pipe()
    reader = asyncio.StreamReader(limit=65_536)
    with os.fdopen(writing, "w") as file:
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", buffering=0)
        )
        following = asyncio.create_task(_follow(reader, _Log(name, redact)))
        try:
            yield file
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            transport.close()


async def _follow(reader: asyncio.StreamReader, log: "_Log") -> None:
    """Read it all, whether it is logged or not: a program whose pipe is full stands still."""
    rest = b""
    while piece := await reader.read(65_536):
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            log.write(line)
        # Of a line without an end only the beginning matters.
        rest = rest[: 4 * LONGEST_LINE]


class _Log:
    def __init__(self, name: str, redact: Callable[[str], str]) -> None:
        self._name = name
        self._redact = redact
        self._since = 0.0
        self._lines = 0

    def write(self, line: bytes) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._since > PERIOD:
            if self._lines > MOST_LINES:
                logger.info("mcp %s: and %d more lines", self._name, self._lines - MOST_LINES)
            self._since, self._lines = now, 0
        self._lines += 1
        if self._lines <= MOST_LINES and (text := self._redact(line.decode("utf-8", "replace").rstrip())):
            logger.info("mcp %s: %s", self._name, on_one_line(text, LONGEST_LINE))
