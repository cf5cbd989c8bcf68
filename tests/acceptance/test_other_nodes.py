"""Any node serves any user: it shows, stops and deletes what another writes."""

import asyncio
import time
from typing import Any

from tests.acceptance.clusters import (
    WHOLE,
    Connect,
    cluster,
    cluster_of_two,
    connect,
    find_writer,
    write_slowly,
)
from tests.acceptance.nodes import Cluster
from tests.client import Reading
from tests.conftest import until
from tests.model import ScriptedModel

__all__ = ["cluster", "cluster_of_two", "connect"]

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
