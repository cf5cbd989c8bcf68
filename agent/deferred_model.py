"""A model whose client takes long to load."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Protocol

from agent.model import Model, ModelEvent, ModelRequest, TellPiece, Usage


class ConnectedModel(Model, Protocol):
    """A model with connections to close."""

    async def close(self) -> None: ...


class DeferredModel:
    """A `Model` that a thread makes, so that all else goes on meanwhile; whoever asks it waits."""

    def __init__(self, make: Callable[[], ConnectedModel]) -> None:
        self._make = make
        self._made: asyncio.Task[ConnectedModel] | None = None

    @property
    def is_ready(self) -> bool:
        """Whether it has been made; asking it takes no longer than asking the model itself."""
        return self._made is not None and self._made.done() and self._made.exception() is None

    def start(self) -> None:
        """Begin to make it; needs a running event loop."""
        self._made = asyncio.create_task(asyncio.to_thread(self._make))

    async def wait(self) -> ConnectedModel:
        """The model itself. Raises what making it raises."""
        assert self._made is not None, "it was never started"
        # Whoever gives up waiting leaves it to the others.
        return await asyncio.shield(self._made)

    def stream(self, request: ModelRequest, usage: Usage, tell: TellPiece) -> AsyncIterator[ModelEvent]:
        """As `Model.stream`."""
        if self._made is not None and self.is_ready:
            return self._made.result().stream(request, usage, tell)
        return self._stream_later(request, usage, tell)

    async def _stream_later(self, request: ModelRequest, usage: Usage, tell: TellPiece) -> AsyncGenerator[ModelEvent]:
        model = await self.wait()
        async with aclosing(model.stream(request, usage, tell)) as events:  # type: ignore[type-var]
            async for event in events:
                yield event

    async def close(self) -> None:
        """Close the connections of what was made."""
        if self._made is not None:
            [made] = await asyncio.gather(self._made, return_exceptions=True)
            if not isinstance(made, BaseException):
                await made.close()
