"""How the log is written: a line for each event, as text for a terminal or as JSON for machines."""

import logging
import os
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, TextIO

import orjson

from agent.text import clean_json
from server.settings import Settings

TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
#: Seconds that lines wait for more of them; lines that wait at the most.
GATHERED, MOST_LINES = 0.1, 10_000
#: Characters that are written at once, by one process and by several: what is longer their common pipe would mix up.
PIECE, SHARED_PIECE = 65_536, 4096
#: That of the operation that is executed, or that has begun the run that is; it stands in each line.
REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
#: Which process of which machine this is.
NODE = f"{socket.gethostname()}-{os.getpid()}"


def configure_logging(settings: Settings, *, development: bool = False) -> None:
    """Log as the settings say: by default text in development and on a terminal, else JSON."""
    chosen = settings.log_format or ("text" if development or sys.stderr.isatty() else "json")
    handler = BackgroundHandler(sys.stderr, PIECE if settings.worker_index is None else SHARED_PIECE)
    handler.setFormatter(JsonFormatter() if chosen == "json" else TextFormatter(TEXT_FORMAT))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    # Nothing asks for them, and that of the process costs a system call a line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    # Every request to the model would be a line.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    for name in ("uvicorn.error", "strawberry.ws"):
        logging.getLogger(name).addFilter(_is_our_business)


def _is_our_business(record: logging.LogRecord) -> bool:
    """Whether a line tells of more than what strangers may send, or a stream that we broke off."""
    return not record.getMessage().startswith(
        (
            "Invalid UTF-8",
            "Invalid HTTP request received",
            "Unsupported upgrade request",
            "Rejected WebSocket connection from origin",
            "ASGI callable returned without completing response",
        )
    )


class TextFormatter(logging.Formatter):
    """For people: what is known of an event follows its message."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - overrides
        known: Mapping[str, Any] = getattr(record, "fields", {})
        written = "".join(f" {name}={_word(value)}" for name, value in known.items())
        return super().formatMessage(record) + written


def _word(value: Any) -> str:
    return ",".join(value) if isinstance(value, list) else str(value)


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


class JsonFormatter(logging.Formatter):
    """For machines: one object a line, a traceback included."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": f"{_second(int(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "node": NODE,
        }
        fields: Mapping[str, Any] | None = getattr(record, "fields", None)
        if fields is not None:
            line |= fields
        elif request := REQUEST_ID.get():
            line["request"] = request
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(line).decode()
        except orjson.JSONEncodeError:
            # Half of a surrogate pair, in what somebody sent.
            return orjson.dumps(clean_json(line)).decode()


class BackgroundHandler(logging.Handler):
    """Has lines written by a thread, many at once: who logs never waits for whoever reads the log.

    Who reads too slowly loses lines, and is told how many.
    """

    def __init__(self, stream: TextIO, piece: int = PIECE) -> None:
        super().__init__()
        self._stream = stream
        self._piece = piece
        self._lines: deque[str] = deque()
        self._lost = 0
        self._waiting = threading.Event()
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if len(self._lines) >= MOST_LINES:
            self._lost += 1
            return
        try:
            self._lines.append(self.format(record) + "\n")
        except Exception:
            self.handleError(record)
            return
        if not self._waiting.is_set():
            self._waiting.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_forever, name="log", daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """Write all that is there; called at the end of the process too."""
        with self._writing:
            while self._lines:
                piece = [self._lines.popleft()]
                size = len(piece[0])
                while self._lines and (size := size + len(self._lines[0])) <= self._piece:
                    piece.append(self._lines.popleft())
                self._write("".join(piece))
            if self._lost:
                lost, self._lost = self._lost, 0
                self._write(
                    self.format(logging.LogRecord(__name__, logging.WARNING, "", 0, _LOST, (lost,), None)) + "\n"
                )

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            # Nobody reads it any more.
            pass

    def _write_forever(self) -> None:
        while True:
            self._waiting.wait()
            # Those that come from now on want another round.
            self._waiting.clear()
            self.flush()
            time.sleep(GATHERED)


_LOST = "%d lines of the log were lost: they are not read as fast as they come"
