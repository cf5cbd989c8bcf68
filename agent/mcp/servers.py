"""The MCP servers whose tools the agent has. Nothing waits for them but what calls them."""

import asyncio
import importlib
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from agent.mcp.settings import McpServerSettings
from agent.tools import Tool

if TYPE_CHECKING:
    from agent.mcp.server import McpServer

logger = logging.getLogger(__name__)

#: Seconds that the start waits for the servers, and the end for their processes.
START_TIMEOUT, END_TIMEOUT = 5.0, 10.0


class McpServers:
    """All servers that were configured, kept connected for as long as the node lives."""

    def __init__(self, settings: Mapping[str, McpServerSettings]) -> None:
        self._settings = settings
        self._servers: Sequence[McpServer] = ()
        self._running: asyncio.Task[None] | None = None
        self._loaded = asyncio.Event()

    @property
    def tools(self) -> Sequence[Tool]:
        """What they offer, as far as is known; what a server offered last stays while it is away."""
        return [tool for server in self._servers for tool in server.tools]

    def start(self) -> None:
        """Begin to connect; needs a running event loop."""
        if self._settings:
            self._running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        # Here, since the library takes a second to load, and only who uses MCP servers needs it.
        await asyncio.to_thread(importlib.import_module, "agent.mcp.server")
        from agent.mcp.server import McpServer

        self._servers = [McpServer(name, settings) for name, settings in self._settings.items()]
        self._loaded.set()
        await asyncio.gather(*(server.keep_connected() for server in self._servers))

    async def wait_for_first_try(self) -> None:
        """Wait until each server is connected or could not be, a few seconds at the most."""
        if self._running is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(START_TIMEOUT):
                await self._loaded.wait()
                for server in self._servers:
                    await server.tried.wait()

    async def close(self) -> None:
        """End the connections and the processes behind them."""
        if self._running is None:
            return
        self._running.cancel()
        _, late = await asyncio.wait([self._running], timeout=END_TIMEOUT)
        if late:
            logger.error("MCP servers do not end")
            self._running.cancel()
