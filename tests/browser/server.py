"""A Loquent for browser tests: PostgreSQL and a scripted model in this process, the server in one that may die.

Reads commands from stdin, a line of JSON each, answers each by a line, and ends with stdin:
{"do": "start", "command": "dev", "port": 8123, "environment": {…}} → once it serves; null
{"do": "stop", "signal": 9} → once the process is gone; null
{"do": "script", "answers": […]} → what the model says next, see `read_answer`; null
{"do": "seed", "conversations": 1, "messages": 2000} → once "user0" has them; null
{"do": "requests"} → the bodies of all requests that the model got since the last reset
{"do": "reset"} → nothing stored, nothing running, nothing scripted; null
{"do": "log"} → what the server has said, as one text
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
from sqlalchemy import text

from agent.stand_in.server import ModelServer, serve_model
from benchmarks.seed import Amount, seed
from persistence.database import Database
from persistence.embedded import run_postgres
from tests.browser.model import Script
from tests.client import Client
from tests.conftest import PATIENCE, UNSAFE, empty
from tests.model import SECRET

REPOSITORY = Path(__file__).resolve().parents[2]


class Loquent:
    """The server process: real commands, real signals."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._environment = environment
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self.url: str | None = None

    async def start(self, command: str, port: int, environment: dict[str, str]) -> None:
        """Runs `python -m server <command>` until it is ready. Raises RuntimeError with its log."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "server", command),
                cwd=REPOSITORY,
                env={**self._environment, "LOQUENT_PORT": str(port), **environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        url = f"http://127.0.0.1:{port}"
        try:
            async with asyncio.timeout(PATIENCE):
                await self._wait_until_ready(url)
        except TimeoutError:
            raise RuntimeError(f"the server is not ready:\n{self.read_log()}") from None
        self.url = url

    async def stop(self, signal: int) -> None:
        """Sends the signal and waits for the end; nothing where no server runs."""
        process, self._process, self.url = self._process, None, None
        if process is None:
            return
        if process.returncode is None:
            process.send_signal(signal)
        await process.wait()

    def read_log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    async def _wait_until_ready(self, url: str) -> None:
        assert self._process is not None
        async with httpx2.AsyncClient() as client:
            while True:
                if self._process.returncode is not None:
                    raise RuntimeError(f"the server has ended:\n{self.read_log()}")
                try:
                    if (await client.get(f"{url}/readyz")).status_code == 200:
                        return
                except httpx2.TransportError:
                    pass
                await asyncio.sleep(0.05)


class Commands:
    """What a test may ask for; a method for each `do`."""

    def __init__(
        self, loquent: Loquent, database_url: str, database: Database, model: ModelServer, script: Script
    ) -> None:
        self._loquent = loquent
        self._database_url = database_url
        self._database = database
        self._model = model
        self._script = script

    async def run(self, do: str, **arguments: Any) -> Any:
        return await getattr(self, f"do_{do}")(**arguments)

    async def do_start(self, command: str, port: int, environment: dict[str, str]) -> None:
        await self._loquent.start(command, port, environment)

    async def do_stop(self, signal: int) -> None:
        await self._loquent.stop(signal)

    async def do_script(self, answers: list[dict[str, Any]]) -> None:
        self._script.extend(answers)

    async def do_requests(self) -> list[dict[str, Any]]:
        return list(self._model.requests)

    async def do_reset(self) -> None:
        self._script.clear()
        if self._loquent.url is not None:
            await _delete_conversations(self._loquent.url, self._database)
        await empty(self._database)
        self._model.requests.clear()

    async def do_seed(self, conversations: int, messages: int) -> None:
        await seed(self._database_url, Amount(conversations, messages))

    async def do_log(self) -> str:
        return self._loquent.read_log()


async def _delete_conversations(url: str, database: Database) -> None:
    """By the server: of rows that are gone its writers learn only when they renew their leases."""
    async with database.connection() as connection:
        rows = (await connection.execute(text("select id, owner_id from conversation"))).all()
    for id, owner in rows:
        client = Client(url, owner)
        await client.execute("mutation ($id: ID!) { deleteConversation(input: {id: $id}) { deletedId } }", id=str(id))
        await client.close()


async def serve(database_url: str, directory: Path) -> None:
    """Obey until stdin ends."""
    database = Database(database_url)
    await database.migrate()
    script = Script()
    async with serve_model(script.respond) as model:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "LOQUENT_DATABASE_URL": database_url,
            "LOQUENT_DATA_DIR": str(directory / "loquent"),
            "LOQUENT_JWT_SECRET": SECRET,
            "LOQUENT_RATE_LIMIT": "1000000",
            "LOQUENT_OPERATIONS_PER_SECOND": "1000000",
            "ANTHROPIC_API_KEY": "key",
            "ANTHROPIC_BASE_URL": model.base_url,
        }
        loquent = Loquent(environment, directory / "server.log")
        commands = Commands(loquent, database_url, database, model, script)
        try:
            async for line in await _open_stdin():
                print(json.dumps(await _answer(commands, json.loads(line))), flush=True)
        finally:
            await loquent.stop(9)
            await database.close()


async def _answer(commands: Commands, command: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"result": await commands.run(**command)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


async def _open_stdin() -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=64 * 1024 * 1024)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


if __name__ == "__main__":
    with TemporaryDirectory() as directory, run_postgres(Path(directory), settings=UNSAFE) as url:
        asyncio.run(serve(url, Path(directory)))
