"""GraphQL over WebSocket: signing in, and the end of a token."""

import asyncio
import time
from typing import Any

from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler
from strawberry.subscriptions.protocols.graphql_transport_ws.types import ConnectionInitMessage

from schema.context import RequestContext


class WebSocketContext(RequestContext):
    """The context of one socket: it signs in with `connection_init`."""

    #: When its token ends, in seconds since 1970.
    expires_at: float = 0


class TransportWSHandler(BaseGraphQLTransportWSHandler[RequestContext, None]):
    """graphql-transport-ws, as Strawberry has it, but for tokens that end while a socket is open."""

    _expiry: asyncio.TimerHandle | None = None
    _closing: asyncio.Task[None] | None = None

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


def find_authorization(payload: dict[str, Any] | None) -> object:
    """The token of a `connection_init` payload, under `Authorization` in any case."""
    return next((value for name, value in (payload or {}).items() if name.lower() == "authorization"), None)
