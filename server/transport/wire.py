"""What lies below ASGI for HTTP and WebSockets alike: small pieces, refusals, connections that end in time."""

import asyncio
from http import HTTPStatus
from typing import Any, Protocol

from server.transport.graphql_response import encode_json, format_error
from server.transport.headers import DEFAULTS
from server.transport.sockets import CLOSE_TIMEOUT

#: Bytes that are parsed before anything is counted: uvloop hands over 256 kB at once, which is 40,000 frames.
PIECE = 4096


class Connection(Protocol):
    """uvicorn's protocol of a connection."""

    connections: set[Any]
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport


def format_refusal(status: HTTPStatus, message: str) -> bytes:
    """A whole answer, as the application refuses requests; the connection ends after it."""
    body = encode_json({"errors": [format_error("BAD_USER_INPUT", message)]})
    headers = {
        **DEFAULTS,
        "Content-Type": "application/json; charset=utf-8",
        "Content-Length": str(len(body)),
        "Connection": "close",
    }
    lines = [f"HTTP/1.1 {status} {status.phrase}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + body


def close(protocol: Connection) -> None:
    """Close its connection, if need be before the client has read everything: it may never read."""
    protocol.transport.close()
    protocol.loop.call_later(CLOSE_TIMEOUT, abort, protocol)


def abort(protocol: Connection) -> None:
    """End its connection at once."""
    # asyncio fails to abort a connection that has ended already.
    if protocol in protocol.connections:
        protocol.transport.abort()
