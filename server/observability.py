"""What an operator sees of a running server."""

from collections.abc import Awaitable, Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from schema.root import LoquentSchema


def metrics_endpoint(schema: LoquentSchema) -> Callable[[Request], Awaitable[Response]]:
    """Answers with this process's figures, in the text format of Prometheus."""
    registry = CollectorRegistry()
    Gauge("loquent_open_subscriptions", "Subscriptions that are running.", registry=registry).set_function(
        lambda: schema.open_subscriptions
    )

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return metrics
