"""The rate limit: one count for all nodes, which goes on without Valkey, and says exactly how long to wait."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio import Redis

from resolvers import shared_windows
from resolvers.errors import RateLimited
from resolvers.rate_limit import OwnWindows, RateLimit
from resolvers.shared_windows import SharedWindows
from tests.acceptance.nodes import Valkey
from tests.client import Client, GraphQLFailed
from tests.conftest import ConnectClient, StartServer, until
from tests.model import ScriptedModel

ALLOWANCE = "{ viewer { rateLimit { limit remaining resetAt } } }"
REGENERATE = "mutation ($input: RegenerateMessageInput!) { regenerateMessage(input: $input) { reply { id } } }"
#: Ids that could be taken for one another, or for more than a part of a key.
IDS = ["a", "a/b", "b", "a/b/3/1/minute", "*", "{a}", "é👍🏽", "x" * 255, "x" * 254]


@pytest.fixture(autouse=True)
def _patient_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Valkey that runs is not taken for one that is away, however busy the machine is."""
    monkeypatch.setattr(shared_windows, "PATIENCE", 60.0)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What nodes have asked Valkey, answered or not: whoever asks one that is away waits for it."""
    asked: list[str] = []

    def note(name: str) -> None:
        ask = getattr(MovingWindowRateLimiter, name)

        async def asking(limiter: MovingWindowRateLimiter, *arguments: Any, **options: Any) -> Any:
            if isinstance(limiter.storage, RedisStorage):
                asked.append(name)
            return await ask(limiter, *arguments, **options)

        monkeypatch.setattr(MovingWindowRateLimiter, name, asking)

    for name in ("hit", "get_window_stats"):
        note(name)
    return asked


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A Valkey to take away."""
    valkey = Valkey(tmp_path)
    valkey.start()
    yield valkey
    valkey.kill()


@pytest.fixture
async def pair(
    start_server: StartServer, connect_client: ConnectClient, model: ScriptedModel, valkey: Valkey
) -> AsyncIterator[tuple[Client, Client]]:
    """One user on two nodes that share a Valkey; three messages a minute."""
    more: dict[str, Any] = {"rate_limit": 3, "valkey_url": valkey.url}
    async with start_server(**more) as one, start_server(**more) as other:
        yield connect_client(url=one.url), connect_client(url=other.url)


async def remaining(client: Client) -> int:
    return int((await client.execute(ALLOWANCE))["viewer"]["rateLimit"]["remaining"])


async def try_to_send(client: Client, **more: Any) -> str:
    """OK, or the code of the refusal."""
    try:
        await client.send("one", **more)
    except GraphQLFailed as failure:
        [code] = failure.codes
        return str(code)
    return "OK"


# One count


async def test_two_nodes_share_one_count(pair: tuple[Client, Client]) -> None:
    one, other = pair
    sent, _ = await one.ask("one")
    assert (await remaining(one), await remaining(other)) == (2, 2)
    await other.execute(REGENERATE, input={"messageId": sent.reply})
    assert (await remaining(one), await remaining(other)) == (1, 1)
    await one.send("two")
    resets = []
    for client in pair:
        limit = (await client.execute(ALLOWANCE))["viewer"]["rateLimit"]
        assert (limit["limit"], limit["remaining"]) == (3, 0)
        resets.append(datetime.fromisoformat(limit["resetAt"]).timestamp())
        with pytest.raises(GraphQLFailed) as failure:
            await client.send("three")
        assert failure.value.codes == ["RATE_LIMITED"]
        wait = failure.value.errors[0]["extensions"]["retryAfter"]
        assert 0 < resets[-1] - time.time() <= wait <= 60
    # By the same message: the first, whichever node took it.
    assert abs(resets[0] - resets[1]) < 0.01


async def test_of_many_messages_at_once_no_more_than_the_limit_pass(pair: tuple[Client, Client]) -> None:
    answers = await asyncio.gather(*(try_to_send(client) for client in pair for _ in range(10)))
    assert sorted(answers) == ["OK"] * 3 + ["RATE_LIMITED"] * 17
    for client in pair:
        assert await remaining(client) == 0


async def test_what_is_refused_or_repeated_counts_nothing(pair: tuple[Client, Client], bob: Client) -> None:
    one, other = pair
    foreign, _ = await bob.ask("mine")
    # Of several calls with one key, the one that stores counts.
    answers = await asyncio.gather(*(try_to_send(client, idempotencyKey="k") for client in pair for _ in range(5)))
    assert answers == ["OK"] * 10
    assert await remaining(other) == 2
    for client in pair:
        for more, code in (
            ({"idempotencyKey": "k"}, "OK"),
            ({"idempotencyKey": " "}, "BAD_USER_INPUT"),
            ({"conversationId": foreign.conversation}, "FORBIDDEN"),
            ({"parentId": foreign.reply}, "BAD_USER_INPUT"),
        ):
            assert await try_to_send(client, **more) == code
        with pytest.raises(GraphQLFailed):
            await client.execute(REGENERATE, input={"messageId": foreign.reply})
    assert (await remaining(one), await remaining(other)) == (2, 2)


async def test_every_user_has_a_count_of_its_own_and_a_short_key(valkey: Valkey) -> None:
    limit = RateLimit(3, SharedWindows(valkey.url))
    for id in IDS:
        assert (await limit.allowance(id)).remaining == 3
        await limit.count(id)
        assert (await limit.allowance(id)).remaining == 2
    await limit.close()
    async with Redis.from_url(valkey.url) as client:
        keys: list[Any] = await client.keys()
        assert len(keys) == len(IDS)
        assert all(key.startswith(b"loquent:limit:") and len(key) < 120 for key in keys)
        assert all([0 < await client.ttl(key) <= 60 for key in keys])


# Without Valkey


@pytest.mark.parametrize("way", ["kill", "freeze"])
async def test_messages_go_on_without_valkey_and_nobody_gets_a_new_minute(
    pair: tuple[Client, Client],
    valkey: Valkey,
    way: str,
    asked: list[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, other = pair
    caplog.set_level(logging.INFO, logger=shared_windows.__name__)
    await one.send("one")
    await other.send("two")
    getattr(valkey, way)()
    monkeypatch.setattr(shared_windows, "PATIENCE", 0.25)
    asked.clear()
    async with asyncio.timeout(30):
        for _ in range(2):
            assert await try_to_send(one) == "OK"
        # By the node's own count, of which the first message is one.
        assert await remaining(one) == 0
        assert await try_to_send(one) == "RATE_LIMITED"
    # Only the first waits for Valkey, and not for long.
    assert len(asked) == 1
    assert len([record for record in caplog.records if record.name == shared_windows.__name__]) == 1

    valkey.thaw()
    valkey.start()
    await until(lambda: "Valkey is back" in caplog.text)
    # It may have forgotten all: the node has not.
    assert await try_to_send(one) == "RATE_LIMITED"


async def test_the_nodes_count_together_again_once_valkey_is_back(
    pair: tuple[Client, Client], valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger=shared_windows.__name__)
    one, other = pair
    valkey.kill()
    for client in pair:
        assert await remaining(client) == 3
    valkey.start()
    await until(lambda: caplog.text.count("Valkey is back, nodes count") == 2)
    answers = [await try_to_send(client) for client in (one, other, one, other, one)]
    assert answers == ["OK"] * 3 + ["RATE_LIMITED"] * 2
    messages = [record.getMessage() for record in caplog.records if record.name == shared_windows.__name__]
    assert len(messages) == 4


async def test_a_burst_while_valkey_hangs_waits_once_for_all(
    valkey: Valkey, asked: list[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = RateLimit(10, SharedWindows(valkey.url))
    await limit.count("ann")
    valkey.freeze()
    monkeypatch.setattr(shared_windows, "PATIENCE", 0.25)
    asked.clear()
    async with asyncio.timeout(30):
        await asyncio.gather(*(limit.count(f"user {n}") for n in range(200)))
        # Those who asked beside each other: whoever had to wait for one of these has not asked.
        assert asked == ["hit"] * shared_windows.CONNECTIONS
        assert len(caplog.records) == 1
        await asyncio.gather(*(limit.check(f"user {n}") for n in range(200)))
        assert len(asked) == shared_windows.CONNECTIONS
    valkey.thaw()
    await limit.close()


async def test_a_server_starts_and_ends_without_valkey(
    start_server: StartServer, connect_client: ConnectClient, tmp_path: Path
) -> None:
    async with start_server(rate_limit=1, valkey_url=f"unix://{tmp_path}/nothing.sock") as server:
        client = connect_client(url=server.url)
        assert [await try_to_send(client) for _ in range(2)] == ["OK", "RATE_LIMITED"]


# The time to wait


class Clock:
    """A time that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "time", clock)
    return clock


@asynccontextmanager
async def counting(valkey: Valkey, store: str) -> AsyncIterator[RateLimit]:
    limit = RateLimit(3, SharedWindows(valkey.url) if store == "valkey" else None)
    try:
        yield limit
    finally:
        await limit.close()


async def seconds_to_wait(limit: RateLimit) -> int:
    waits = set()
    for ask in (limit.check, limit.count):
        with pytest.raises(RateLimited) as refusal:
            await ask("ann")
        waits.add(refusal.value.retry_after)
    [wait] = waits
    assert wait is not None
    return wait


@pytest.mark.parametrize("store", ["memory", "valkey"])
async def test_after_the_time_to_wait_and_not_sooner_the_next_message_passes(
    valkey: Valkey, clock: Clock, store: str
) -> None:
    begin = clock.now
    async with counting(valkey, store) as limit:
        for second in (0, 10, 20.5):
            clock.now = begin + second
            await limit.count("ann")
        for second in (20.5, 21, 59.0, 59.9, 59.99):
            clock.now = begin + second
            wait = await seconds_to_wait(limit)
            assert 0 < wait - (60 - second) <= 1
            allowance = await limit.allowance("ann")
            assert (allowance.limit, allowance.remaining) == (3, 0)
            assert allowance.reset_at.timestamp() == pytest.approx(begin + 60, abs=1e-3)
        clock.now = begin + 20.5 + 40
        await limit.check("ann")
        await limit.count("ann")
        # The next one that goes is the second.
        assert await seconds_to_wait(limit) == 10
        assert (await limit.allowance("ann")).reset_at.timestamp() == pytest.approx(begin + 70, abs=1e-3)


@pytest.mark.parametrize("store", ["memory", "valkey"])
async def test_of_one_who_sent_nothing_in_a_minute_all_is_there_now(valkey: Valkey, clock: Clock, store: str) -> None:
    async with counting(valkey, store) as limit:
        for _ in range(2):
            allowance = await limit.allowance("ann")
            assert (allowance.remaining, allowance.reset_at) == (3, datetime.fromtimestamp(clock.now, UTC))
            await limit.count("ann")
            assert (await limit.allowance("ann")).remaining == 2
            clock.now += 60.5


async def test_the_memory_holds_nobody_longer_than_a_minute(clock: Clock) -> None:
    windows = OwnWindows()
    for key in ("ann", "bob", "ann"):
        assert await windows.acquire_entry(key, 2, 60)
        clock.now += 20
    assert not await windows.acquire_entry("ann", 1, 60)
    assert list(windows.events) == ["bob", "ann"]
    clock.now += 30
    assert await windows.acquire_entry("eve", 2, 60)
    assert list(windows.events) == ["ann", "eve"]
    assert len(windows.events["ann"]) == 2
    clock.now += 61
    assert await windows.acquire_entry("eve", 2, 60)
    assert [(key, len(entries)) for key, entries in windows.events.items()] == [("eve", 1)]
