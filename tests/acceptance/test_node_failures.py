"""No node that is killed, pauses or is told to end loses or doubles a token of a reply."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

from agent.stand_in.answers import Answer, Text
from tests.acceptance.clusters import (
    TASKS,
    WHOLE,
    Connect,
    ann,
    assert_saved_once,
    cluster,
    cluster_of_two,
    connect,
    find_servers,
    find_writer,
    first_a_task,
    first_slowly,
    write_slowly,
)
from tests.acceptance.nodes import Cluster, RoamingClient, children_of
from tests.conftest import until
from tests.model import ScriptedModel, last_text

__all__ = ["ann", "cluster", "cluster_of_two", "connect"]


async def test_killing_the_writer_moves_the_reply_and_repeats_no_finished_tool(
    cluster: Cluster, model: ScriptedModel, ann: RoamingClient
) -> None:
    model.by(first_a_task("buy milk", first_slowly(300)))
    sent = await ann.send("Go.", "kill")
    readers = [asyncio.create_task(ann.follow(sent.reply)) for _ in range(3)]
    await until(lambda: len(model.requests) == 2)
    writer, other = await find_writer(cluster, model)
    await asyncio.sleep(1)
    writer.kill()
    await until(lambda: len(model.requests) == 3)
    assert model.requests[-1]["model"] == other.writer
    for reading in await asyncio.gather(*readers):
        assert reading.text == "First a task. " + WHOLE
        assert "StreamRestarted" in {event["__typename"] for event in reading.events}
    message = await ann.message(sent.reply)
    assert message["text"] == "First a task. " + WHOLE
    assert [part["status"] for part in message["parts"] if part["__typename"] == "ToolCallPart"] == ["SUCCEEDED"]
    tasks = (await ann.execute(TASKS))["tasks"]["edges"]
    assert [edge["node"]["title"] for edge in tasks] == ["buy milk"]
    await assert_saved_once(cluster, sent.reply, attempt=2)


async def test_a_writer_that_slept_longer_than_its_lease_changes_nothing(
    cluster: Cluster, model: ScriptedModel, ann: RoamingClient, connect: Connect
) -> None:
    model.by(first_slowly(60))
    sent = await ann.send("Go.", "sleep")
    writer, _ = await find_writer(cluster, model)
    loyal = asyncio.create_task(connect(writer).read(sent.reply))
    roaming = asyncio.create_task(ann.follow(sent.reply))
    await asyncio.sleep(1)
    writer.freeze()
    await until(lambda: len(model.requests) == 2)
    await asyncio.sleep(1)
    writer.thaw()
    assert (await roaming).text == (await loyal).text == WHOLE
    before = await ann.message(sent.reply)
    await asyncio.sleep(1)
    assert await ann.message(sent.reply) == before
    assert before["text"] == WHOLE
    assert len(model.requests) == 2
    await assert_saved_once(cluster, sent.reply, attempt=2)


async def test_a_node_that_is_told_to_end_finishes_what_it_can(
    cluster: Cluster, model: ScriptedModel, ann: RoamingClient
) -> None:
    model.by(lambda request: write_slowly(300))
    sent = await ann.send("Go.", "finish")
    reader = asyncio.create_task(ann.follow(sent.reply))
    writer, _ = await find_writer(cluster, model)
    assert await writer.terminate() == 0
    reading = await reader
    assert reading.text == WHOLE
    assert "StreamRestarted" not in {event["__typename"] for event in reading.events}
    await assert_saved_once(cluster, sent.reply, attempt=1)


async def test_a_node_that_is_told_to_end_hands_over_what_is_left_at_once(
    cluster: Cluster, model: ScriptedModel, ann: RoamingClient
) -> None:
    model.by(first_slowly(60))
    sent = await ann.send("Go.", "hand over")
    reader = asyncio.create_task(ann.follow(sent.reply))
    writer, other = await find_writer(cluster, model)
    assert await writer.terminate() == 0
    await until(lambda: len(model.requests) == 2)
    # Let go by the one and taken by the other: no lease had to run out, which counts as a failure.
    assert await cluster.postgres.fetch("select failures from run") == [(0,)]
    assert model.requests[-1]["model"] == other.writer
    assert (await reader).text == WHOLE
    await assert_saved_once(cluster, sent.reply, attempt=2)


async def test_a_rolling_restart_under_load_is_not_noticed(cluster: Cluster, model: ScriptedModel) -> None:
    def respond(request: dict[str, Any]) -> Answer:
        words = tuple(f"{last_text(request)}:{number} " for number in range(100))
        return Answer([Text("".join(words), tokens=words)], tokens_per_second=50)

    model.by(respond)
    users = [RoamingClient(cluster.nodes, f"user{index}", index) for index in range(6)]
    restarted = asyncio.Event()
    answered = []

    async def converse(user: RoamingClient) -> None:
        number = 0
        while not restarted.is_set():
            number += 1
            sent = await user.send(f"{user.owner}-{number}", f"rolling {number}")
            reading = await user.follow(sent.reply)
            expected = "".join(f"{user.owner}-{number}:{index} " for index in range(100))
            assert reading.text == expected == (await user.message(sent.reply))["text"]
            answered.append(sent.reply)

    async with asyncio.TaskGroup() as group:
        for user in users:
            group.create_task(converse(user))
        for node in cluster.nodes:
            await asyncio.sleep(1)
            assert await node.terminate() == 0
            node.start()
            await node.wait_until_ready()
        restarted.set()
    assert len(answered) >= len(users)
    assert [refusal for user in users for refusal in user.refusals] == []
    for user in users:
        await user.close()


async def test_workers_share_one_port_and_one_that_dies_is_made_good(
    cluster: Cluster, model: ScriptedModel, tmp_path: Path
) -> None:
    model.by(lambda request: write_slowly(100))
    node = cluster.add_node("workers", "--workers", "2", LOQUENT_VALKEY_URL=None)
    ann = RoamingClient([node], "ann")
    try:
        node.start()
        await node.wait_until_ready()
        sent = await ann.send("Go.", "workers")
        readings = await asyncio.gather(*(ann.follow(sent.reply) for _ in range(6)))
        assert {reading.text for reading in readings} == {WHOLE}

        servers = find_servers(node)
        assert len(servers) == 2
        sent = await ann.send("Again.", "workers again")
        readers = [asyncio.create_task(ann.follow(sent.reply)) for _ in range(4)]
        await asyncio.sleep(0.5)
        os.kill(servers[0], signal.SIGKILL)
        for reader in readers:
            assert (await reader).text == WHOLE
        await until(lambda: len(find_servers(node)) == 2 and servers[0] not in find_servers(node))

        everything = children_of(node.process.pid)
        assert len(everything) == 3
        assert await node.terminate() == 0
        await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in everything))
    finally:
        await ann.close()
        if node.runs:
            await node.terminate()
