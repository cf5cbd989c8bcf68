"""One connection to an MCP server, by the library. Only who uses MCP servers loads it."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx2
from mcp.client import Client, IncomingMessage
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import Subscription
from mcp_types import CallToolResult, Implementation, Tool, ToolListChangedNotification
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from agent.mcp.bounds import bound_answer
from agent.mcp.settings import McpServerSettings
from agent.mcp.stderr import log_stderr
from agent.mcp.transport import WatchedTransport

#: Seconds for an answer to what is no call, for the list of tools, for an HTTP connection, and for an HTTP goodbye.
REQUEST_TIMEOUT, LIST_TIMEOUT, CONNECT_TIMEOUT, GOODBYE_TIMEOUT = 10.0, 8.0, 5.0, 2.0
#: Seconds between two bytes of an HTTP answer; the time of a call is limited elsewhere.
SILENCE = 660.0
#: Pages of the list of tools, and tools.
MOST_PAGES, MOST_TOOLS = 20, 200

# It logs a traceback for each line that is no message, with all that is in it. What matters comes as an exception.
logging.getLogger("mcp").setLevel(logging.CRITICAL)


class Connection:
    """A server that can be asked."""

    def __init__(self, client: Client, news: asyncio.Event, ended: asyncio.Event) -> None:
        self._client = client
        #: Set when the tools are others, when the connection has ended and when somebody doubts that it works.
        self.news = news
        self._ended = ended

    @property
    def has_ended(self) -> bool:
        return self._ended.is_set()

    async def list_tools(self) -> list[Tool]:
        """All tools, up to a number. Raises `TimeoutError`, and what the library and the network raise."""
        tools: list[Tool] = []
        cursor: str | None = None
        async with asyncio.timeout(LIST_TIMEOUT):
            for _ in range(MOST_PAGES):
                page = await self._client.list_tools(cursor=cursor)
                tools += page.tools
                cursor = page.next_cursor
                if cursor is None or len(tools) >= MOST_TOOLS:
                    break
        return tools[:MOST_TOOLS]

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> CallToolResult:
        """Call a tool, for as long as that takes. Raises what the library and the network raise."""
        return await self._client.call_tool(tool, dict(arguments), read_timeout_seconds=SILENCE)


@asynccontextmanager
async def connect(name: str, server: McpServerSettings, timeout: float) -> AsyncIterator[Connection]:
    """Connect within `timeout` seconds; at the end the server's process has ended. Raises what goes wrong."""
    news, ended = asyncio.Event(), asyncio.Event()

    async def hear(message: IncomingMessage) -> None:
        if isinstance(message, ToolListChangedNotification):
            news.set()

    def end() -> None:
        ended.set()
        news.set()

    transport = _run_program(name, server) if server.command is not None else _open_address(server)
    client = Client(
        WatchedTransport(transport, end),
        read_timeout_seconds=REQUEST_TIMEOUT,
        message_handler=hear,
        client_info=Implementation(name="loquent", version="1"),
        cache=None,
    )
    async with asyncio.timeout(timeout) as limit, client:
        limit.reschedule(None)
        listening = asyncio.create_task(_listen(client, news))
        try:
            yield Connection(client, news, ended)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


async def _listen(client: Client, news: asyncio.Event) -> None:
    """Hear of other tools where the protocol wants a subscription for it."""
    if client.protocol_version not in MODERN_PROTOCOL_VERSIONS:
        return
    # One that is refused or breaks is not missed: the tools are listed from time to time anyway.
    with suppress(Exception):
        async with client.listen(tools_list_changed=True) as subscription:
            await _pass_on(subscription, news)


async def _pass_on(subscription: Subscription, news: asyncio.Event) -> None:
    async for _ in subscription:
        news.set()


@asynccontextmanager
async def _run_program(name: str, server: McpServerSettings) -> AsyncGenerator[Any]:
    assert server.command is not None
    program = StdioServerParameters(
        command=server.command,
        args=list(server.args),
        env=dict(server.env),
        cwd=server.cwd,
        encoding_error_handler="replace",
    )
    async with log_stderr(name, server.redact) as stderr, stdio_client(program, errlog=stderr) as streams:
        yield streams


@asynccontextmanager
async def _open_address(server: McpServerSettings) -> AsyncGenerator[Any]:
    assert server.url is not None
    async with (
        httpx2.AsyncClient(
            headers={"Accept-Encoding": "identity", **server.headers},
            timeout=httpx2.Timeout(CONNECT_TIMEOUT, read=SILENCE),
            event_hooks={"request": [_hurry], "response": [bound_answer]},
        ) as client,
        streamable_http_client(server.url, http_client=client) as streams,
    ):
        yield streams


async def _hurry(request: httpx2.Request) -> None:
    """A goodbye is not waited for."""
    if request.method == "DELETE":
        request.extensions["timeout"] = httpx2.Timeout(GOODBYE_TIMEOUT).as_dict()
