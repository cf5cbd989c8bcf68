"""`/metrics`: the figures of this process or, of several behind one address, of all of them.

Each of several processes listens on a socket of its own in a directory that they share. Whichever is asked by the
common address asks the others, and tells all figures with a label `worker`.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.requests import Request
from starlette.responses import Response

#: Seconds that another process has for its answer.
PATIENCE = 2.0
#: A line of figures: name, labels, the rest.
_SAMPLE = re.compile(r"([^{ ]+)(?:\{(.*)\})? (.*)")


@dataclass(frozen=True, slots=True)
class Sibling:
    """Where this one of several processes is found by the others."""

    directory: Path
    #: Which one it is, from 0: the same after a restart.
    index: int

    @property
    def path(self) -> Path:
        return self.directory / f"{self.index}.sock"


class MetricsPage:
    """Answers with what is known, in the text format of Prometheus."""

    def __init__(
        self, registry: CollectorRegistry, refresh: Callable[[], Awaitable[None]], sibling: Sibling | None
    ) -> None:
        """`refresh` is awaited before figures are read; `sibling` is this process, where there are others."""
        self._registry = registry
        self._refresh = refresh
        self._sibling = sibling
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen for the other processes."""
        if self._sibling is not None:
            self._sibling.path.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._tell, self._sibling.path)

    async def close(self) -> None:
        if self._server is not None and self._sibling is not None:
            self._server.close()
            self._sibling.path.unlink(missing_ok=True)

    async def respond(self, request: Request) -> Response:
        await self._refresh()
        text = self._write()
        if self._sibling is not None:
            text = add_up(await self._ask_all(self._sibling, text))
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    def _write(self) -> str:
        return generate_latest(self._registry).decode()

    async def _tell(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await self._refresh()
            writer.write(self._write().encode())
            await writer.drain()
        writer.close()

    async def _ask_all(self, own: Sibling, text: str) -> Mapping[str, str]:
        """What each process tells; one that does not answer is not there."""
        others = [path for path in sorted(own.directory.glob("*.sock")) if path != own.path]
        told = await asyncio.gather(*(_ask(path) for path in others))
        answers = {path.stem: answer for path, answer in zip(others, told, strict=True) if answer}
        return dict(sorted({**answers, str(own.index): text}.items()))


async def _ask(path: Path) -> str:
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                return (await reader.read()).decode()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return ""


def add_up(texts: Mapping[str, str]) -> str:
    """The figures of several workers, by their names, as one text: each sample with a label `worker`."""
    families: dict[str, list[str]] = {}
    for worker, text in texts.items():
        samples: list[str] = []
        for line in text.splitlines():
            if line.startswith("# HELP "):
                samples = families.setdefault(line.split(" ", 3)[2], [])
                if not samples:
                    samples.append(line)
            elif line.startswith("#"):
                if len(samples) == 1:
                    samples.append(line)
            elif match := _SAMPLE.fullmatch(line):
                name, labels, rest = match.groups()
                samples.append(f'{name}{{worker="{worker}"{"," + labels if labels else ""}}} {rest}')
    return "\n".join(line for samples in families.values() for line in samples) + "\n"
