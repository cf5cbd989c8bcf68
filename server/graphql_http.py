"""GraphQL at one address: over HTTP, and the door to the WebSocket."""

import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import orjson
from cross_web import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.exceptions import ConnectionRejectionError
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.types.unset import UNSET, UnsetType

from agent.text import clean
from resolvers.context import Context
from schema.context import RequestContext
from schema.root import LoquentSchema
from server.auth import InvalidToken, TokenVerifier
from server.graphql_ws import TransportWSHandler, WebSocketContext, find_authorization


class GraphQLEndpoint(GraphQL[RequestContext, None]):
    """The schema behind HTTP and WebSocket, for callers with a valid token."""

    graphql_transport_ws_handler_class = TransportWSHandler

    def __init__(
        self,
        schema: LoquentSchema,
        verifier: TokenVerifier,
        caller: Callable[[str], Context],
        *,
        page: Callable[[], Response] | None,
        origins: Sequence[str],
    ) -> None:
        """`page` makes what a browser is shown at this address; None shows nothing."""
        super().__init__(
            schema,
            graphql_ide="graphiql" if page else None,
            subscription_protocols=[GRAPHQL_TRANSPORT_WS_PROTOCOL],
            connection_init_wait_timeout=timedelta(seconds=10),
            allowed_origins=origins,
        )
        self._verifier = verifier
        self._caller = caller
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        try:
            response = await self.run(Request(scope, receive))
        except InvalidToken:
            response = refuse(401, "UNAUTHENTICATED", "A valid bearer token is needed.")
            response.headers["WWW-Authenticate"] = "Bearer"
        except HTTPException as error:
            response = refuse(error.status_code, "BAD_USER_INPUT", error.reason)
        await response(scope, receive, send)

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> RequestContext:
        if isinstance(request, WebSocket):
            return WebSocketContext()
        if self._page is not None and request.method == "GET" and not request.query_params:
            # A browser that asks for the page has no token yet.
            return RequestContext()
        identity = self._verifier.verify(request.headers.get("authorization"))
        return RequestContext(self._caller(identity.owner_id))

    async def on_ws_connect(self, context: RequestContext) -> UnsetType | None | dict[str, object]:
        assert isinstance(context, WebSocketContext)
        try:
            identity = self._verifier.verify(find_authorization(context.connection_params))
        except InvalidToken:
            raise ConnectionRejectionError from None
        context.expires_at = identity.expires_at
        context.sign_in(self._caller(identity.owner_id))
        no_payload: UnsetType = UNSET
        return no_payload

    async def render_graphql_ide(self, request: Request) -> Response:
        assert self._page is not None
        return self._page()

    def decode_json(self, data: str | bytes) -> object:
        try:
            return super().decode_json(data)
        except RecursionError:
            raise json.JSONDecodeError("It is nested too deep", "", 0) from None

    def parse_json(self, data: str | bytes) -> Any:
        document = super().parse_json(data)
        if not isinstance(document, dict):
            raise HTTPException(400, "The body must be a JSON object.")
        return document

    def encode_json(self, data: object) -> str:
        # Text, not bytes: bytes would go out as binary frames, which the protocol does not know.
        return orjson.dumps(data).decode()


def refuse(status: int, code: str, message: str) -> Response:
    """A request error as GraphQL over HTTP has it: no data, one error."""
    body: dict[str, Any] = {"errors": [{"message": clean(message), "extensions": {"code": code}}]}
    return Response(orjson.dumps(body), status_code=status, media_type="application/json")
