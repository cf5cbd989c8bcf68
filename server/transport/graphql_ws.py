"""GraphQL over WebSocket, by the protocol graphql-transport-ws.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

import asyncio
import logging
import math
import time
from collections.abc import Mapping
from contextlib import aclosing, suppress
from contextvars import copy_context
from functools import partial
from typing import Any, Protocol

from graphql import GraphQLError, OperationType
from strawberry.exceptions import ConnectionRejectionError
from strawberry.http.exceptions import WebSocketDisconnected
from strawberry.schema.schema import StreamResult
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler, Operation
from strawberry.subscriptions.protocols.graphql_transport_ws.types import (
    ConnectionAckMessage,
    ConnectionInitMessage,
    Message,
    PingMessage,
    SubscribeMessage,
)
from strawberry.types import ExecutionResult
from strawberry.types.unset import UnsetType

from resolvers.errors import RateLimited
from runs.follow import Deliver
from schema.context import RequestContext
from schema.direct import TemplateCache, deliver_text
from schema.errors import code_errors
from schema.scalars import StreamCursors
from server.observability.operations import Operation as ObservedOperation
from server.observability.operations import OperationObserver, request_id, trace_parent
from server.transport.graphql_response import encode_json, format_result, is_executed
from server.transport.sockets import (
    CLOSE_TIMEOUT,
    TOO_MANY_REQUESTS,
    OpenSockets,
    SocketLimits,
    TokenBucket,
    WebSocketAdapter,
    find_problem,
)

logger = logging.getLogger(__name__)

FORBIDDEN = 4403
# Clients made with graphql-ws come back after this one, later each time. 4429 is final for them, and so are 1011 and
# 4500.
TRY_AGAIN_LATER = 1013

#: How every message with data begins; the operation's id is its end.
DATA_HEAD = b'{"type":"next","payload":{"data":'


class WebSocketContext(RequestContext):
    """The context of one socket: it signs in with `connection_init`."""

    #: When its token ends, in seconds since 1970.
    expires_at: float = 0


class View(Protocol):
    """What the handler asks of the endpoint, besides what Strawberry does."""

    socket_limits: SocketLimits
    sockets: OpenSockets
    templates: TemplateCache
    observer: OperationObserver

    def find_document(self, payload: Mapping[str, Any]) -> str:
        """The text that `query`, `documentId` or `extensions` ask for. Raises `Refusal`."""


class TransportWSHandler(BaseGraphQLTransportWSHandler[RequestContext, None]):
    """One socket: who is behind it, what it may ask for, and when it ends."""

    websocket: WebSocketAdapter

    def __init__(self, view: Any, **more: Any) -> None:
        # Strawberry would refuse what is too much without a code.
        super().__init__(view, **{**more, "max_subscriptions_per_connection": None})
        self._view: View = view
        limits = self._view.socket_limits
        burst = max(limits.operations_per_second, limits.operations_per_socket)
        self._beginnings = TokenBucket(limits.operations_per_second, burst)
        self._owner_id: str | None = None
        #: Each operation has a number on its socket.
        self._request_id = request_id(self.websocket.ws.headers.get("x-request-id"))
        self._operations_begun = 0
        self._signing_in: asyncio.Task[None] | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None

    async def handle(self) -> None:
        loop = asyncio.get_running_loop()
        lifetime = asyncio.timeout(None)
        # A client that reads nothing keeps whoever sends to it waiting, and would have its operations for ever.
        self.websocket.on_close = lambda: lifetime.reschedule(loop.time() + CLOSE_TIMEOUT)
        try:
            async with lifetime:
                await super().handle()
        except TimeoutError:
            if not lifetime.expired():
                raise

    async def shutdown(self) -> None:
        for timer in (self._expiry, self._signing_in, self._closing):
            if timer is not None:
                timer.cancel()
        try:
            await super().shutdown()
        finally:
            if self._owner_id is not None:
                self._view.sockets.leave(self._owner_id)
            if self.websocket.close_code is not None:
                self._view.observer.note_closed_socket(self.websocket.close_code)

    async def handle_message(self, message: Message) -> None:
        if problem := find_problem(message):
            await self.handle_invalid_message(problem)
        else:
            await super().handle_message(message)

    async def handle_connection_init(self, message: ConnectionInitMessage) -> None:
        if self.connection_init_received:
            await self.websocket.close(TOO_MANY_REQUESTS, "Too many initialisation requests")
            return
        self.connection_init_received = True
        if self.connection_init_timeout_task is not None:
            self.connection_init_timeout_task.cancel()
            self.connection_init_timeout_task = None
        self.context.connection_params = message.get("payload") or {}
        # Beside the messages that follow: none of them waits until the token is verified, or passes for signed in.
        self._signing_in = asyncio.create_task(self._sign_in())

    async def _sign_in(self) -> None:
        try:
            async with asyncio.timeout(self.connection_init_wait_timeout.total_seconds()):
                payload = await self.view.on_ws_connect(self.context)
        except ConnectionRejectionError:
            await self.websocket.close(FORBIDDEN, "Forbidden")
            return
        except Exception:
            logger.exception("a token could not be verified")
            await self.websocket.close(TRY_AGAIN_LATER, "The token could not be verified")
            return
        if not self._view.sockets.enter(self.context.caller.owner_id):
            await self.websocket.close(TRY_AGAIN_LATER, "Too many sockets")
            return
        self._owner_id = self.context.caller.owner_id
        self._end_with_token()
        acknowledgement: ConnectionAckMessage = {"type": "connection_ack"}
        if not isinstance(payload, UnsetType):
            acknowledgement["payload"] = payload
        with suppress(WebSocketDisconnected):
            await self.send_message(acknowledgement)
            self.connection_acknowledged = True
        self._signing_in = None

    def _end_with_token(self) -> None:
        assert isinstance(self.context, WebSocketContext)
        left = max(0, self.context.expires_at - time.time())
        self._expiry = asyncio.get_running_loop().call_later(left, self._expire)

    def _expire(self) -> None:
        self._closing = asyncio.create_task(self.websocket.close(FORBIDDEN, "Forbidden"))

    async def handle_ping(self, message: PingMessage) -> None:
        payload = message.get("payload")
        try:
            await self.send_message({"type": "pong", "payload": payload} if payload else {"type": "pong"})
        except TypeError:
            # JSON can carry what cannot be written again: half a surrogate pair, a number without end.
            await self.send_message({"type": "pong"})

    async def handle_subscribe(self, message: SubscribeMessage) -> None:
        payload: dict[str, Any] = dict(message["payload"])
        # An operation before the sign-in, and a second one of the same id, end the socket: that comes first.
        if self.connection_acknowledged and message["id"] not in self.operations:
            try:
                self._admit()
                payload["query"] = self._view.find_document(payload)
            except Exception as error:
                # Not in the context of this task, which goes on.
                refused = copy_context().run(self._begin_operation)
                refused.context = self.context
                errors = _format_errors(error, refused)
                self._view.observer.end_operation(refused)
                await self.send_message({"id": message["id"], "type": "error", "payload": errors})
                return
        # An empty name is none: some clients send it.
        payload["operationName"] = payload.get("operationName") or None
        await super().handle_subscribe({**message, "payload": payload})  # type: ignore[typeddict-item]

    def _admit(self) -> None:
        """Count one more operation. Raises `RateLimited` or `GraphQLError` where it is too much."""
        if wait := self._beginnings.take():
            raise RateLimited(max(1, math.ceil(wait)), "operations in one second on this socket")
        if len(self.operations) >= self._view.socket_limits.operations_per_socket:
            problem = "Too many operations at the same time on this socket: complete one first."
            raise GraphQLError(problem, extensions={"code": "RATE_LIMITED"})

    def _begin_operation(self) -> ObservedOperation:
        self._operations_begun += 1
        id = f"{self._request_id}-{self._operations_begun}"
        return self._view.observer.begin_operation("websocket", id, trace_parent(self.context.connection_params))

    async def run_operation(self, operation: Operation[RequestContext, None]) -> None:
        observed = self._begin_operation()
        observed.context = context = self.context.of_operation(partial(self._deliver, operation))
        try:
            await self._run_operation(operation, observed, context)
        finally:
            self._view.observer.end_operation(observed)

    async def _run_operation(
        self, operation: Operation[RequestContext, None], observed: ObservedOperation, context: RequestContext
    ) -> None:
        try:
            results = await self.schema.stream(
                operation.query,
                variable_values=operation.variables,
                context_value=context,
                root_value=self.root_value,
                operation_name=operation.operation_name,
            )
            async with aclosing(results):
                await self._send_results(operation, results, observed)
            await operation.send_operation_message({"id": operation.id, "type": "complete"})
        except WebSocketDisconnected:
            # Who leaves in the middle of an answer is no failure.
            pass
        except Exception as error:
            with suppress(WebSocketDisconnected):
                await operation.send_operation_message(
                    {"id": operation.id, "type": "error", "payload": _format_errors(error, observed)}
                )

    async def _send_results(
        self, operation: Operation[RequestContext, None], results: StreamResult, observed: ObservedOperation
    ) -> None:
        async for result in results:
            # Nothing here is delivered in increments.
            assert isinstance(result, ExecutionResult)
            observed.note_errors(result.errors)
            if result.errors and not is_executed(result):
                await operation.send_initial_errors(result.errors)
            elif observed.type == OperationType.SUBSCRIPTION.value:
                await operation.send_next(result)
                # A replay that is all there never waits: without this its client could not end it in the middle.
                await asyncio.sleep(0)
            else:
                await self._send_only(operation, result)

    async def _send_only(self, operation: Operation[RequestContext, None], result: ExecutionResult) -> None:
        """Send the result of a query or a mutation, in one piece with `complete` unless the client is slow."""
        if not operation.completed and self.websocket.send_at_once(
            encode_json({"type": "next", "payload": format_result(result), "id": operation.id}),
            encode_json({"type": "complete", "id": operation.id}),
        ):
            operation.completed = True
            self.forget_id(operation.id)
        else:
            # As long as it waits the operation counts, and can be ended.
            await operation.send_next(result)

    def _deliver(self, operation: Operation[RequestContext, None], cursors: StreamCursors) -> Deliver | None:
        """How the operation is sent text deltas of the cursors' message, which need not be executed."""
        templates = self._view.templates.find(operation.query, operation.operation_name, operation.variables)
        if templates is None:
            return None
        send_at_once, tail = self.websocket.send_at_once, b'},"id":%b}' % encode_json(operation.id)

        def send(data: bytes) -> bool:
            return not operation.completed and send_at_once(DATA_HEAD + data + tail)

        return deliver_text(templates, cursors, send)

    async def send_message(self, message: Message) -> None:
        if message["type"] == "next":
            # In the order of `DATA_HEAD`, so that all results look alike on the wire.
            message = {"type": "next", "payload": message["payload"], "id": message["id"]}
        await super().send_message(message)

    async def cleanup_operation(self, operation_id: str) -> None:
        if operation := self.operations.get(operation_id):
            # The id is free again: nothing more may be sent under it, whatever the operation still does.
            operation.completed = True
        await super().cleanup_operation(operation_id)


def _format_errors(error: Exception, observed: ObservedOperation) -> Any:
    errors = [error if isinstance(error, GraphQLError) else GraphQLError("", original_error=error)]
    code_errors(errors)
    observed.note_errors(errors)
    return [error.formatted for error in errors]


def find_authorization(payload: dict[str, Any] | None) -> object:
    """The token of a `connection_init` payload, under `Authorization` in any case."""
    return next((value for name, value in (payload or {}).items() if name.lower() == "authorization"), None)
