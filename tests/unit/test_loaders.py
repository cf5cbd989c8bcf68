"""What many fields ask for at once is gathered, whoever leaves meanwhile."""

import asyncio
from collections.abc import Sequence

import pytest

from schema.context import Loader


class Source:
    """Doubles numbers, and remembers what it was asked for together."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    async def load(self, keys: Sequence[int]) -> list[int]:
        self.asked.append(list(keys))
        await asyncio.sleep(0)
        return [2 * key for key in keys]


@pytest.mark.parametrize("turns", range(4))
async def test_a_load_is_answered_although_all_who_asked_before_have_left(turns: int) -> None:
    loader = Loader(Source().load, cache=False)
    left = asyncio.ensure_future(loader.load(1))
    for _ in range(turns):
        await asyncio.sleep(0)
    left.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        assert await loader.load(2) == 4


@pytest.mark.parametrize("turns", range(4))
async def test_a_load_is_answered_whenever_the_one_before_it_leaves(turns: int) -> None:
    loader = Loader(Source().load, cache=False)
    left = asyncio.ensure_future(loader.load(1))
    left.cancel()
    for _ in range(turns):
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        assert await loader.load(2) == 4


async def test_what_is_asked_for_at_once_is_loaded_together_without_what_nobody_waits_for() -> None:
    source = Source()
    loader = Loader(source.load, cache=False)
    asyncio.ensure_future(loader.load(1)).cancel()
    assert list(await asyncio.gather(loader.load(2), loader.load(3))) == [4, 6]
    assert source.asked == [[2, 3]]
