"""The one place that joins the rooms."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from agent.anthropic_model import AnthropicModel
from persistence.database import Database, is_unreachable
from persistence.runs import ClaimedRun
from resolvers.context import Context
from resolvers.rate_limit import RateLimit
from runs.live import LiveReplies
from runs.memory import MemoryLiveReplies
from runs.turn import Agent, Turn
from runs.valkey import ValkeyLiveReplies
from runs.worker import Worker
from schema.context import RequestContext
from schema.root import create_schema
from schema.tools import Toolbox
from server.auth import TokenVerifier
from server.graphql_http import GraphQLEndpoint
from server.pages import graphiql_page, page_routes
from server.settings import Settings, require_for_production


def create_app(settings: Settings, *, development_token: str | None = None) -> Starlette:
    """The whole server as an ASGI application, ready to run.

    With a development token, pages have it filled in and GraphiQL is shown. Raises `InvalidSettings`.
    """
    require_for_production(settings)
    assert settings.database_url and settings.jwt_secret and settings.anthropic_api_key

    database = Database(settings.database_url, pool_size=settings.database_pool)
    live: LiveReplies = ValkeyLiveReplies(settings.valkey_url) if settings.valkey_url else MemoryLiveReplies()
    schema = create_schema()
    rate_limit = RateLimit(settings.rate_limit)

    def caller(owner_id: str) -> Context:
        return Context(owner_id, database, worker, rate_limit)

    def connect_model(name: str) -> AnthropicModel:
        assert settings.anthropic_api_key
        return AnthropicModel(
            api_key=settings.anthropic_api_key.get_secret_value(),
            base_url=settings.anthropic_base_url,
            name=name,
            max_output_tokens=settings.max_output_tokens,
        )

    models = [connect_model(settings.model), connect_model(settings.title_model)]
    agent = Agent(
        model=models[0],
        title_model=models[1] if settings.titles else None,
        toolbox=Toolbox(schema, lambda owner_id: RequestContext(caller(owner_id))).tools_of,
        history_messages=settings.history_messages,
        max_steps=settings.max_steps,
        max_attempts=settings.max_attempts,
    )

    def start_turn(run: ClaimedRun) -> Turn:
        return Turn(run, database, live, agent)

    worker = Worker(
        database,
        live,
        start_turn,
        capacity=settings.runs_per_node,
        lease=settings.lease_seconds,
        grace=settings.grace_seconds,
    )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await live.start()
        worker.start()
        try:
            yield
        finally:
            await worker.shut_down()
            await live.close()
            for model in models:
                await model.close()
            await database.close()

    endpoint = GraphQLEndpoint(
        schema,
        TokenVerifier(
            settings.jwt_secret.get_secret_value(),
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
        ),
        caller,
        page=None if development_token is None else lambda: graphiql_page(development_token),
        origins=settings.cors_origins,
    )
    routes: list[BaseRoute] = [
        Route("/graphql", endpoint),
        WebSocketRoute("/graphql", endpoint),
        Route("/healthz", _alive),
        Route("/readyz", _readiness(database, worker)),
        *page_routes(development_token),
    ]
    app = Starlette(routes=routes, middleware=_middleware(settings), lifespan=lifespan)
    #: For whoever stops the server: call it before connections are closed.
    app.state.drain = worker.begin_shut_down
    return app


def _middleware(settings: Settings) -> list[Middleware]:
    if not settings.cors_origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        )
    ]


async def _alive(request: Request) -> Response:
    """The process answers."""
    return JSONResponse({"status": "ok"})


def _readiness(database: Database, worker: Worker) -> Callable[[Request], Awaitable[Response]]:
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
        if problem is None and not worker.is_alive:
            problem = "worker: not taking runs"
        if problem:
            return JSONResponse({"status": problem}, status_code=503)
        return JSONResponse({"status": "ok"})

    return ready
