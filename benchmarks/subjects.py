"""Who is measured: each subject is one entry, with the command that starts it."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks import contracts
from benchmarks.contracts import Contract
from benchmarks.scenarios import Kind

HERE = Path(__file__).parent
BUILD = HERE / ".build"
PORT, MODEL_PORT = 8123, 9123
MODEL_URL = f"http://127.0.0.1:{MODEL_PORT}"
SECRET = "a-secret-that-only-the-benchmark-has"  # noqa: S105 - it guards nothing
#: How many users send the messages, each with a token of its own.
USERS = 1000

_ALL = frozenset(Kind)
_UVICORN = (sys.executable, "-m", "uvicorn", "--port", str(PORT), "--loop", "uvloop", "--http", "httptools")


@dataclass(frozen=True)
class Subject:
    """A server: it listens on `PORT` and asks the model on `MODEL_PORT`."""

    name: str
    title: str
    command: tuple[str, ...]
    contract: Contract
    environment: Mapping[str, str] = field(default_factory=dict)
    #: What it can do at all.
    kinds: frozenset[Kind] = _ALL
    #: Whether it keeps its data in PostgreSQL, and shares replies between its processes by Valkey.
    postgres: bool = False
    valkey: bool = False
    #: A second process of it listens here, and there a reply is read that was asked for at the first.
    second_port: int | None = None

    def full_environment(self, kind: Kind, addresses: Mapping[str, str]) -> dict[str, str]:
        """The environment of its process; `addresses` are those of its stores, by variable."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LOQUENT_")}
        shared = {"SHARED_REPLIES": "1"} if kind in (Kind.READERS, Kind.SLOW) else {}
        ours = {"PORT": str(PORT), "MODEL_URL": MODEL_URL, **shared, **self.environment}
        return {**inherited, **ours, **addresses}


_LOQUENT_ENVIRONMENT = {
    "LOQUENT_PORT": str(PORT),
    "LOQUENT_JWT_SECRET": SECRET,
    "LOQUENT_RATE_LIMIT": "1000000",
    "LOQUENT_SOCKETS_PER_USER": "10000",
    "LOQUENT_TITLES": "0",
    "ANTHROPIC_API_KEY": "none",
    "ANTHROPIC_BASE_URL": MODEL_URL,
}

_LOQUENT = Subject(
    "loquent",
    "Loquent",
    (sys.executable, "-m", "server", "serve"),
    contracts.LOQUENT,
    _LOQUENT_ENVIRONMENT,
    postgres=True,
)

SUBJECTS = (
    _LOQUENT,
    Subject(
        "strawberry",
        "Strawberry, as tutorials write it",
        (*_UVICORN, "--log-level", "warning", "benchmarks.rivals.naive_strawberry:app"),
        contracts.RIVAL,
    ),
    Subject(
        "sse",
        "Starlette/FastAPI with SSE",
        (*_UVICORN, "--log-level", "warning", "benchmarks.rivals.event_stream:app"),
        contracts.EVENT_STREAM,
        kinds=frozenset({Kind.STREAMS, Kind.STARTS}),
    ),
    Subject(
        "yoga",
        "GraphQL Yoga, Node",
        ("node", str(HERE / "rivals" / "yoga" / "server.mjs")),
        contracts.RIVAL,
        {"NODE_ENV": "production"},
    ),
    Subject(
        "bare",
        "Bare Python, each token at once",
        (sys.executable, "-m", "benchmarks.rivals.bare_python", str(PORT), str(MODEL_PORT)),
        contracts.RIVAL,
        kinds=frozenset({Kind.STREAMS, Kind.STARTS, Kind.READERS}),
    ),
    Subject(
        "floor",
        "The floor: the contract in C",
        (str(BUILD / "floor"), str(PORT), str(MODEL_PORT), "40"),
        contracts.RIVAL,
        kinds=_ALL - {Kind.PAGE},
    ),
    replace(_LOQUENT, name="valkey", title="Loquent with Valkey", valkey=True),
    replace(
        _LOQUENT,
        name="nodes",
        title="Two Loquents with Valkey, readers at the other",
        kinds=frozenset({Kind.READERS}),
        valkey=True,
        second_port=PORT + 1,
    ),
)
