"""GraphQL over WebSocket: signing in, and the end of a token."""

import asyncio
import time
from typing import Any

from starlette.websockets import WebSocketDisconnect
from strawberry.http.exceptions import WebSocketDisconnected
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler
from strawberry.subscriptions.protocols.graphql_transport_ws.types import ConnectionInitMessage, Message

from agent.text import clean
from schema.context import RequestContext


class WebSocketContext(RequestContext):
    """The context of one socket: it signs in with `connection_init`."""

    #: When its token ends, in seconds since 1970.
    expires_at: float = 0


class TransportWSHandler(BaseGraphQLTransportWSHandler[RequestContext, None]):
    """graphql-transport-ws, as Strawberry has it, but for tokens that end while a socket is open."""

    _expiry: asyncio.TimerHandle | None = None
    _closing: asyncio.Task[None] | None = None

    async def handle_message(self, message: Message) -> None:
        if not _is_well_formed(message):
            await self.handle_invalid_message("Failed to parse message")
            return
        await super().handle_message(message)

    async def handle_task_exception(self, error: Exception) -> None:
        # Who leaves in the middle of an answer is no failure.
        if not isinstance(error, WebSocketDisconnected | WebSocketDisconnect):
            await super().handle_task_exception(error)

    async def handle_connection_init(self, message: ConnectionInitMessage) -> None:
        if message.get("payload") is None:
            # No payload, no token: refused like any other bad one, not as a malformed message.
            message["payload"] = {}
        await super().handle_connection_init(message)
        # A second one is refused, but the socket stays acknowledged until it is closed.
        if self._expiry is None and self.connection_acknowledged and isinstance(self.context, WebSocketContext):
            loop = asyncio.get_running_loop()
            self._expiry = loop.call_later(max(0, self.context.expires_at - time.time()), self._expire)

    async def shutdown(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        await super().shutdown()

    def _expire(self) -> None:
        self._closing = asyncio.create_task(self.websocket.close(code=4403, reason="Forbidden"))


def _is_well_formed(message: Any) -> bool:
    """Whether a message has the shape that the protocol wants, so far as the library takes it for granted."""
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        return False
    if message["type"] in ("connection_init", "ping", "pong"):
        return True
    id = message.get("id")
    if not isinstance(id, str) or clean(id) != id:
        return False
    if message["type"] != "subscribe":
        return True
    payload = message.get("payload")
    if not isinstance(payload, dict) or not isinstance(payload.get("query"), str):
        return False
    variables, name = payload.get("variables"), payload.get("operationName")
    return (variables is None or isinstance(variables, dict)) and (name is None or isinstance(name, str))


def find_authorization(payload: dict[str, Any] | None) -> object:
    """The token of a `connection_init` payload, under `Authorization` in any case."""
    return next((value for name, value in (payload or {}).items() if name.lower() == "authorization"), None)
