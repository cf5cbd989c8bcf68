"""Running the application under uvicorn, until a signal ends it."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette

from server.app import create_app
from server.settings import Settings

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def serve(settings: Settings) -> int:
    """Serve users until SIGTERM or SIGINT. Raises `InvalidSettings`."""
    configure_logging()
    return run(run_server(create_app(settings), settings))


def configure_logging() -> None:
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stderr)
    # Every request to the model would be a line.
    logging.getLogger("httpx2").setLevel(logging.WARNING)


async def run_server(app: Starlette, settings: Settings, *, on_start: Callable[[int], None] | None = None) -> int:
    """Serve the application on the settings' address; `on_start` is told the port. Gives the exit status."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http="httptools",
        ws="websockets-sansio",
        ws_max_size=256 * 1024,
        access_log=False,
        server_header=False,
        log_config=None,
        log_level="warning",
        # Readers have been told the end by then; what still hangs is cut.
        timeout_graceful_shutdown=5,
    )
    server = _Server(config, on_start)
    try:
        await server.serve()
    except SystemExit as error:
        # uvicorn's word for an address that is taken or an application that did not start; it has logged why.
        return error.code if isinstance(error.code, int) else 1
    return 0


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_start: Callable[[int], None] | None) -> None:
        super().__init__(config)
        self._on_start = on_start

    async def startup(self, *args: Any, **kwargs: Any) -> None:
        await super().startup(*args, **kwargs)
        if self._on_start is not None and self.started:
            self._on_start(self.servers[0].sockets[0].getsockname()[1])


def run(main: Coroutine[Any, Any, int]) -> int:
    """Run to the end on uvloop, also when a signal asks for it: then everything that was begun is ended."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(0)

    # uvicorn stops at the first signal and then raises it again, for whoever started it.
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
