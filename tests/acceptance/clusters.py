"""Two nodes that a test may fail, with a Valkey and a PostgreSQL, and replies that are written long enough for it."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from agent.stand_in.answers import Answer, Refusal, Respond, Text, ToolUse
from tests.acceptance.nodes import Cluster, Node, RoamingClient, children_of, run_cluster
from tests.client import Client
from tests.conftest import until
from tests.model import ScriptedModel

#: Seconds: a node that lives renews its lease in time also where the whole machine pauses, and ends in time.
LEASE, GRACE = 5.0, 5.0
WORDS = tuple(f"{number}👍🏽é " for number in range(300))
WHOLE = "".join(WORDS)

TASKS = "{ tasks { edges { node { title } } } }"

Connect = Callable[..., Client]


def write_slowly(tokens_per_second: float = 60) -> Answer:
    """An answer of 300 tokens: five seconds, unless the rate is another."""
    return Answer([Text(WHOLE, tokens=WORDS)], tokens_per_second=tokens_per_second)


def first_slowly(then: float) -> Respond:
    """A script: who asks first is answered for 15 seconds, the others at `then` tokens a second."""
    rates = iter([20.0])
    return lambda request: write_slowly(next(rates, then))


def first_a_task(title: str, then: Respond) -> Respond:
    """A script: a word, a task, and then another script."""

    def respond(request: dict[str, Any]) -> Answer | Refusal:
        if any(block["type"] == "tool_result" for block in request["messages"][-1]["content"]):
            return then(request)
        return Answer([Text("First a task. "), ToolUse("addTask", {"title": title})])

    return respond


@pytest.fixture(scope="module")
async def cluster_of_two(tmp_path_factory: pytest.TempPathFactory, _model: ScriptedModel) -> AsyncIterator[Cluster]:
    """The nodes of a file's tests, in whatever state the last test has left them."""
    assert _model.server is not None
    times = {"LOQUENT_LEASE_SECONDS": f"{LEASE:g}", "LOQUENT_GRACE_SECONDS": f"{GRACE:g}"}
    async with run_cluster(tmp_path_factory.mktemp("nodes"), _model.server.base_url, count=2, **times) as cluster:
        yield cluster


@pytest.fixture
async def cluster(cluster_of_two: Cluster, model: ScriptedModel) -> Cluster:
    """Two nodes, both ready, with a Valkey and a PostgreSQL."""
    await cluster_of_two.heal()
    return cluster_of_two


@pytest.fixture
async def connect(cluster: Cluster) -> AsyncIterator[Connect]:
    """A client of one node: `connect(node)`."""
    clients: list[Client] = []

    def connect(node: Node, owner: str = "ann") -> Client:
        clients.append(Client(node.url, owner))
        return clients[-1]

    yield connect
    for client in clients:
        await client.close()


@pytest.fixture
async def ann(cluster: Cluster) -> AsyncIterator[RoamingClient]:
    """A client that goes to any node."""
    client = RoamingClient(cluster.nodes, "ann")
    yield client
    await client.close()


async def find_writer(cluster: Cluster, model: ScriptedModel) -> tuple[Node, Node]:
    """The node that writes now, and another."""
    await until(lambda: model.open_streams > 0)
    writer = cluster.writer(model.requests[-1]["model"])
    return writer, cluster.others(writer)[0]


def find_servers(node: Node) -> list[int]:
    """The server processes of `serve --workers`; beside them it has a Valkey."""
    started = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children_of(node.process.pid)}
    return [pid for pid, command in started.items() if b"serve" in command.split(b"\0")]


async def assert_saved_once(cluster: Cluster, reply: str, *, attempt: int) -> None:
    """Fails unless the reply is complete, was saved by this attempt and has no run any more."""
    rows = await cluster.postgres.fetch(
        "select status, attempt, (select count(*) from run where message_id = message.id)"
        " from message where id = cast(:id as uuid)",
        id=reply,
    )
    assert [tuple(row) for row in rows] == [("COMPLETE", attempt, 0)]
