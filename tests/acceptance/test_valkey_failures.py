"""No failure of Valkey loses or doubles a token: it holds nothing that is not elsewhere."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from runs.valkey import ValkeyLiveReplies
from tests.acceptance.clusters import (
    WHOLE,
    Connect,
    assert_saved_once,
    cluster,
    cluster_of_two,
    connect,
    find_writer,
    write_slowly,
)
from tests.acceptance.nodes import Cluster, Valkey
from tests.client import Reading
from tests.conftest import until
from tests.model import ScriptedModel

__all__ = ["cluster", "cluster_of_two", "connect"]


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
