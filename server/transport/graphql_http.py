"""GraphQL at one address: over HTTP, and the door to the WebSocket."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import timedelta
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.exceptions import ConnectionRejectionError, MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.types import ExecutionResult
from strawberry.types.graphql import OperationType
from strawberry.types.unset import UNSET, UnsetType

from resolvers.context import Context
from resolvers.errors import ClientLeft, RateLimited, Refusal
from schema.context import RequestContext
from schema.direct import TemplateCache
from schema.errors import explain_operation_type
from schema.root import LoquentSchema
from server.auth import Identity, InvalidToken, Verifier
from server.observability.operations import Operation, OperationObserver, request_id
from server.transport.accept import Form, prefers_page, rank_forms
from server.transport.graphql_request import GraphQLRequest, UnreadableRequest, read_request
from server.transport.graphql_response import (
    RefusalResponse,
    encode_json,
    format_error,
    format_result,
    refuse,
    write_result,
)
from server.transport.graphql_ws import TransportWSHandler, WebSocketContext, find_authorization
from server.transport.sockets import OpenSockets, SocketLimits, WebSocketAdapter
from server.transport.streaming import EventFraming, Framing, MultipartFraming, StreamResponse, until_disconnect
from server.transport.trusted_documents import TrustedDocuments

_FRAMINGS: Mapping[Form, Framing] = {Form.EVENTS: EventFraming(), Form.MULTIPART: MultipartFraming()}
#: As logs and figures name them.
_TRANSPORTS: Mapping[Form, str] = {Form.EVENTS: "events", Form.MULTIPART: "multipart"}
_EXPIRY = encode_json([format_error("UNAUTHENTICATED", "The token has ended.")])

#: Seconds after which one who has too many streams open may try again.
STREAM_RETRY = 5


class GraphQLEndpoint(GraphQL[RequestContext, None]):
    """The schema behind HTTP and WebSocket, for callers with a valid token.

    HTTP by https://graphql.github.io/graphql-over-http/draft/, which Strawberry's own view is far from; the
    WebSocket is Strawberry's, with a handler of ours.
    """

    graphql_transport_ws_handler_class = TransportWSHandler
    websocket_adapter_class = WebSocketAdapter

    def __init__(
        self,
        schema: LoquentSchema,
        verifier: Verifier,
        caller: Callable[[str], Context],
        documents: TrustedDocuments,
        observer: OperationObserver,
        *,
        page: Callable[[], Response] | None,
        origins: Sequence[str],
        body_limit: int,
        socket_limits: SocketLimits,
    ) -> None:
        """`page` makes what a browser is shown at this address, None shows nothing; `body_limit` in bytes."""
        super().__init__(
            schema,
            graphql_ide=None,
            subscription_protocols=[GRAPHQL_TRANSPORT_WS_PROTOCOL],
            connection_init_wait_timeout=timedelta(seconds=10),
            allowed_origins=origins,
        )
        self._verifier = verifier
        self._caller = caller
        self._documents = documents
        self.observer = observer
        self._page = page
        self._body_limit = body_limit
        self.socket_limits = socket_limits
        self.templates = TemplateCache(schema)
        self.sockets = OpenSockets(socket_limits.sockets_per_user)
        self._streams: set[StreamResponse] = set()
        self._draining = False

    def break_off_streams(self) -> None:
        """End all streams by HTTP so that their readers come again, to another node; WebSockets are uvicorn's."""
        self._draining = True
        for stream in list(self._streams):
            stream.break_off()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        request = Request(scope, receive)
        if self._page is not None and self._is_for_page(request):
            response = self._page()
        else:
            response = await self._observe(request)
        await response(scope, receive, send)

    async def _observe(self, request: Request) -> Response:
        """Respond, and tell of the operation once it has ended: that of a stream does so later."""
        id = request_id(request.headers.get("x-request-id"))
        operation = self.observer.begin_operation("http", id, request.headers)
        response: Response | None = None
        try:
            response = await self._respond(request, rank_forms(request.headers.get("accept")), operation)
            if isinstance(response, RefusalResponse):
                operation.refuse(response.code)
        except Exception:
            operation.refuse("INTERNAL_SERVER_ERROR")
            raise
        finally:
            if not isinstance(response, StreamResponse):
                self.observer.end_operation(operation)
        response.raw_headers.append((b"x-request-id", id.encode()))
        return response

    async def _respond(self, request: Request, forms: Sequence[Form], operation: Operation) -> Response:
        form = next((form for form in forms if not form.is_stream), Form.ANY_JSON)
        try:
            if request.method not in ("GET", "POST"):
                return refuse(405, "BAD_USER_INPUT", "Use GET or POST.", form=form, headers={"Allow": "GET, POST"})
            identity = await self._verifier.verify(request.headers.get("authorization"))
            if not forms:
                message = "Accept one of application/graphql-response+json, application/json and text/event-stream."
                return refuse(406, "BAD_USER_INPUT", message)
            asked = await read_request(request, self._body_limit)
            query = self._documents.find(asked.payload)
            return await self._execute(request, asked, query, identity, operation, forms, form)
        except InvalidToken:
            message = "A valid bearer token is needed."
            return refuse(401, "UNAUTHENTICATED", message, form=form, headers={"WWW-Authenticate": "Bearer"})
        except UnreadableRequest as error:
            # What was not read whole would be taken for the next request.
            headers = {"Connection": "close"} if error.status in (408, 413) else None
            return refuse(error.status, "BAD_USER_INPUT", str(error), form=form, headers=headers)
        except Refusal as error:
            return refuse(400, error.code, str(error), form=form)

    def _is_for_page(self, request: Request) -> bool:
        asks = not request.query_params.keys().isdisjoint(("query", "documentId", "extensions"))
        return request.method == "GET" and not asks and prefers_page(request.headers.get("accept"))

    async def _execute(
        self,
        request: Request,
        asked: GraphQLRequest,
        query: str,
        identity: Identity,
        operation: Operation,
        forms: Sequence[Form],
        form: Form,
    ) -> Response:
        # A link that somebody follows must not change anything.
        allowed = {OperationType.QUERY} if request.method == "GET" else {OperationType.QUERY, OperationType.MUTATION}
        operation.context = context = RequestContext(self._caller(identity.owner_id))
        context.wait_for = partial(self._wait_for, request, identity.owner_id)
        if forms[0] is Form.EVENTS:
            allowed.add(OperationType.SUBSCRIPTION)
            return self._stream(asked, query, identity, operation, Form.EVENTS, allowed)
        try:
            result = await self.schema.execute(
                query,
                variable_values=asked.variables,
                context_value=context,
                operation_name=asked.operation_name,
                allowed_operation_types=allowed,
            )
        except InvalidOperationTypeError as error:
            subscribes = error.operation_type is OperationType.SUBSCRIPTION
            if subscribes and (stream := next((form for form in forms if form.is_stream), None)):
                return self._stream(asked, query, identity, operation, stream, {OperationType.SUBSCRIPTION})
            explanation = explain_operation_type(error.operation_type)
            if subscribes:
                return refuse(400, "BAD_USER_INPUT", explanation, form=form)
            return refuse(405, "BAD_USER_INPUT", explanation, form=form, headers={"Allow": "POST"})
        except MissingQueryError:
            return refuse(400, "BAD_USER_INPUT", "query: must not be empty", form=form)
        except CannotGetOperationTypeError as error:
            return refuse(400, "BAD_USER_INPUT", error.as_http_error_reason(), form=form)
        operation.note_errors(result.errors)
        return write_result(result, form)

    async def _wait_for(self, request: Request, owner_id: str, work: Coroutine[Any, Any, Any]) -> Any:
        """Do work that takes as long as a reply, counted like a stream. Raises `ClientLeft` and `RateLimited`."""
        if not self.sockets.enter(owner_id):
            work.close()
            raise _too_many_streams()
        working, leaving = asyncio.create_task(work), asyncio.create_task(until_disconnect(request.receive))
        try:
            await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise ClientLeft
            return working.result()
        finally:
            working.cancel()
            leaving.cancel()
            await asyncio.gather(working, leaving, return_exceptions=True)
            self.sockets.leave(owner_id)

    def _stream(
        self,
        asked: GraphQLRequest,
        query: str,
        identity: Identity,
        operation: Operation,
        form: Form,
        allowed: Iterable[OperationType],
    ) -> Response:
        owner_id = identity.owner_id
        operation.transport = _TRANSPORTS[form]
        if self._draining:
            return refuse(503, "CONFLICT", "This server stops: try again.", headers={"Retry-After": "1"})
        if not self.sockets.enter(owner_id):
            refusal = _too_many_streams()
            return refuse(429, refusal.code, str(refusal), retry_after=refusal.retry_after)

        async def results() -> AsyncGenerator[bytes]:
            stream = await self.schema.stream(
                query,
                variable_values=asked.variables,
                context_value=operation.context,
                operation_name=asked.operation_name,
                allowed_operation_types=allowed,
            )
            async with aclosing(stream):
                async for result in stream:
                    # Nothing here is delivered in increments.
                    assert isinstance(result, ExecutionResult)
                    operation.note_errors(result.errors)
                    yield encode_json(format_result(result))

        def close() -> None:
            self._streams.discard(response)
            self.sockets.leave(owner_id)
            self.observer.end_operation(operation)

        response = StreamResponse(
            results(),
            _FRAMINGS[form],
            expires_at=identity.expires_at,
            expiry=_EXPIRY,
            on_close=close,
        )
        self._streams.add(response)
        return response

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> RequestContext:
        return WebSocketContext()

    async def on_ws_connect(self, context: RequestContext) -> UnsetType | None | dict[str, object]:
        assert isinstance(context, WebSocketContext)
        try:
            identity = await self._verifier.verify(find_authorization(context.connection_params))
        except InvalidToken:
            raise ConnectionRejectionError from None
        context.expires_at = identity.expires_at
        context.sign_in(self._caller(identity.owner_id))
        no_payload: UnsetType = UNSET
        return no_payload

    def find_document(self, payload: Mapping[str, Any]) -> str:
        """The text that a request means. Raises `Refusal`."""
        return self._documents.find(payload)


def _too_many_streams() -> RateLimited:
    return RateLimited(STREAM_RETRY, "open streams")
