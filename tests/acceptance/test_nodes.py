"""Any node serves any user, and no failure of a node, of Valkey or of PostgreSQL loses or doubles a token."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from agent.messages_wire import Answer, Refusal, Respond, Text, ToolUse
from runs.valkey import ValkeyLiveReplies
from tests.acceptance.nodes import Cluster, Node, RoamingClient, Valkey, children_of, run_cluster
from tests.client import Client, GraphQLFailed, Reading
from tests.conftest import until
from tests.model import ScriptedModel, last_text

#: Seconds: a node that lives renews its lease in time also where the whole machine pauses, and ends in time.
LEASE, GRACE = 5.0, 5.0
WORDS = tuple(f"{number}👍🏽é " for number in range(300))
WHOLE = "".join(WORDS)

CHANGES = """
subscription ($id: ID!) { conversationStream(conversationId: $id) {
    __typename
    ... on MessageAdded { message { id } }
    ... on MessageChanged { message { id } }
} }
"""
STOP = "mutation ($id: ID!) { stopMessage(input: {messageId: $id}) { message { status text } } }"
RENAME = 'mutation ($id: ID!) { updateConversation(input: {id: $id, title: "x"}) { conversation { id } } }'
DELETE = "mutation ($id: ID!) { deleteConversation(input: {id: $id}) { deletedId } }"
TASKS = "{ tasks { edges { node { title } } } }"


def write_slowly(tokens_per_second: float = 60) -> Answer:
    return Answer([Text(WHOLE, tokens=WORDS)], tokens_per_second=tokens_per_second)


def first_slowly(then: float) -> Respond:
    """A script: who asks first is answered for 15 seconds, the others at `then` tokens a second."""
    rates = iter([20.0])
    return lambda request: write_slowly(next(rates, then))


@pytest.fixture(scope="module")
async def _cluster(tmp_path_factory: pytest.TempPathFactory, _model: ScriptedModel) -> AsyncIterator[Cluster]:
    assert _model.server is not None
    times = {"LOQUENT_LEASE_SECONDS": f"{LEASE:g}", "LOQUENT_GRACE_SECONDS": f"{GRACE:g}"}
    async with run_cluster(tmp_path_factory.mktemp("nodes"), _model.server.base_url, count=2, **times) as cluster:
        yield cluster


@pytest.fixture
async def cluster(_cluster: Cluster, model: ScriptedModel) -> Cluster:
    """Two nodes, both ready, with a Valkey and a PostgreSQL."""
    await _cluster.heal()
    return _cluster


@pytest.fixture
async def connect(cluster: Cluster) -> AsyncIterator[Callable[..., Client]]:
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


Connect = Callable[..., Client]


async def find_writer(cluster: Cluster, model: ScriptedModel) -> tuple[Node, Node]:
    """The node that writes now, and another."""
    await until(lambda: model.open_streams > 0)
    writer = cluster.writer(model.requests[-1]["model"])
    return writer, cluster.others(writer)[0]


async def assert_saved_once(cluster: Cluster, reply: str, *, attempt: int) -> None:
    rows = await cluster.postgres.fetch(
        "select status, attempt, (select count(*) from run where message_id = message.id)"
        " from message where id = cast(:id as uuid)",
        id=reply,
    )
    assert [tuple(row) for row in rows] == [("COMPLETE", attempt, 0)]


async def test_a_reader_on_another_node_reads_while_it_is_written(
    cluster: Cluster, model: ScriptedModel, connect: Connect
) -> None:
    model.by(lambda request: write_slowly(75))
    sent = await connect(cluster.nodes[0]).send("Write.")
    _, other = await find_writer(cluster, model)
    early = 0
    text = ""
    async for event in connect(other).stream(sent.reply):
        if event["__typename"] == "TextDelta":
            text += event["text"]
            early += model.open_streams
    assert text == WHOLE
    # Of its four seconds many are left even if the machine pauses.
    assert early > 10


async def test_stopping_from_another_node_is_prompt_and_keeps_the_text(
    cluster: Cluster, model: ScriptedModel, connect: Connect
) -> None:
    model.by(lambda request: write_slowly(20))
    sent = await connect(cluster.nodes[0]).send("Write.")
    writer, other = await find_writer(cluster, model)
    read = Reading()
    reader = asyncio.create_task(connect(writer).read(sent.reply, read))
    await until(lambda: read.text != "")
    began = time.monotonic()
    stopped = (await connect(other).execute(STOP, id=sent.reply))["stopMessage"]["message"]
    # Half as long as it would be written.
    assert time.monotonic() - began < 8
    assert stopped["status"] == "STOPPED"
    assert stopped["text"] and WHOLE.startswith(stopped["text"])
    assert (await reader).text == stopped["text"] == (await connect(writer).message(sent.reply))["text"]
    await until(lambda: model.open_streams == 0)


async def test_the_changes_of_a_conversation_and_its_deletion_are_seen_on_all_nodes(
    cluster: Cluster, model: ScriptedModel, connect: Connect
) -> None:
    here, there = (connect(node) for node in cluster.nodes)
    first, _ = await here.ask("Hello.")
    async with there.socket() as socket:
        changes = socket.subscribe(CHANGES, {"id": first.conversation})
        events: list[dict[str, Any]] = []

        async def collect() -> None:
            async for data in changes:
                events.append(data["conversationStream"])

        collecting = asyncio.create_task(collect())

        async def is_following() -> bool:
            await here.execute(RENAME, id=first.conversation)
            return bool(events)

        await until(is_following)
        model.by(lambda request: write_slowly(10))
        sent = await here.send("And now?", conversationId=first.conversation)
        seen = Reading()
        reading = asyncio.create_task(there.read(sent.reply, seen))
        await until(lambda: {sent.message, sent.reply} <= {event.get("message", {}).get("id") for event in events})
        await until(lambda: bool(seen.events))
        began = time.monotonic()
        await here.execute(DELETE, id=first.conversation)
        async with asyncio.timeout(60):
            await collecting
            assert (await reading).finished is None
        # Half as long as it would be written.
        assert time.monotonic() - began < 15
    assert events[-1]["__typename"] == "ConversationDeleted"
    await until(lambda: model.open_streams == 0)


def first_a_task(title: str, then: Respond) -> Respond:
    """A script: a word, a task, and then another script."""

    def respond(request: dict[str, Any]) -> Answer | Refusal:
        if any(block["type"] == "tool_result" for block in request["messages"][-1]["content"]):
            return then(request)
        return Answer([Text("First a task. "), ToolUse("addTask", {"title": title})])

    return respond


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


async def kill_and_restart_valkey(cluster: Cluster) -> None:
    cluster.valkey.kill()
    await asyncio.sleep(1.5)
    cluster.valkey.start()


async def empty_valkey(cluster: Cluster) -> None:
    await cluster.valkey.empty()


async def freeze_valkey(cluster: Cluster) -> None:
    cluster.valkey.freeze()
    await asyncio.sleep(2)
    cluster.valkey.thaw()


@pytest.mark.parametrize("fail", [kill_and_restart_valkey, empty_valkey, freeze_valkey])
async def test_a_reply_goes_on_without_valkey_and_readers_elsewhere_end_with_its_text(
    cluster: Cluster, model: ScriptedModel, connect: Connect, fail: Callable[[Cluster], Awaitable[None]]
) -> None:
    model.by(lambda request: write_slowly(45))
    sent = await connect(cluster.nodes[0]).send("Go.")
    writer, other = await find_writer(cluster, model)
    read = Reading()
    near = asyncio.create_task(connect(writer).read(sent.reply))
    far = asyncio.create_task(connect(other).read(sent.reply, read))
    await until(lambda: len(read.texts.get(0, "")) > 100)
    await fail(cluster)
    early = len((await anext(connect(other).stream(sent.reply)))["text"])
    assert early < len(WHOLE)
    assert model.open_streams == 1
    async with asyncio.timeout(60):
        assert (await near).text == (await far).text == WHOLE
    assert len(model.requests) == 1
    await assert_saved_once(cluster, sent.reply, attempt=1)


async def test_what_one_node_signals_others_hear_also_after_valkey_was_gone(tmp_path: Path) -> None:
    valkey = Valkey(tmp_path)
    valkey.start()
    here, there = ValkeyLiveReplies(valkey.url), ValkeyLiveReplies(valkey.url)
    heard: list[UUID] = []
    there.on_signal(lambda signal, id: heard.append(id))
    try:
        await here.start()
        await there.start()
        for _ in range(2):
            id = uuid4()
            # One signal may be lost, before the other has subscribed; all of them may not.
            async with asyncio.timeout(60):
                while id not in heard:
                    here.signal("stop", id)
                    await asyncio.sleep(0.05)
            valkey.kill()
            await asyncio.sleep(1)
            valkey.start()
    finally:
        await here.close()
        await there.close()
        valkey.kill()


async def test_the_end_of_a_reply_is_not_told_before_its_last_piece(tmp_path: Path) -> None:
    valkey = Valkey(tmp_path)
    valkey.start()
    writer, elsewhere = ValkeyLiveReplies(valkey.url), ValkeyLiveReplies(valkey.url)
    try:
        await writer.start()
        await elsewhere.start()
        for last in (b"world", b""):
            id = uuid4()
            with elsewhere.watch(id) as watch:
                writer.begin(id, 1, (), b"hello ")
                async with asyncio.timeout(60):
                    while await elsewhere.read(id, 1, 0) is None:
                        await watch.changed(0.05)
                    # Valkey loses everything in the moment before the end.
                    await valkey.empty()
                    if last:
                        writer.append(id, 1, last)
                    writer.end(id, 1)
                    while not ((slice := await elsewhere.read(id, 1, 0)) and slice.ended):
                        await watch.changed(0.05)
                assert slice.data == b"hello " + last
    finally:
        await writer.close()
        await elsewhere.close()
        valkey.kill()


async def test_valkey_gone_until_the_end_delays_readers_elsewhere_and_loses_nothing(
    cluster: Cluster, model: ScriptedModel, connect: Connect
) -> None:
    model.by(lambda request: write_slowly(100))
    sent = await connect(cluster.nodes[0]).send("Go.")
    writer, other = await find_writer(cluster, model)
    readers = [asyncio.create_task(connect(node).read(sent.reply)) for node in (writer, other)]
    await asyncio.sleep(1)
    cluster.valkey.kill()
    async with asyncio.timeout(60):
        assert [(await reader).text for reader in readers] == [WHOLE, WHOLE]
    assert (await writer.readiness(), await other.readiness()) == (200, 200)


async def test_a_cursor_of_what_this_node_has_not_seen_yet_is_waited_for(
    cluster: Cluster, model: ScriptedModel, connect: Connect
) -> None:
    model.by(lambda request: write_slowly(75))
    sent = await connect(cluster.nodes[0]).send("Go.")
    writer, other = await find_writer(cluster, model)
    mirror = asyncio.create_task(connect(other).read(sent.reply))
    await asyncio.sleep(0.5)
    cluster.valkey.freeze()
    reading = Reading()
    async for event in connect(writer).stream(sent.reply):
        reading.take(event)
        if len(reading.text) > len(WHOLE) / 2:
            break
    going_on = asyncio.create_task(connect(other).read(sent.reply, reading))
    await asyncio.sleep(0.5)
    cluster.valkey.thaw()
    assert (await going_on).text == (await mirror).text == WHOLE


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


def find_servers(node: Node) -> list[int]:
    """The server processes of `serve --workers`; beside them it has a Valkey."""
    started = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children_of(node.process.pid)}
    return [pid for pid, command in started.items() if b"serve" in command.split(b"\0")]
