"""The one place that joins the rooms."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from agent.deferred_model import ConnectedModel, DeferredModel
from agent.mcp.servers import McpServers
from agent.model import OfferedModels
from agent.prompt import SYSTEM_PROMPT
from persistence.database import Database, is_unreachable
from persistence.runs import ClaimedRun
from resolvers.context import Context
from resolvers.rate_limit import RateLimit
from runs.live import LiveReplies
from runs.memory import MemoryLiveReplies
from runs.turn import Agent, Turn
from runs.worker import Worker
from schema.context import RequestContext
from schema.limits import DocumentLimits
from schema.root import create_schema
from schema.tools import Toolbox
from server.auth import Verifier, create_verifier
from server.observability.node_figures import Node, SharedLive
from server.observability.observer import Observability
from server.pages import PAGE_DOCUMENTS, graphiql_page, page_routes
from server.settings import InvalidSettings, Settings, require_for_production
from server.transport.graphql_http import GraphQLEndpoint
from server.transport.graphql_response import refuse
from server.transport.headers import DEFAULTS, DefaultHeaders
from server.transport.sockets import SocketLimits
from server.transport.trusted_documents import InvalidManifest, TrustedDocuments, load_manifest


def create_app(settings: Settings, *, development_token: str | None = None) -> Starlette:
    """The whole server as an ASGI application, ready to run.

    With a development token, pages have it filled in and GraphiQL is shown. Raises `InvalidSettings`.
    """
    require_for_production(settings)
    assert settings.database_url and settings.anthropic_api_key

    observability = Observability(settings)
    documents = TrustedDocuments(_load_trusted_documents(settings))
    database = Database(settings.database_url, pool_size=settings.database_pool)
    live, rate_limit = _share(settings)
    schema = create_schema(_document_limits(settings), introspection=settings.introspection)
    verifier = create_verifier(
        secret=settings.jwt_secret.get_secret_value() if settings.jwt_secret else None,
        jwks_url=settings.jwks_url,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        longest_life=settings.jwt_longest_life,
    )

    def caller(owner_id: str) -> Context:
        return Context(owner_id, database, worker, rate_limit, models, settings.tokens_per_day)

    models = OfferedModels(tuple(dict.fromkeys((settings.model, *settings.models))))
    fields = Toolbox(schema, lambda owner_id: RequestContext(caller(owner_id)))
    mcp_servers = McpServers(settings.mcp_servers)
    model = DeferredModel(lambda: _connect_model(settings))
    agent = Agent(
        model=model,
        models=models,
        title_model=settings.title_model if settings.titles else None,
        toolbox=lambda owner_id: [*fields.tools_of(owner_id), *mcp_servers.tools],
        history_messages=settings.history_messages,
        max_steps=settings.max_steps,
        max_attempts=settings.max_attempts,
        prompt=settings.system_prompt or SYSTEM_PROMPT,
    )

    def start_turn(run: ClaimedRun) -> Turn:
        return Turn(run, database, live, agent, observability)

    worker = Worker(
        database,
        live,
        start_turn,
        capacity=settings.runs_per_node,
        lease=settings.lease_seconds,
        grace=settings.grace_seconds,
    )

    async def wait_until_loaded() -> None:
        await model.wait()

    async def start_worker() -> None:
        # Not before: a run that is claimed by a node without a model could only fail.
        await wait_until_loaded()
        # A reply that goes on here may wait for a tool of theirs.
        await mcp_servers.wait_for_first_try()
        worker.start()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await observability.start()
        await live.start()
        verifier.start()
        model.start()
        mcp_servers.start()
        starting = asyncio.create_task(start_worker())
        try:
            yield
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            await worker.shut_down()
            await live.close()
            await rate_limit.close()
            await verifier.close()
            await mcp_servers.close()
            await model.close()
            await database.close()
            await observability.close()

    endpoint = GraphQLEndpoint(
        schema,
        verifier,
        caller,
        documents,
        observability,
        page=None if development_token is None else lambda: graphiql_page(development_token),
        origins=settings.cors_origins,
        body_limit=settings.body_bytes,
        socket_limits=SocketLimits(
            sockets_per_user=settings.sockets_per_user,
            operations_per_socket=settings.operations_per_socket,
            operations_per_second=settings.operations_per_second,
        ),
    )
    metrics_page = observability.watch(
        Node(
            database,
            worker,
            live,
            subscriptions=lambda: schema.open_subscriptions,
            sockets=lambda: endpoint.sockets.total,
            valkey=live if isinstance(live, SharedLive) else None,
        )
    )
    routes: list[BaseRoute] = [
        Route("/graphql", endpoint),
        WebSocketRoute("/graphql", endpoint),
        Route("/healthz", _alive),
        Route("/readyz", _readiness(database, worker, verifier, model)),
        Route("/metrics", metrics_page.respond),
        *page_routes(development_token),
    ]
    for route in routes:
        if isinstance(route, Route | WebSocketRoute):
            # Its `$` lets a line's end follow: `/metrics%0a` would pass a proxy that keeps `/metrics` inside.
            route.path_regex = re.compile(route.path_regex.pattern.removesuffix("$") + r"\Z")
    app = Starlette(
        routes=routes, middleware=_middleware(settings), lifespan=lifespan, exception_handlers={Exception: _fail}
    )

    def drain() -> None:
        worker.begin_shut_down()
        endpoint.break_off_streams()

    #: For whoever runs the server. Call the first before connections are closed; what the second waits for is loaded
    #: while the server serves, and it raises what went wrong.
    app.state.drain = drain
    app.state.wait_until_loaded = wait_until_loaded
    return app


def _connect_model(settings: Settings) -> ConnectedModel:
    # Here, since the SDK takes longer to load than all the rest: it does while others are served.
    from agent.anthropic.model import AnthropicModel

    assert settings.anthropic_api_key
    return AnthropicModel(
        api_key=settings.anthropic_api_key.get_secret_value(),
        base_url=settings.anthropic_base_url,
        max_output_tokens=settings.max_output_tokens,
    )


def _share(settings: Settings) -> tuple[LiveReplies, RateLimit]:
    """What nodes have in common through Valkey, or a process for itself."""
    if settings.valkey_url is None:
        return MemoryLiveReplies(), RateLimit(settings.rate_limit)
    # Here, since a process for itself does without the client of Valkey.
    from resolvers.shared_windows import SharedWindows
    from runs.valkey import ValkeyLiveReplies

    return ValkeyLiveReplies(settings.valkey_url), RateLimit(settings.rate_limit, SharedWindows(settings.valkey_url))


def _middleware(settings: Settings) -> list[Middleware]:
    middleware = [Middleware(DefaultHeaders)]
    if settings.cors_origins:
        cors = Middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-Request-Id", "traceparent", "tracestate"],
            expose_headers=["X-Request-Id"],
            max_age=7200,
        )
        middleware.append(cors)
    return middleware


def _document_limits(settings: Settings) -> DocumentLimits:
    return DocumentLimits(
        tokens=settings.document_tokens,
        depth=settings.document_depth,
        aliases=settings.document_aliases,
        root_fields=settings.document_root_fields,
        directives=settings.document_directives,
        cost=settings.document_cost,
    )


def _load_trusted_documents(settings: Settings) -> dict[str, str] | None:
    """The documents by id, where only those may run, the own pages' among them. Raises `InvalidSettings`."""
    if settings.trusted_documents is None:
        return None
    try:
        return load_manifest(PAGE_DOCUMENTS) | load_manifest(settings.trusted_documents)
    except InvalidManifest as error:
        raise InvalidSettings(f"LOQUENT_TRUSTED_DOCUMENTS: the file {error}") from None


async def _fail(request: Request, error: Exception) -> Response:
    """Answers for what nobody expected, with nothing of it; uvicorn logs it. No other headers would be added here."""
    response = refuse(500, "INTERNAL_SERVER_ERROR", "Something went wrong on the server.")
    response.headers.update(DEFAULTS)
    return response


async def _alive(request: Request) -> Response:
    """The process answers."""
    return JSONResponse({"status": "ok"})


def _readiness(
    database: Database, worker: Worker, verifier: Verifier, model: DeferredModel
) -> Callable[[Request], Awaitable[Response]]:
    async def ready(request: Request) -> Response:
        """Whether this node should be sent requests; says which part is not ready."""
        try:
            async with asyncio.timeout(5):
                migrated = await database.is_migrated()
            problem = None if migrated else "database: not migrated"
        except Exception as error:
            if not is_unreachable(error):
                raise
            problem = "database: not reachable"
        if problem is None and not model.is_ready:
            problem = "model: its client is not loaded"
        if problem is None and not worker.is_alive:
            problem = "worker: not taking runs"
        if problem is None and not verifier.is_ready:
            problem = "tokens: no key set has been fetched"
        if problem:
            return JSONResponse({"status": problem}, status_code=503)
        return JSONResponse({"status": "ok"})

    return ready
