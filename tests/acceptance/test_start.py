"""The start of a server process: what is loaded while it serves may fail, and must not fail in silence."""

import threading
from pathlib import Path

import httpx2
import pytest

import server.app
from agent.deferred_model import ConnectedModel
from persistence.database import Database
from server.settings import Settings
from tests.acceptance.nodes import Node
from tests.conftest import ConnectClient, StartServer, until
from tests.model import SECRET, ScriptedModel, say


async def test_a_server_whose_model_cannot_be_connected_ends_and_says_why(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    environment = {
        "LOQUENT_DATABASE_URL": database_url,
        "LOQUENT_JWT_SECRET": SECRET,
        "ANTHROPIC_API_KEY": "key",
        "HTTPS_PROXY": "nonsense://proxy",
    }
    node = Node("proxied", tmp_path, environment)
    node.start()
    try:
        await until(lambda: not node.runs)
        assert node.process.returncode == 1
        assert "could not be loaded" in node.log.read_text()
        assert "nonsense://proxy" in node.tail()
    finally:
        node.kill()


async def test_a_server_is_not_ready_before_its_model_can_be_asked_and_queries_do_not_wait(
    start_server: StartServer, connect_client: ConnectClient, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = threading.Event()
    connect = server.app._connect_model

    def connect_once_loaded(settings: Settings) -> ConnectedModel:
        loaded.wait(60)
        return connect(settings)

    monkeypatch.setattr(server.app, "_connect_model", connect_once_loaded)
    model.script(say("Hello."))
    try:
        async with start_server() as early, httpx2.AsyncClient(base_url=early.url, timeout=60) as http:
            ann = connect_client(url=early.url)
            sent = await ann.send("Hi.")

            async def status() -> str:
                return str((await http.get("/readyz")).json()["status"])

            async def waits_for_model() -> bool:
                return await status() == "model: its client is not loaded"

            await until(waits_for_model)
            assert (await ann.message(sent.reply))["text"] == ""
            loaded.set()
            assert (await ann.read(sent.reply)).text == "Hello."
            assert await status() == "ok"
    finally:
        loaded.set()
