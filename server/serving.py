"""Running the application under uvicorn, until a signal ends it."""

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette

from server.settings import Settings
from server.transport.http_protocol import HttpProtocol
from server.transport.websocket_protocol import WebSocketProtocol

#: New objects before the young ones are searched for garbage, and how many such searches go before a wider one.
GARBAGE_THRESHOLDS = (10_000, 500, 20)

#: Seconds between two looks at what changes with time: the date that answers have.
TICK = 1.0

logger = logging.getLogger(__name__)


class AddressTaken(Exception):
    """Another program listens there."""


async def run_server(app: Starlette, settings: Settings, *, on_start: Callable[[int], None] | None = None) -> int:
    """Serve on the settings' address until a signal; `on_start` is told the port. Gives the exit status.

    Raises `AddressTaken`.
    """
    server = Server(uvicorn_config(app, settings))
    with listen(settings.host, settings.port, settings.listen_fd) as listener:
        loading: list[asyncio.Task[bool]] = []

        def begin() -> None:
            keep_what_is_loaded()
            loading.append(asyncio.create_task(_finish_loading(server)))
            if on_start is not None:
                on_start(listener.getsockname()[1])

        server.on_start = begin
        await server.serve([listener])
    return 0 if loading and await loading[0] else 1


async def _finish_loading(server: "Server") -> bool:
    """Wait for what is loaded while the server serves; without it, the server ends. Gives whether it came."""
    try:
        await server.config.app.state.wait_until_loaded()  # type: ignore[union-attr]
    except Exception:
        logger.critical("What the server needs could not be loaded", exc_info=True)
        server.should_exit = True
        return False
    keep_what_is_loaded()
    return True


def keep_what_is_loaded() -> None:
    """Take what there is out of the search for garbage, and let such searches be rare.

    Searches stop everything. What the program consists of stays, so they need not look at it; and with few of them not
    all that is open is looked at each time that a few more streams have begun.
    """
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    gc.enable()


def uvicorn_config(app: Starlette, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=HttpProtocol,
        ws=WebSocketProtocol,
        ws_max_size=settings.socket_message_bytes,
        # Compressing each event costs more than it saves, and what unpacks to much is a weapon.
        ws_per_message_deflate=False,
        access_log=False,
        server_header=False,
        log_config=None,
        log_level="warning",
        # Whoever waits for a reply by HTTP has it if it finishes within the grace time; what still hangs is cut.
        timeout_graceful_shutdown=int(settings.grace_seconds) + 2,
    )


class Server(uvicorn.Server):
    """uvicorn, telling the application before it closes the first connection."""

    on_start: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self, config: uvicorn.Config) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._exits = False
        self._awake = asyncio.Event()
        super().__init__(config)

    @property
    def should_exit(self) -> bool:
        """Whether it is to end; may also be set by what handles a signal."""
        return self._exits

    @should_exit.setter
    def should_exit(self, exits: bool) -> None:
        self._exits = exits
        if exits and self._loop is not None:
            self._loop.call_soon_threadsafe(self._awake.set)

    async def main_loop(self) -> None:
        """Wait for the end, as uvicorn does by looking ten times a second: that is most of what an idle server does."""
        # By the number uvicorn tells when a second has passed: at 0 one has.
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK):
                    await self._awake.wait()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started:
            self.on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # This node takes no more work, and says so.
        self.config.app.state.drain()  # type: ignore[union-attr]
        await super().shutdown(sockets)


def listen(host: str, port: int, descriptor: int | None = None) -> socket.socket:
    """A socket on this address, or the one that another process has opened. Raises `AddressTaken`."""
    if descriptor is not None:
        return socket.socket(fileno=descriptor)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    # A restart need not wait until the system has forgotten the old connections.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise AddressTaken(f"{host}:{port}: {error.strerror}. LOQUENT_PORT chooses another port.") from None
    listener.listen(2048)
    return listener


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
