"""The start of a server process: what is loaded while it serves may fail, and must not fail in silence."""

from pathlib import Path

import httpx2

from persistence.database import Database
from tests.acceptance.nodes import Node
from tests.conftest import until
from tests.model import SECRET


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
        await until(lambda: not node.runs, seconds=30)
        assert node.process.returncode == 1
        assert "could not be loaded" in node.log.read_text()
        assert "nonsense://proxy" in node.tail()
    finally:
        node.kill()


async def test_a_server_is_not_ready_before_its_model_can_be_asked(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    environment = {
        "LOQUENT_DATABASE_URL": database_url,
        "LOQUENT_JWT_SECRET": SECRET,
        "ANTHROPIC_API_KEY": "key",
    }
    node = Node("early", tmp_path, environment)
    node.start()
    statuses: list[str] = []
    try:
        async with httpx2.AsyncClient(timeout=8) as http:

            async def is_ready() -> bool:
                try:
                    statuses.append((await http.get(f"{node.url}/readyz")).json()["status"])
                except httpx2.HTTPError:
                    return False
                return statuses[-1] == "ok"

            await until(is_ready, seconds=30)
        assert "model: its client is not loaded" in statuses
    finally:
        node.kill()
