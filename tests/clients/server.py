"""A server for GraphQL clients of other languages: everything it needs, on a free port, until stdin is closed.

Prints one line of JSON once it serves: `url`, and `tokens` by name (ann, bob, expired). The model says as many
words as the user asks for, so fast as the user asks for it: «Say 60 words, 200 a second.»
"""

import json
import os
import re
import signal
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

from pydantic import SecretStr

from agent.stand_in.answers import Answer, Text
from agent.stand_in.server import serve_model
from persistence.database import Database
from persistence.embedded import run_postgres
from server.app import create_app
from server.auth import issue_token
from server.serving import run, run_server
from server.settings import Settings
from tests.conftest import UNSAFE
from tests.model import SECRET, last_text

WISH = re.compile(r"Say (\d+) words, (\d+) a second")
#: One to four bytes in UTF-8, one or two code units in UTF-16, joined and combining characters.
ENDINGS = ["", "é", "日本語", "👍🏽", "👩‍👩‍👧", "e\u0301", "\n\n"]


def main() -> int:
    """Serve until a signal or the end of stdin; gives the exit status."""
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_watch_stdin, daemon=True).start()
    with TemporaryDirectory() as directory, run_postgres(Path(directory), settings=UNSAFE) as url:
        return run(_serve(url))


def answer(request: dict[str, Any]) -> Answer:
    """The words that the user wishes for, each with its number; five of them where there is no wish."""
    wish = WISH.search(last_text(request))
    count, pace = (int(wish[1]), float(wish[2])) if wish else (5, 0.0)
    words = tuple(f"{number}{ENDINGS[number % len(ENDINGS)]} " for number in range(count))
    return Answer([Text("".join(words), tokens=words)], tokens_per_second=pace)


async def _serve(database_url: str) -> int:
    database = Database(database_url)
    await database.migrate()
    await database.close()
    async with serve_model(answer) as model:
        settings = Settings(
            database_url=database_url,
            jwt_secret=SecretStr(SECRET),
            anthropic_api_key=SecretStr("key"),
            anthropic_base_url=model.base_url,
            titles=False,
            port=0,
            rate_limit=1_000_000,
            operations_per_second=1_000_000,
            # The audit of GraphQL over HTTP asks for `__type`.
            introspection=True,
            grace_seconds=0,
        )
        return await run_server(create_app(settings), settings, on_start=_tell)


def _tell(port: int) -> None:
    lifetimes = {"ann": 3600, "bob": 3600, "expired": -60}
    tokens = {name: issue_token(SECRET, name, lifetime) for name, lifetime in lifetimes.items()}
    print(json.dumps({"url": f"http://127.0.0.1:{port}", "tokens": tokens}), flush=True)


def _watch_stdin() -> None:
    # Not sys.stdin: its lock would be held when the interpreter ends.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _leave(number: int, frame: object) -> NoReturn:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
