"""Replies wait their turn, and one whose node is gone is taken over: nothing is lost, nothing is done twice."""

import asyncio
from contextlib import aclosing
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.parts import Part, TextPart, ToolCallPart, parts_to_json
from agent.stand_in.answers import Answer, Text
from agent.stand_in.answers import ToolUse as Call
from persistence import runs
from persistence.database import Database
from persistence.runs import ClaimedRun, FinishedReply, claim_runs, finish_reply, park_run, release_run, request_cancel
from resolvers.exchanges import regenerate_message
from resolvers.messages import load_saved
from runs.follow import Cursor, follow_reply
from runs.log import StreamRestarted, TextDelta, begin_text, write_log
from runs.memory import MemoryLiveReplies
from runs.worker import Worker
from tests.conftest import empty, until
from tests.model import ScriptedModel, last_text, say
from tests.workers import (
    NEVER,
    NOTHING,
    SHORT,
    StartNode,
    Tools,
    begin_and_die,
    call_by,
    claim,
    clock,
    finished,
    lease_end,
    parts_of,
    row_of,
    save,
    send,
    statuses,
)


def results(request: dict[str, Any]) -> list[tuple[str, bool]]:
    """What the model is told of the calls of the last step: the content, and whether it is an error."""
    last = request["messages"][-1]
    return [(block["content"], block["is_error"]) for block in last["content"] if block["type"] == "tool_result"]


# The queue


async def test_more_replies_than_slots_wait_as_queued(
    queue: Database, start_node: StartNode, model: ScriptedModel, tools: Tools
) -> None:
    model.by(lambda request: Answer([Call("hold", {})]) if len(request["messages"]) == 1 else say("Done."))
    for number in range(5):
        await send(queue, f"Question {number}", owner=f"user {number}")
    async with start_node(capacity=2):
        await until(lambda: len(model.requests) == 2)
        # Long enough for more looks at the table.
        await asyncio.sleep(1.3)
        assert await statuses(queue) == ["STREAMING"] * 2 + ["QUEUED"] * 3
        assert len(model.requests) == 2
        tools.may_end.set()

        async def all_done() -> bool:
            return await statuses(queue) == ["COMPLETE"] * 5

        await until(all_done)


async def test_who_looks_while_another_takes_the_first_takes_the_next(queue: Database) -> None:
    waiting = [(await send(queue, f"{number}", owner=f"user {number}")).reply.row.id for number in range(5)]
    async with queue.driver_transaction() as one, queue.driver_transaction() as other:
        first = await claim_runs(one, 2, NEVER)
        second = await claim_runs(other, 2, NEVER)
    assert {run.message_id for run in first} == set(waiting[:2])
    assert {run.message_id for run in second} == set(waiting[2:4])
    assert all(run.left_others for run in [*first, *second])


async def test_no_more_runs_are_taken_than_asked_for_where_one_conversation_has_several(queue: Database) -> None:
    first = await send(queue, "Go.")
    for _ in range(3):
        await regenerate_message(call_by(queue, "ann"), first.reply.row.id, idempotency_key=None)
    async with queue.connection() as connection:
        assert [len(await claim_runs(connection, limit, NEVER)) for limit in (1, 2, 5)] == [1, 2, 1]


async def write_all(queue: Database, start_node: StartNode, model: ScriptedModel, *, capacity: int) -> list[str]:
    """Write all that waits; gives the questions in the order in which the model was asked."""

    async def all_done() -> bool:
        return set(await statuses(queue)) == {"COMPLETE"}

    async with start_node(capacity=capacity):
        await until(all_done)
    return [last_text(request) for request in model.requests]


async def test_the_oldest_goes_first(queue: Database, start_node: StartNode, model: ScriptedModel) -> None:
    for number in range(10):
        await send(queue, f"Question {number}", owner=f"user {number % 3}")
    order = await write_all(queue, start_node, model, capacity=1)
    for owner in range(3):
        own = [f"Question {number}" for number in range(owner, 10, 3)]
        assert [question for question in order if question in own] == own


async def test_one_who_sent_many_does_not_hold_up_another(
    queue: Database, start_node: StartNode, model: ScriptedModel
) -> None:
    for number in range(50):
        await send(queue, f"ann {number}")
    await send(queue, "bob", owner="bob")
    order = await write_all(queue, start_node, model, capacity=4)
    assert order.index("bob") < 8


@pytest.mark.parametrize("many", [1, 2])
async def test_as_many_who_sent_many_as_there_are_slots_do_not_hold_up_another(
    queue: Database, start_node: StartNode, model: ScriptedModel, many: int
) -> None:
    for number in range(12):
        for user in range(many):
            await send(queue, f"Question {number} of {user}", owner=f"user {user}")
    await send(queue, "bob", owner="bob")
    order = await write_all(queue, start_node, model, capacity=many)
    assert order.index("bob") < 4 * many


async def test_who_has_replies_under_way_comes_after_who_has_none(queue: Database) -> None:
    for number in range(10):
        await send(queue, f"ann {number}")
    async with queue.connection() as connection:
        assert len(await claim_runs(connection, 5, NEVER)) == 5
        await send(queue, "bob 0", owner="bob")
        [next_run] = await claim_runs(connection, 1, NEVER)
    assert next_run.owner_id == "bob"


async def test_two_nodes_never_take_the_same_run(queue: Database) -> None:
    for number in range(30):
        await send(queue, f"Question {number}")

    async def take() -> list[UUID]:
        async with queue.connection() as connection:
            return [run.message_id for _ in range(4) for run in await claim_runs(connection, 3, NEVER)]

    taken = [id for ids in await asyncio.gather(*(take() for _ in range(5))) for id in ids]
    assert len(taken) == len(set(taken))


# The lease


async def test_a_run_whose_node_is_gone_is_taken_over_after_its_lease(
    queue: Database, start_node: StartNode, model: ScriptedModel
) -> None:
    run = await begin_and_die(queue, lease=2.0)
    end = await lease_end(queue, run.message_id)

    async def is_over() -> bool:
        asked = len(model.requests)
        row, now = await row_of(queue, run.message_id), await clock(queue)
        # However late one looks: as long as the lease runs, nobody else has begun.
        assert now >= end or (row["status"], row["attempt"], asked) == ("STREAMING", 1, 0)
        return now >= end

    async with start_node():
        await until(is_over)
        row = await finished(queue, run.message_id)
    assert (row["status"], row["attempt"]) == ("COMPLETE", 2)
    assert await parts_of(queue, run.message_id) == [TextPart("Hello.")]
    assert len(model.requests) == 1


async def test_a_lease_is_renewed_as_long_as_the_node_lives(
    queue: Database, start_node: StartNode, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer([Call("hold", {})]), say("Done."))
    exchange = await send(queue, "Wait.")
    id = exchange.reply.row.id

    async def is_held() -> bool:
        return await lease_end(queue, id) > await clock(queue)

    async with start_node(lease=6), start_node(lease=6):
        await until(is_held)
        for _ in range(2):
            end = await lease_end(queue, id)

            async def is_renewed(end: datetime = end) -> bool:
                return await lease_end(queue, id) > end

            await until(is_renewed)
        tools.may_end.set()
        row = await finished(queue, id)
    assert (row["status"], row["attempt"]) == ("COMPLETE", 1)


# What earlier attempts saved is «One. » and a call; what they showed and did not save is « Two thr».
SAVED: list[Part] = [
    TextPart("One. "),
    ToolCallPart("c", "again", {}, "SUCCEEDED", {"did": "again"}, order=0, begun=True),
]
SAVED_POSITION = 8
UNSAVED = "Two thr"


@pytest.mark.parametrize("shared", [True, False], ids=["the same live state", "another node's"])
@pytest.mark.parametrize("read", [0, 3, SAVED_POSITION, SAVED_POSITION + 1, SAVED_POSITION + 1 + len(UNSAVED)])
async def test_readers_are_told_to_drop_what_was_not_saved_and_only_they(
    queue: Database, start_node: StartNode, model: ScriptedModel, read: int, shared: bool
) -> None:
    model.script(say("Two, three."))
    live = MemoryLiveReplies()
    run = await begin_and_die(queue, SAVED)
    live.begin(run.message_id, 1, (), write_log(SAVED))
    live.append(run.message_id, 1, begin_text() + UNSAVED.encode())
    news_live = live if shared else MemoryLiveReplies()
    context = call_by(queue, "ann", news_live)
    texts = {0: "One. "[: max(0, read - 1)], 2: UNSAVED[: max(0, read - SAVED_POSITION - 1)]}
    restarts: list[tuple[int, int]] = []

    def take(event: object) -> None:
        nonlocal texts
        match event:
            case TextDelta(part=part, offset=offset, text=piece):
                assert len(texts.get(part, "")) >= offset
                texts[part] = texts.get(part, "")[:offset] + piece
            case StreamRestarted(position=position, part=part):
                restarts.append((position, part))
                texts = {index: text for index, text in texts.items() if index < part}

    async def follow() -> None:
        load = partial(load_saved, context, run.message_id)
        async with aclosing(follow_reply(news_live, run.message_id, Cursor(1, read), load)) as stream:
            async for news in stream:
                for event in news.events:
                    take(event)

    following = asyncio.create_task(follow())
    await until(lambda: texts[0] == "One. " and (texts[2] == UNSAVED or not shared))
    await asyncio.sleep(2 * SHORT)
    async with start_node(live=news_live):
        await asyncio.wait_for(following, 60)
    assert texts == {0: "One. ", 2: "Two, three."}
    # Who comes while the live state is still there reads the rest of it, wherever it begins.
    has_read_more = shared or read > SAVED_POSITION
    assert restarts == ([(SAVED_POSITION, 2)] if has_read_more else [])
    assert (await row_of(queue, run.message_id))["status"] == "COMPLETE"


async def test_calls_that_had_begun_run_again_only_if_that_does_no_harm(
    queue: Database, start_node: StartNode, model: ScriptedModel, tools: Tools
) -> None:
    begun = [
        ToolCallPart("a", "once", {}, "SUCCEEDED", {"did": "long ago"}, order=0, begun=True),
        ToolCallPart("b", "once", {}, begun=True),
        ToolCallPart("c", "again", {}, begun=True),
        ToolCallPart("d", "again", {}, "SUCCEEDED", {"did": "long ago"}, order=1, begun=True),
        ToolCallPart("e", "once", {}),
    ]
    run = await begin_and_die(queue, begun)
    await asyncio.sleep(2 * SHORT)
    async with start_node():
        row = await finished(queue, run.message_id)
    assert row["status"] == "COMPLETE"
    assert sorted(tools.calls) == ["again", "once"]
    calls = [part for part in await parts_of(queue, run.message_id) if isinstance(part, ToolCallPart)]
    assert {call.id: (call.status, call.result) for call in calls} == {
        "a": ("SUCCEEDED", {"did": "long ago"}),
        "b": ("INTERRUPTED", None),
        "c": ("SUCCEEDED", {"did": "again"}),
        "d": ("SUCCEEDED", {"did": "long ago"}),
        "e": ("SUCCEEDED", {"did": "once"}),
    }
    [request] = model.requests
    assert [is_error for _, is_error in results(request)] == [False, True, False, False, False]
    assert "not known" in results(request)[1][0]


async def test_a_call_never_runs_unasked_where_the_node_dies_right_before_it_asks(
    queue: Database, start_node: StartNode, model: ScriptedModel, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    async def die_once(connection: AsyncConnection, run: ClaimedRun, **saved: Any) -> bool:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise RuntimeError("the node died")
        return await park_run(connection, run, **saved)

    monkeypatch.setattr(runs, "park_run", die_once)
    model.script(Answer([Text("May I? "), Call("ask", {})]))
    id = (await send(queue, "Go.")).reply.row.id

    async def is_settled() -> bool:
        return (await row_of(queue, id))["status"] not in ("QUEUED", "STREAMING")

    async with start_node(lease=1.0):
        await until(is_settled)
    assert tools.calls == []
    assert (await row_of(queue, id))["status"] == "AWAITING_APPROVAL"


async def test_a_stop_that_meets_the_parking_is_not_lost(
    queue: Database, start_node: StartNode, model: ScriptedModel, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker: Worker

    async def park_after_stop(connection: AsyncConnection, run: ClaimedRun, **saved: Any) -> bool:
        async with queue.transaction() as session:
            await request_cancel(await session.connection(), run.message_id)
        worker.stop_reply(run.message_id)
        return await park_run(connection, run, **saved)

    monkeypatch.setattr(runs, "park_run", park_after_stop)
    model.script(Answer([Call("ask", {})]))
    exchange = await send(queue, "Go.")
    async with start_node() as worker:
        row = await finished(queue, exchange.reply.row.id)
    assert row["status"] == "STOPPED"
    [call] = await parts_of(queue, exchange.reply.row.id)
    assert isinstance(call, ToolCallPart)
    assert call.status == "INTERRUPTED"
    assert tools.calls == []


async def everything(queue: Database) -> list[Any]:
    """All rows that a run's writes could touch."""
    async with queue.connection() as connection:
        return [
            (await connection.execute(text(f"select * from {table} order by 1"))).all()
            for table in ("conversation", "message", "run", "spending")
        ]


@pytest.mark.parametrize("then", ["taken over", "finished", "deleted"])
async def test_writes_of_an_attempt_that_lost_its_run_change_nothing(queue: Database, then: str) -> None:
    old = await begin_and_die(queue, [TextPart("Old. ")])
    await asyncio.sleep(2 * SHORT)
    new = await claim(queue, NEVER)
    assert (new.message_id, new.attempt) == (old.message_id, 2)
    end = FinishedReply("COMPLETE", parts_to_json([TextPart("New.")]), "New.", "scripted", NOTHING)
    if then == "finished":
        async with queue.connection() as connection:
            assert await finish_reply(connection, new, end) is not None
    elif then == "deleted":
        await empty(queue)
    before = await everything(queue)
    async with queue.connection() as connection:
        assert not await save(queue, old, [TextPart("Late.")])
        assert not await park_run(connection, old, parts=[], model=None, usage=NOTHING)
        late = FinishedReply("COMPLETE", parts_to_json([TextPart("Late.")]), "Late.", "scripted", NOTHING)
        assert await finish_reply(connection, old, late) is None
        await release_run(connection, old)
    assert await everything(queue) == before


async def test_a_turn_that_lost_its_run_writes_nothing_more(
    queue: Database, start_node: StartNode, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer([Text("Old. "), Call("hold", {})]), say("Old end."))
    exchange = await send(queue, "Wait.")
    id = exchange.reply.row.id
    async with start_node(lease=NEVER):
        await until(lambda: len(model.requests) == 1)

        async def has_begun() -> bool:
            return bool((await row_of(queue, id))["parts"])

        await until(has_begun)
        async with queue.connection() as connection:
            await connection.execute(text("update run set lease_until = now()"))
            [new] = await claim_runs(connection, 1, NEVER)
            await finish_reply(
                connection, new, FinishedReply("COMPLETE", parts_to_json([TextPart("New.")]), "New.", "n", NOTHING)
            )
        before = await everything(queue)
        tools.may_end.set()
        await asyncio.sleep(0.5)
    assert await everything(queue) == before


async def test_a_reply_of_which_too_many_nodes_died_fails_with_its_text(
    queue: Database, start_node: StartNode, model: ScriptedModel, tools: Tools
) -> None:
    parts: list[Part] = [TextPart("So far. "), ToolCallPart("a", "once", {}, begun=True)]
    run = await begin_and_die(queue, parts)
    await asyncio.sleep(2 * SHORT)
    await claim(queue)
    await asyncio.sleep(2 * SHORT)
    async with start_node(max_attempts=2):
        row = await finished(queue, run.message_id)
    assert (row["status"], row["error_code"], row["error_retryable"]) == ("FAILED", "INTERNAL", True)
    said, call = await parts_of(queue, run.message_id)
    assert said == TextPart("So far. ")
    assert isinstance(call, ToolCallPart)
    assert call.status == "INTERRUPTED"
    assert (model.requests, tools.calls) == ([], [])


async def test_the_last_attempt_that_is_allowed_may_still_succeed(queue: Database, start_node: StartNode) -> None:
    run = await begin_and_die(queue)
    await asyncio.sleep(2 * SHORT)
    async with start_node(max_attempts=2):
        assert (await finished(queue, run.message_id))["status"] == "COMPLETE"


# The end of a node


async def test_a_reply_that_finishes_within_the_grace_time_is_not_handed_over(
    queue: Database, start_node: StartNode, model: ScriptedModel
) -> None:
    model.script(Answer([Text("word " * 20)], tokens_per_second=40))
    exchange = await send(queue, "Write.")
    async with start_node(grace=20):
        await until(lambda: model.open_streams == 1)
    row = await row_of(queue, exchange.reply.row.id)
    assert (row["status"], row["attempt"]) == ("COMPLETE", 1)


async def test_a_node_that_ends_takes_no_new_run(queue: Database, start_node: StartNode, model: ScriptedModel) -> None:
    async with start_node(grace=1) as worker:
        worker.drain()
        await send(queue, "Hi.")
        worker.wake()
        await asyncio.sleep(0.2)
    assert await statuses(queue) == ["QUEUED"]


async def test_a_reply_that_does_not_finish_within_the_grace_time_is_handed_over_at_once(
    queue: Database, start_node: StartNode, model: ScriptedModel, tools: Tools
) -> None:
    model.script(
        Answer([Text("First. "), Call("once", {})]),
        Answer([Text("Lost. ")], first_token_delay=NEVER),
        say("Second."),
    )
    exchange = await send(queue, "Go.")
    # With such leases nobody could take over what was not let go.
    async with start_node(lease=NEVER, grace=0.2):
        await until(lambda: len(model.requests) == 2)
        loop = asyncio.get_running_loop()
        begin = loop.time()
    assert loop.time() - begin < 30
    await until(lambda: model.open_streams == 0)
    async with start_node(lease=NEVER):
        row = await finished(queue, exchange.reply.row.id)
    assert (row["status"], row["attempt"]) == ("COMPLETE", 2)
    said = [part.text for part in await parts_of(queue, exchange.reply.row.id) if isinstance(part, TextPart)]
    assert said == ["First. ", "Second."]
    assert tools.calls == ["once"]


async def test_to_hand_over_is_no_attempt_that_failed(
    queue: Database, start_node: StartNode, model: ScriptedModel
) -> None:
    model.script(*[Answer([Text("Slow.")], first_token_delay=NEVER)] * 3, say("Done."))
    exchange = await send(queue, "Go.")
    for number in range(3):
        async with start_node(max_attempts=2):
            await until(lambda asked=number + 1: len(model.requests) == asked)  # type: ignore[misc]
    async with start_node(max_attempts=2):
        assert (await finished(queue, exchange.reply.row.id))["status"] == "COMPLETE"
