"""While PostgreSQL is away a reply is written on, and what is saved in the end is the whole of it, once."""

import asyncio

import pytest

from tests.acceptance.clusters import (
    LEASE,
    TASKS,
    WHOLE,
    Connect,
    ann,
    assert_saved_once,
    cluster,
    cluster_of_two,
    connect,
    find_writer,
    first_a_task,
    write_slowly,
)
from tests.acceptance.nodes import Cluster, RoamingClient
from tests.client import GraphQLFailed
from tests.conftest import until
from tests.model import ScriptedModel

__all__ = ["ann", "cluster", "cluster_of_two", "connect"]


async def test_a_reply_goes_on_while_postgres_is_gone(cluster: Cluster, model: ScriptedModel, connect: Connect) -> None:
    # Longer than all that happens meanwhile.
    model.by(first_a_task("only once", lambda request: write_slowly(20)))
    client = connect(cluster.nodes[0], "bob")
    sent = await client.send("Go.")
    await until(lambda: len(model.requests) == 2)
    writer, other = await find_writer(cluster, model)
    reader = asyncio.create_task(connect(writer, "bob").read(sent.reply))
    await asyncio.sleep(0.5)
    await cluster.postgres.stop()
    for node in (writer, other):
        with pytest.raises(GraphQLFailed) as failure:
            await connect(node, "bob").execute(TASKS)
        assert failure.value.codes == ["INTERNAL_SERVER_ERROR"]
        assert await node.readiness() == 503
    await asyncio.sleep(LEASE + 1)
    assert model.open_streams == 1
    cluster.postgres.start()
    for node in (writer, other):
        await node.wait_until_ready()
    assert (await reader).text == "First a task. " + WHOLE
    assert (await client.message(sent.reply))["text"] == "First a task. " + WHOLE
    assert [edge["node"]["title"] for edge in (await client.execute(TASKS))["tasks"]["edges"]] == ["only once"]
    assert len(model.requests) == 2
    await assert_saved_once(cluster, sent.reply, attempt=1)


async def test_a_reply_survives_the_end_of_every_connection_and_a_crash_of_postgres(
    cluster: Cluster, model: ScriptedModel, ann: RoamingClient
) -> None:
    model.by(lambda request: write_slowly(75))
    sent = await ann.send("Go.", "crash")
    reader = asyncio.create_task(ann.follow(sent.reply))
    await until(lambda: model.open_streams == 1)
    await asyncio.sleep(0.5)
    await cluster.postgres.drop_connections()
    await asyncio.sleep(1)
    cluster.postgres.crash()
    assert (await reader).text == WHOLE
    assert (await ann.message(sent.reply))["text"] == WHOLE
    await assert_saved_once(cluster, sent.reply, attempt=1)
