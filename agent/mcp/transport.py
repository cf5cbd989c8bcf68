"""The way to an MCP server, in a task of its own. Only who uses MCP servers loads it."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Self

import anyio
from mcp_types import JSONRPCResponse


class WatchedTransport:
    """A transport that tells when nothing more comes by it, and whose end nobody cuts off.

    Who is cancelled while it ends, waits for that: the library would leave the process, and lose the cancellation.
    """

    def __init__(self, transport: AbstractAsyncContextManager[Any], end: Callable[[], None]) -> None:
        self._transport = transport
        self._end = end
        self._leave = asyncio.Event()

    async def __aenter__(self) -> Any:
        opened: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._hold(opened))
        try:
            await asyncio.wait([self._task, opened], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._task.cancel()
            await self._finish()
            raise
        if not opened.done():
            self._task.result()
        read, write = opened.result()
        return _WatchedStream(read, self._end), write

    async def _hold(self, opened: "asyncio.Future[Any]") -> None:
        async with self._transport as streams:
            opened.set_result(streams)
            await self._leave.wait()

    async def __aexit__(self, *error: Any) -> None:
        self._leave.set()
        await self._finish()
        if not self._task.cancelled() and (problem := self._task.exception()) is not None:
            raise problem

    async def _finish(self) -> None:
        """Wait for the end of the task. Raises `CancelledError` only then."""
        cancelled = False
        while not self._task.done():
            try:
                await asyncio.wait([self._task])
            except asyncio.CancelledError:
                cancelled = True
        if cancelled:
            raise asyncio.CancelledError


class _WatchedStream:
    def __init__(self, stream: Any, end: Callable[[], None]) -> None:
        self._stream = stream
        self._end = end

    @property
    def last_context(self) -> Any:
        return getattr(self._stream, "last_context", None)

    async def receive(self) -> Any:
        return await self._stream.receive()

    async def aclose(self) -> None:
        await self._stream.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            message = await anext(self._stream)
        except (StopAsyncIteration, anyio.ClosedResourceError):
            self._end()
            raise
        _forget_output_schemas(message)
        return message

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> bool | None:
        closed: bool | None = await self._stream.__aexit__(*error)
        return closed


def _forget_output_schemas(message: Any) -> None:
    """The library would check results by them in the event loop, where one pattern may take for ever."""
    answer = getattr(message, "message", None)
    tools = answer.result.get("tools") if isinstance(answer, JSONRPCResponse) else None
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict):
            tool.pop("outputSchema", None)
