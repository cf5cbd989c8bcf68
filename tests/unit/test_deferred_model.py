"""A model that is made while others are served: who asks early waits, and hears of a failure."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agent.deferred_model import DeferredModel
from agent.model import ModelEnded, ModelEvent, ModelRequest, ModelStarted, TellPiece, TextPiece, Usage

ASK = ModelRequest(model="scripted", messages=[], system=[])


class Echo:
    """Says one word."""

    closed = 0
    open_streams = 0

    async def stream(self, request: ModelRequest, usage: Usage, tell: TellPiece) -> AsyncIterator[ModelEvent]:
        self.open_streams += 1
        try:
            yield ModelStarted("echo")
            tell(TextPiece("Hello."))
            yield ModelEnded("end_turn")
        finally:
            self.open_streams -= 1

    async def close(self) -> None:
        self.closed += 1


class Workshop:
    """Makes an `Echo` once it is let."""

    def __init__(self) -> None:
        self.echo = Echo()
        self.let = threading.Event()

    def make(self) -> Echo:
        assert self.let.wait(10)
        return self.echo


async def hear(model: DeferredModel) -> list[ModelEvent | TextPiece]:
    heard: list[ModelEvent | TextPiece] = []
    async for event in model.stream(ASK, Usage(), heard.append):  # type: ignore[arg-type]
        heard.append(event)
    return heard


async def test_whoever_asks_before_it_is_made_waits_and_then_hears_all() -> None:
    workshop = Workshop()
    model = DeferredModel(workshop.make)
    model.start()
    asked = asyncio.create_task(hear(model))
    await asyncio.sleep(0.05)
    states = [(model.is_ready, asked.done())]
    workshop.let.set()
    assert await asked == [ModelStarted("echo"), TextPiece("Hello."), ModelEnded("end_turn")]
    states.append((model.is_ready, asked.done()))
    assert states == [(False, False), (True, True)]
    await model.close()
    assert workshop.echo.closed == 1


async def test_whoever_gives_up_waiting_does_not_take_the_model_from_others() -> None:
    workshop = Workshop()
    model = DeferredModel(workshop.make)
    model.start()
    impatient, patient = asyncio.create_task(hear(model)), asyncio.create_task(hear(model))
    await asyncio.sleep(0)
    impatient.cancel()
    workshop.let.set()
    assert len(await patient) == 3
    assert impatient.cancelled()


@pytest.mark.parametrize("early", [True, False])
async def test_leaving_in_the_middle_closes_the_stream_of_the_model_itself(early: bool) -> None:
    workshop = Workshop()
    workshop.let.set()
    model = DeferredModel(workshop.make)
    model.start()
    if not early:
        await model.wait()
    events: Any = model.stream(ASK, Usage(), lambda piece: None)
    assert await anext(events) == ModelStarted("echo")
    assert workshop.echo.open_streams == 1
    await events.aclose()
    assert workshop.echo.open_streams == 0


async def test_what_cannot_be_made_is_told_to_all_who_ask_and_leaves_nothing_to_close() -> None:
    def fail() -> Echo:
        raise ImportError("no such module")

    model = DeferredModel(fail)
    model.start()
    for _ in range(2):
        with pytest.raises(ImportError):
            await hear(model)
    assert not model.is_ready
    await model.close()


async def test_one_that_was_never_started_can_be_closed() -> None:
    model = DeferredModel(Workshop().make)
    await model.close()
    assert not model.is_ready
