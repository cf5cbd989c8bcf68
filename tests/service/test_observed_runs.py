"""What runs tell of taking over, handing over, waiting for a user and waiting for a node."""

import asyncio

from agent.parts import TextPart
from agent.stand_in.answers import Answer, Text
from agent.stand_in.answers import ToolUse as Call
from persistence.database import Database
from resolvers.approvals import resolve_tool_call
from runs.observer import RunObserver, RunRecord
from server.observability.metrics import Metrics
from server.observability.node_figures import Queue
from tests.conftest import until
from tests.model import ScriptedModel, say
from tests.workers import StartNode, begin_and_die, call_by, finished, parts_of, send, statuses


class Ended(RunObserver):
    """Keeps the records of runs that have ended."""

    def __init__(self) -> None:
        self.records: list[RunRecord] = []

    def run_ended(self, record: RunRecord) -> None:
        self.records.append(record)


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"loquent_{name}", labels) or 0.0


async def test_a_reply_whose_node_died_counts_as_taken_over_and_not_as_begun(
    queue: Database, start_node: StartNode, model: ScriptedModel
) -> None:
    model.script(say(" And that is all."))
    run = await begin_and_die(queue, [TextPart("Once.")])
    metrics = Metrics()
    async with start_node(observer=metrics):
        await finished(queue, run.message_id)
    assert value(metrics, "takeovers_total") == 1
    assert value(metrics, "replies_started_total") == 0
    assert value(metrics, "replies_finished_total", status="COMPLETE", code="") == 1
    # Its first text came on the other node.
    assert value(metrics, "time_to_first_token_seconds_count") == 0
    assert value(metrics, "reply_duration_seconds_count") == 0


async def test_a_reply_that_nobody_had_written_of_is_measured_from_its_question(
    queue: Database, start_node: StartNode, model: ScriptedModel
) -> None:
    sent = await send(queue, "Wait for it.")
    await asyncio.sleep(0.3)
    ended = Ended()
    async with start_node(observer=ended):
        await finished(queue, sent.reply.row.id)
    [record] = ended.records
    assert record.run.waited >= 0.3
    assert record.first_text is not None
    assert record.run.waited < record.first_text <= record.run.waited + record.duration


async def test_a_reply_that_is_handed_over_is_no_takeover(
    queue: Database, start_node: StartNode, model: ScriptedModel
) -> None:
    model.script(Answer([Text("Slowly. " * 200)], tokens_per_second=20), say("Quickly."))
    before, after = Metrics(), Metrics()
    sent = await send(queue, "Go.")
    async with start_node(observer=before):
        await until(lambda: model.open_streams > 0)
    assert value(before, "runs_left_total", reason="HANDED_OVER") == 1
    assert value(before, "replies_started_total") == 1
    async with start_node(observer=after):
        await finished(queue, sent.reply.row.id)
    assert value(after, "takeovers_total") == 0
    assert value(after, "replies_started_total") == 0
    assert value(after, "replies_finished_total", status="COMPLETE", code="") == 1


async def test_a_reply_that_waits_for_its_user_is_no_takeover_and_no_slow_reply(
    queue: Database, start_node: StartNode, model: ScriptedModel
) -> None:
    model.script(Answer([Call("ask", {})]), say("Thanks."))
    metrics = Metrics()
    sent = await send(queue, "Go.")
    async with start_node(observer=metrics) as worker:
        await until(lambda: value(metrics, "runs_left_total", reason="AWAITING_APPROVAL") == 1)
        assert await statuses(queue) == ["AWAITING_APPROVAL"]
        [call] = await parts_of(queue, sent.reply.row.id)
        await resolve_tool_call(call_by(queue, "ann"), sent.reply.row.id, call.id, approve=True, note=None)  # type: ignore[union-attr]
        worker.wake()
        await finished(queue, sent.reply.row.id)
    assert value(metrics, "takeovers_total") == 0
    assert value(metrics, "tool_calls_total", tool="ask", status="SUCCEEDED") == 1
    assert value(metrics, "reply_duration_seconds_count") == 0
    assert value(metrics, "time_to_first_token_seconds_count") == 0


async def test_the_queue_is_counted_once_for_all_who_look(queue: Database) -> None:
    looked = Queue(queue)
    await send(queue, "One.", owner="ann")
    await send(queue, "Two.", owner="bob")
    await asyncio.sleep(0.05)
    await looked.refresh()
    assert looked.known is not None
    count, oldest = looked.known
    assert count == 2
    assert 0.05 <= oldest < 60
    await send(queue, "Three.")
    await looked.refresh()
    assert looked.known == (count, oldest)


async def test_nothing_is_told_of_the_queue_while_postgresql_is_away() -> None:
    nowhere = Database("postgresql+asyncpg://nobody@127.0.0.1:1/none")
    queue = Queue(nowhere)
    await queue.refresh()
    assert queue.known is None
    await nowhere.close()
