"""What tests of the agent share: a model that is asked again at once, and servers with a database of their own."""

from functools import partial

import pytest
from sqlalchemy import make_url, text

from agent import loop
from persistence.database import Database
from tests.conftest import StartServer

# What they assert is shown as in a test.
pytest.register_assert_rewrite("tests.acceptance.clusters", "tests.acceptance.peer", "tests.acceptance.replies")


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that fails is asked again at once."""
    monkeypatch.setattr(loop, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(loop, "LONGEST_WAIT", 0.05)


@pytest.fixture(scope="session")
async def own_database_url(database: Database, database_url: str) -> str:
    """A database beside the shared one: the shared server's worker would take runs that are meant for another."""
    async with database.connection() as connection:
        await connection.execute(text("create database own"))
    url = make_url(database_url).set(database="own").render_as_string(hide_password=False)
    own = Database(url)
    await own.migrate()
    await own.close()
    return url


@pytest.fixture
def start_own_server(start_server: StartServer, own_database_url: str) -> StartServer:
    """Starts a server with settings of its own and the only worker of its database."""
    return partial(start_server, database_url=own_database_url)
