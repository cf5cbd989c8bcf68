"""One MCP server: its tools, and the connection while there is one. Only who uses MCP servers loads it."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from mcp.shared.exceptions import MCPError
from mcp_types import CONNECTION_CLOSED
from mcp_types import Tool as ListedTool

from agent.mcp.connection import Connection, connect
from agent.mcp.settings import McpServerSettings
from agent.mcp.tools import LONGEST_DESCRIPTION, find_faults, name_tool, read_result
from agent.text import on_one_line
from agent.tools import Tool, ToolFailed

logger = logging.getLogger(__name__)

#: Seconds in which a server must be connected.
CONNECT_TIMEOUT = 20.0
#: Seconds between two tries to connect: the first, which doubles each time, and the longest.
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
#: Seconds after which the tools are listed although nobody said that they changed: it shows that the server lives.
REFRESH_INTERVAL = 30.0
#: Seconds between two lists, however often a server says that there is another.
SHORTEST_INTERVAL = 1.0
#: Seconds that a call waits for a server that is away.
PATIENCE = 10.0


class McpServer:
    """Keeps itself connected; the tools that it listed last stay offered while it is away."""

    def __init__(self, name: str, settings: McpServerSettings) -> None:
        self.name = name
        self.tools: Sequence[Tool] = ()
        #: Set once it was connected, or could not be.
        self.tried = asyncio.Event()
        self._settings = settings
        self._connection: Connection | None = None
        self._connected = asyncio.Event()
        #: Set when somebody waits for it.
        self._wanted = asyncio.Event()
        #: Since when there is a call that was not answered, and nothing else was either.
        self._silent_since: float | None = None
        #: What it listed last, and of that what is not offered.
        self._found: Sequence[ListedTool] = ()
        self._refused: frozenset[str] = frozenset()

    async def keep_connected(self) -> None:
        """Connect, stay so, and try again, until it is cancelled."""
        wait = FIRST_WAIT
        while True:
            try:
                async with connect(self.name, self._settings, CONNECT_TIMEOUT) as connection:
                    await self._list_tools(connection)
                    wait = FIRST_WAIT
                    await self._follow(connection)
                problem = "it ended the connection"
            except Exception as error:
                problem = self._describe(error)
            finally:
                self._forget()
            self.tried.set()
            logger.warning("mcp %s: not connected: %s. Next try in %.0f s", self.name, problem, wait)
            await self._rest(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    def _forget(self) -> None:
        self._connection = None
        self._connected.clear()

    async def _follow(self, connection: Connection) -> None:
        """Let it be called, and follow what it offers. Returns when it has gone; raises where it does not answer."""
        logger.info("mcp %s: connected, %d tools", self.name, len(self.tools))
        self._connection = connection
        self._connected.set()
        self.tried.set()
        while True:
            await asyncio.sleep(SHORTEST_INTERVAL)
            with suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_INTERVAL):
                    await connection.news.wait()
            connection.news.clear()
            if connection.has_ended:
                return
            try:
                await self._list_tools(connection)
            except TimeoutError:
                # One that does nothing else during a call may still be about to answer it.
                since = self._silent_since
                if since is None or asyncio.get_running_loop().time() - since > self._settings.timeout:
                    raise

    async def _rest(self, seconds: float) -> None:
        """Wait before the next try, and not so long where somebody wants the server."""
        self._wanted.clear()
        await asyncio.sleep(FIRST_WAIT)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds - FIRST_WAIT):
                await self._wanted.wait()

    async def _list_tools(self, connection: Connection) -> None:
        offered: dict[str, Tool] = {}
        refused: dict[str, str] = {}
        found = await connection.list_tools()
        self._silent_since = None
        if found == self._found:
            return
        for listed, fault in zip(found, await asyncio.to_thread(find_faults, found), strict=True):
            if fault is not None:
                refused[listed.name] = fault
            else:
                tool = self._make_tool(listed)
                offered.setdefault(tool.name, tool)
        for name in sorted(refused.keys() - self._refused):
            logger.warning("mcp %s: the tool %.64r cannot be offered: %s", self.name, name, refused[name])
        self._refused = frozenset(refused)
        self._found = found
        self.tools = tuple(offered.values())

    def _make_tool(self, listed: ListedTool) -> Tool:
        return Tool(
            name=name_tool(self.name, listed.name),
            description=(listed.description or listed.title or listed.name)[:LONGEST_DESCRIPTION],
            parameters=listed.input_schema,
            call=partial(self._call, listed.name),
            repeatable=self._settings.repeats(listed.name),
            # What a server says of its own tools, as that they only read, is no reason to trust them.
            needs_approval=self._settings.asks(listed.name),
            time_limit=self._settings.timeout,
        )

    async def _call(self, tool: str, parameters: Mapping[str, Any]) -> Any:
        connection = await self._wait_until_connected()
        if self._silent_since is None:
            self._silent_since = asyncio.get_running_loop().time()
        try:
            result = await connection.call(tool, parameters)
            self._silent_since = None
        except MCPError as error:
            raise ToolFailed("TOOL_FAILED", self._words(error)) from error
        except Exception as error:
            logger.warning("mcp %s: a call of %.64r failed: %s", self.name, tool, self._describe(error))
            raise ToolFailed("TOOL_FAILED", "The tool's result could not be read.") from error
        except BaseException:
            # It may have run out of time: whether the server still answers is asked at once.
            connection.news.set()
            raise
        return read_result(result)

    def _describe(self, error: Exception) -> str:
        return on_one_line(self._settings.redact(_describe(error)), 300)

    def _words(self, error: MCPError) -> str:
        if error.code == CONNECTION_CLOSED:
            return (
                f"The connection to the server of this tool, {self.name}, broke: it is not known whether it was done."
            )
        return self._settings.redact(error.message)[:2000]

    async def _wait_until_connected(self) -> Connection:
        """The connection. Raises `ToolFailed` where there is none soon."""
        if self._connection is not None and self._connection.has_ended:
            self._forget()
        self._wanted.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await self._connected.wait()
        if self._connection is None:
            raise ToolFailed("TOOL_UNAVAILABLE", f"The server of this tool, {self.name}, cannot be reached now.")
        return self._connection


def _describe(error: BaseException) -> str:
    """What went wrong, in few words; of others' errors only the kind, for their texts quote whatever was sent."""
    match error:
        case BaseExceptionGroup():
            return _describe(error.exceptions[0])
        case MCPError():
            return error.message
        case TimeoutError():
            return "it does not answer"
        case OSError(strerror=str(words)):
            return f"{words}: {error.filename}" if error.filename else words
    return type(error).__name__
