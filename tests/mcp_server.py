"""An MCP server for tests, over its standard input or on a port of this machine: `python -m tests.mcp_server …`."""

import argparse
import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import mcp_types as types
import uvicorn
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged
from mcp.shared.exceptions import MCPError

TEXT = {"type": "object", "properties": {"text": {"type": "string"}}}
NOTHING: dict[str, Any] = {"type": "object", "properties": {}}

TOOLS: dict[str, dict[str, Any]] = {
    "echo": TEXT,
    "note": TEXT,
    "fail": NOTHING,
    "structured": NOTHING,
    "picture": NOTHING,
    "huge": NOTHING,
    "huge_structured": NOTHING,
    "environment": NOTHING,
    "hang": NOTHING,
    "toil": NOTHING,
    "die": NOTHING,
    "complain": TEXT,
    "learn": NOTHING,
    "trap": NOTHING,
}
#: By this a short result may be checked for minutes.
TRAP = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}
#: Names and schemas that the Messages API refuses.
STRANGE: dict[str, dict[str, Any]] = {
    "dotted.name": NOTHING,
    "dotted/name": NOTHING,
    "long_" + "x" * 100: NOTHING,
    "grüße": NOTHING,
    "combined": {"type": "object", "oneOf": [NOTHING]},
    "invalid": {"type": "object", "properties": {"x": {"type": "nonsense"}}},
    "bad_key": {"type": "object", "properties": {"a b": {"type": "string"}}},
    "too_large": {"type": "object", "description": "x" * 40_000},
}

bus = InMemorySubscriptionBus()
learned: list[str] = []
refusal: str | None = None


def text(said: str, **more: Any) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=said)], **more)


async def list_tools(context: Any, params: Any) -> types.ListToolsResult:
    if refusal is not None:
        raise MCPError(-32000, refusal)
    if (page := params.cursor if params else None) is None:
        offered = {**TOOLS, **dict.fromkeys(learned, NOTHING)}
        following = "strange"
    else:
        assert page == "strange"
        offered, following = STRANGE, None
    tools = [
        types.Tool(
            name=name,
            description=f"Does {name}.",
            input_schema=schema,
            output_schema=TRAP if name == "trap" else None,
        )
        for name, schema in offered.items()
    ]
    return types.ListToolsResult(tools=tools, next_cursor=following)


async def call_tool(context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    said = str((params.arguments or {}).get("text", ""))
    match params.name:
        case "echo":
            return text(said)
        case "note":
            with Path(os.environ["NOTES"]).open("a") as notes:
                notes.write(f"{said}\n")
            return text("Noted.")
        case "fail":
            return text("There is no such file.", is_error=True)
        case "structured":
            return text('{"a": 1}', structured_content={"a": 1, "nul": "\0"})
        case "picture":
            blob = types.BlobResourceContents(uri="file:///a.bin", blob="AAAA")
            return types.CallToolResult(
                content=[
                    types.TextContent(text="Look:"),
                    types.ImageContent(data="AAAAAAAA", mime_type="image/png"),
                    types.AudioContent(data="AAAA", mime_type="audio/wav"),
                    types.ResourceLink(name="a", uri="file:///a.txt"),
                    types.EmbeddedResource(resource=types.TextResourceContents(uri="file:///b.txt", text="bee")),
                    types.EmbeddedResource(resource=blob),
                ]
            )
        case "huge":
            return text("x" * 700_000)
        case "huge_structured":
            return text("", structured_content={"x": "y" * 700_000})
        case "environment":
            return text("\n".join(sorted(os.environ)))
        case "hang":
            await asyncio.sleep(3600)
        case "toil":
            # Nothing else is answered meanwhile.
            time.sleep(4)
            return text("Done.")
        case "die":
            os._exit(1)
        case "complain":
            print(said, file=sys.stderr, flush=True)
            return text("Said.")
        case "learn":
            learned.append("learned")
            await bus.publish(ToolsListChanged())
            await context.session.send_tool_list_changed()
            return text("Learned.")
        case "trap":
            return text("", structured_content={"a": "a" * 20 + "!"})
    return text(f"Did {params.name}.")


def make_server() -> Server[Any]:
    return Server("test", on_list_tools=list_tools, on_call_tool=call_tool, on_subscriptions_listen=ListenHandler(bus))


async def serve_stdio(server: Server[Any]) -> None:
    options = server.create_initialization_options(NotificationOptions(tools_changed=True))
    async with stdio_server() as (read, write):
        await server.run(read, write, options)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--token", help="what the header Authorization must be")
    parser.add_argument("--pid", type=Path, help="where to write the process id")
    parser.add_argument("--silent", action="store_true", help="never answer")
    parser.add_argument("--refusal", type=Path, help="a file: what to say in place of the list of tools")
    parser.add_argument("--stubborn", action="store_true", help="do not end when asked to")
    chosen = parser.parse_args()
    global refusal
    refusal = chosen.refusal and chosen.refusal.read_text()
    if chosen.pid:
        with chosen.pid.open("a") as file:
            file.write(f"{os.getpid()}\n")
    if chosen.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if chosen.silent:
        signal.pause()
    server = make_server()
    if chosen.port is None:
        asyncio.run(serve_stdio(server))
        if chosen.stubborn:
            signal.pause()
        return
    app = server.streamable_http_app()

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        given = dict(scope.get("headers", ())).get(b"authorization", b"").decode()
        if scope["type"] == "http" and chosen.token and given != chosen.token:
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await app(scope, receive, send)

    uvicorn.run(guarded, host="127.0.0.1", port=chosen.port, log_level="warning")


if __name__ == "__main__":
    main()
