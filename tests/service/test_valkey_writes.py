"""What nobody reads on another node is written seldom, what somebody asks for at once; nothing stays unwritten."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import ConnectionError

from runs import valkey as valkey_module
from runs import valkey_writes
from runs.embedded_valkey import run_valkey
from runs.live import LiveSlice
from runs.valkey import ValkeyLiveReplies
from runs.valkey_format import CHANNEL, log_key, newest_key
from tests.conftest import until


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with run_valkey() as url:
        yield url


@pytest.fixture
def never_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody has asked for is not written before its end."""
    monkeypatch.setattr(valkey_writes, "UNREAD_WAIT", 3600.0)


@pytest.fixture
def asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that reads a reply asks for it once and for all."""
    monkeypatch.setattr(valkey_writes, "FOLLOWED_FOR", 3600.0)
    monkeypatch.setattr(valkey_module, "ASK_AGAIN", 3600.0)


class Nodes:
    """Two nodes that write, and one that reads."""

    def __init__(self, url: str) -> None:
        self.writer, self.next_writer, self.elsewhere = (ValkeyLiveReplies(url) for _ in range(3))
        self._valkey = Redis.from_url(url)

    async def start(self) -> None:
        for node in (self.writer, self.next_writer, self.elsewhere):
            await node.start()
        # Asking is heard once all have subscribed.
        await until(self._have_subscribed)

    async def _have_subscribed(self) -> bool:
        [(_, count)] = await self._valkey.pubsub_numsub(CHANNEL)
        return bool(count >= 3)

    async def close(self) -> None:
        for node in (self.writer, self.next_writer, self.elsewhere):
            await node.close()
        await self._valkey.aclose()

    async def stored(self, id: UUID, attempt: int = 1) -> bytes:
        data = await self._valkey.get(log_key(id, attempt)) or b""
        assert isinstance(data, bytes)
        return data

    async def lose_everything(self) -> None:
        await self._valkey.flushall()

    async def is_known(self, id: UUID) -> bool:
        return bool(await self._valkey.exists(newest_key(id)))

    async def write_another(self) -> None:
        """Have the writer write, and come back when it has."""
        id = uuid4()
        self.writer.begin(id, 1, (), b"another")
        await until(lambda: self.has(id, b"another"))

    async def has(self, id: UUID, data: bytes) -> bool:
        return await self.stored(id) == data

    async def read_until(self, id: UUID, data: bytes, attempt: int = 1) -> LiveSlice:
        """Read elsewhere, as it comes, until an attempt has this; gives the last slice."""
        known, log = 0, b""
        with self.elsewhere.watch(id) as watch:
            async with asyncio.timeout(60):
                while True:
                    slice = await self.elsewhere.read(id, known, len(log))
                    if slice is not None:
                        log = (log if slice.attempt == known else b"") + slice.data
                        known = slice.attempt
                        if (known, log) == (attempt, data):
                            return slice
                    await watch.changed(0.5)


@pytest.fixture
async def nodes(url: str) -> AsyncIterator[Nodes]:
    nodes = Nodes(url)
    await nodes.start()
    yield nodes
    await nodes.close()


@pytest.mark.usefixtures("never_in_turn")
async def test_what_nobody_reads_elsewhere_waits_although_others_are_written(nodes: Nodes) -> None:
    id = uuid4()
    nodes.writer.begin(id, 1, (), b"one ")
    await nodes.write_another()
    nodes.writer.append(id, 1, b"two ")
    await nodes.write_another()
    assert await nodes.stored(id) == b"one "


async def test_what_nobody_reads_elsewhere_is_written_in_its_turn(nodes: Nodes) -> None:
    ids = [uuid4() for _ in range(50)]

    async def are_stored(data: bytes) -> bool:
        return {await nodes.stored(id) for id in ids} == {data}

    for id in ids:
        nodes.writer.begin(id, 1, (), b"one ")
    await until(lambda: are_stored(b"one "))
    for id in ids:
        nodes.writer.append(id, 1, b"two ")
    await until(lambda: are_stored(b"one two "))


@pytest.mark.usefixtures("never_in_turn")
async def test_the_end_is_written_at_once_with_all_before_it(nodes: Nodes) -> None:
    id = uuid4()
    nodes.writer.begin(id, 1, (), b"one ")
    await nodes.write_another()
    nodes.writer.append(id, 1, b"two ")
    nodes.writer.end(id, 1)
    assert (await nodes.read_until(id, b"one two ")).ended


@pytest.mark.usefixtures("never_in_turn")
async def test_a_node_that_ends_writes_what_has_waited(nodes: Nodes, url: str) -> None:
    id, ending = uuid4(), ValkeyLiveReplies(url)
    await ending.start()
    ending.begin(id, 1, (), b"one ")
    await until(lambda: nodes.has(id, b"one "))
    ending.append(id, 1, b"two ")
    await ending.close()
    assert await nodes.stored(id) == b"one two "


@pytest.mark.usefixtures("never_in_turn", "asked_once")
async def test_a_reader_elsewhere_gets_what_has_waited_and_each_piece_that_comes(nodes: Nodes) -> None:
    id = uuid4()
    nodes.writer.begin(id, 1, (), b"one ")
    await nodes.write_another()
    nodes.writer.append(id, 1, b"two ")
    with nodes.elsewhere.watch(id):
        await nodes.read_until(id, b"one two ")
        nodes.writer.append(id, 1, b"three ")
        await nodes.read_until(id, b"one two three ")


@pytest.mark.usefixtures("never_in_turn", "asked_once")
async def test_a_reader_that_was_there_before_gets_each_piece(nodes: Nodes) -> None:
    id = uuid4()
    with nodes.elsewhere.watch(id):
        assert await nodes.elsewhere.read(id, 0, 0) is None
        nodes.writer.begin(id, 1, (), b"one ")
        await nodes.read_until(id, b"one ")
        nodes.writer.append(id, 1, b"two ")
        await nodes.read_until(id, b"one two ")


@pytest.mark.usefixtures("never_in_turn", "asked_once")
async def test_the_writer_of_a_new_attempt_is_asked_too(nodes: Nodes) -> None:
    id = uuid4()
    nodes.writer.begin(id, 1, (), b"one ")
    with nodes.elsewhere.watch(id):
        await nodes.read_until(id, b"one ")
        nodes.writer.append(id, 1, b"2 ")
        await nodes.read_until(id, b"one 2 ")
        nodes.writer.drop(id, 1)
        nodes.next_writer.begin(id, 2, (4,), b"one ")
        await nodes.read_until(id, b"one ", attempt=2)
        nodes.next_writer.append(id, 2, b"two ")
        await nodes.read_until(id, b"one two ", attempt=2)


@pytest.mark.usefixtures("never_in_turn")
async def test_a_reader_asks_again_as_long_as_it_reads(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey_writes, "FOLLOWED_FOR", 0.3)
    monkeypatch.setattr(valkey_module, "ASK_AGAIN", 0.1)
    id, text = uuid4(), b""
    nodes.writer.begin(id, 1, (), text)
    with nodes.elsewhere.watch(id):
        for word in (b"one ", b"two ", b"three "):
            # Longer than it is minded: silence is no reason to be forgotten.
            await asyncio.sleep(0.5)
            text += word
            nodes.writer.append(id, 1, word)
            await nodes.read_until(id, text)


@pytest.mark.usefixtures("never_in_turn")
async def test_a_writer_that_was_deaf_is_asked_again(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey_module, "ASK_AGAIN", 0.1)
    id = uuid4()
    nodes.writer.begin(id, 1, (), b"one ")
    hear = nodes.writer._hear
    monkeypatch.setattr(nodes.writer, "_hear", lambda hint: None)
    with nodes.elsewhere.watch(id):
        await nodes.read_until(id, b"one ")
        nodes.writer.append(id, 1, b"two ")
        await nodes.write_another()
        assert await nodes.stored(id) == b"one "
        monkeypatch.setattr(nodes.writer, "_hear", hear)
        await nodes.read_until(id, b"one two ")


@pytest.mark.usefixtures("never_in_turn")
async def test_once_nobody_reads_any_more_it_waits_again(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey_writes, "FOLLOWED_FOR", 0.2)
    id = uuid4()
    nodes.writer.begin(id, 1, (), b"one ")
    await nodes.read_until(id, b"one ")
    await asyncio.sleep(0.5)
    before = await nodes.stored(id)
    nodes.writer.append(id, 1, b"two ")
    await nodes.write_another()
    assert await nodes.stored(id) == before == b"one "


@pytest.mark.usefixtures("asked_once")
async def test_a_log_that_valkey_lost_before_its_first_text_is_written_again(nodes: Nodes) -> None:
    id = uuid4()
    nodes.writer.begin(id, 1, (), b"")
    with nodes.elsewhere.watch(id):
        await nodes.read_until(id, b"")
        await nodes.lose_everything()
        nodes.writer.append(id, 1, b"one ")
        await nodes.read_until(id, b"one ")


async def test_an_attempt_that_was_given_up_goes_although_the_first_write_of_that_failed(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    id, execute, failed = uuid4(), Pipeline.execute, asyncio.Event()
    nodes.writer.begin(id, 1, (), b"one ")
    await until(lambda: nodes.is_known(id))

    async def fail_once(pipeline: Pipeline, *arguments: Any) -> Any:
        if not failed.is_set():
            failed.set()
            raise ConnectionError("cut")
        return await execute(pipeline, *arguments)

    monkeypatch.setattr(Pipeline, "execute", fail_once)
    nodes.writer.drop(id, 1)
    await failed.wait()

    async def is_gone() -> bool:
        return not await nodes.is_known(id)

    await until(is_gone)
    assert id not in nodes.writer._writes


async def test_an_older_attempt_changes_nothing(nodes: Nodes) -> None:
    id = uuid4()
    nodes.writer.begin(id, 2, (4,), b"one ")
    nodes.writer.begin(id, 1, (), b"")
    nodes.writer.append(id, 2, b"two ")
    nodes.writer.end(id, 2)
    assert (await nodes.read_until(id, b"one two ", attempt=2)).ended


async def test_a_crowd_that_looks_at_once_finds_everything(nodes: Nodes) -> None:
    ids = [uuid4() for _ in range(300)]
    for id in ids:
        nodes.writer.begin(id, 1, (), b"one ")
    await until(lambda: nodes.has(ids[-1], b"one "))
    with ExitStack() as watches:
        for id in ids:
            watches.enter_context(nodes.elsewhere.watch(id))
        slices = await asyncio.gather(*(nodes.elsewhere.read(id, 0, 0) for id in ids))
    assert {slice and slice.data for slice in slices} == {b"one "}
    assert nodes.elsewhere.is_reachable


async def test_what_comes_for_a_reader_that_has_left_is_not_kept(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    id, fetch = uuid4(), nodes.elsewhere._mirror
    fetching, go_on, fetched = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def fetch_later(ids: Sequence[UUID]) -> None:
        fetching.set()
        await go_on.wait()
        await fetch(ids)
        fetched.set()

    with nodes.elsewhere.watch(id):
        assert await nodes.elsewhere.read(id, 0, 0) is None
        monkeypatch.setattr(nodes.elsewhere, "_mirror", fetch_later)
        nodes.writer.begin(id, 1, (), b"one ")
        await fetching.wait()
    go_on.set()
    await fetched.wait()
    await until(lambda: nodes.elsewhere.count == 0)
