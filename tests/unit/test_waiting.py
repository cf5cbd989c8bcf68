"""A socket waits for its messages, and until its client reads, without losing either."""

import asyncio

import pytest

from server.transport.waiting import Gate, Inbox


async def test_messages_are_taken_in_their_order_whether_they_came_before_or_after_the_asking() -> None:
    inbox = Inbox()
    inbox.put_nowait(1)
    inbox.put_nowait(2)
    assert not inbox.empty()
    assert [await inbox.get(), await inbox.get()] == [1, 2]
    assert inbox.empty()
    taken = inbox.get()
    inbox.put_nowait(3)
    inbox.put_nowait(4)
    assert [await taken, await inbox.get()] == [3, 4]


async def test_who_gives_up_waiting_leaves_the_message_to_the_next() -> None:
    inbox = Inbox()
    inbox.get().cancel()
    inbox.put_nowait("late")
    assert await inbox.get() == "late"


async def test_all_who_wait_at_a_gate_go_on_once_it_opens_but_for_those_who_left() -> None:
    gate = Gate()
    await gate.wait()
    gate.clear()
    waiting = [asyncio.create_task(gate.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    assert not gate.is_set()
    assert not any(task.done() for task in waiting[1:])
    gate.set()
    await asyncio.gather(*waiting[1:])
    assert gate.is_set()
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]
