"""A new run begins on the node that stores it, if there is room; it is never lost between the two."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from agent.parts import TextPart, parts_to_json
from agent.stand_in.answers import Answer, Text, Thinking
from agent.stand_in.answers import ToolUse as Call
from persistence import runs
from persistence.database import Database
from persistence.messages import find_owned_messages
from persistence.runs import ClaimedRun, FinishedReply, claim_runs, finish_reply
from resolvers.context import Context
from resolvers.errors import Forbidden
from resolvers.exchanges import Exchange, Newest, send_message
from resolvers.rate_limit import RateLimit
from resolvers.streams import follow_message
from runs.follow import Cursor, ReplyFinished
from runs.log import TextDelta
from runs.worker import POLL_INTERVAL, Worker
from tests.conftest import StartServer, until
from tests.model import ScriptedModel, say
from tests.workers import MODELS, NEVER, NOTHING, StartNode, Tools, finished, row_of, send, statuses

BEGINNING = Cursor()


async def ask(queue: Database, worker: Worker, question: str, conversation_id: UUID | None = None) -> Exchange:
    """Ann's question on the node of this worker."""
    context = Context("ann", queue, worker, RateLimit(1_000_000), MODELS)
    return await send_message(
        context, question, conversation_id=conversation_id, parent_id=Newest.NEWEST, idempotency_key=None
    )


async def read(context: Context, message_id: UUID, after: Cursor = BEGINNING) -> list[Any]:
    """The events of the reply's stream."""
    return [event async for news in follow_message(context, message_id, after) for event in news.events]


@asynccontextmanager
async def locked(queue: Database, conversation_id: UUID) -> AsyncIterator[None]:
    async with queue.engine.begin() as connection:
        await connection.execute(text("select from conversation where id = :id for update"), {"id": conversation_id})
        yield


async def waiting_for_lock(queue: Database) -> bool:
    async with queue.connection() as connection:
        query = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        return bool((await connection.execute(text(query))).scalar_one())


@asynccontextmanager
async def held_up(
    queue: Database, worker: Worker, question: str, conversation_id: UUID
) -> AsyncIterator[asyncio.Task[Exchange]]:
    """Ann's question, which cannot be stored before the block ends."""
    async with locked(queue, conversation_id):
        asking = asyncio.create_task(ask(queue, worker, question, conversation_id))
        await until(lambda: waiting_for_lock(queue))
        yield asking


async def test_it_begins_without_a_look_at_the_table(
    queue: Database, start_node: StartNode, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.script(say("Done."))
    async with start_node() as worker:
        await until(lambda: worker.is_alive)
        monkeypatch.setattr("persistence.runs.claim_runs", None)
        exchange = await ask(queue, worker, "Go.")
        assert (exchange.reply.row.status, exchange.reply.row.attempt) == ("STREAMING", 1)
        row = await finished(queue, exchange.reply.row.id)
    assert (row["status"], row["attempt"], row["restarts"]) == ("COMPLETE", 1, [])


async def test_it_waits_where_there_is_no_room(
    queue: Database, start_node: StartNode, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer([Call("hold", {})]), say("First."), say("Second."))
    async with start_node(capacity=1) as worker:
        await until(lambda: worker.is_alive)
        first = await ask(queue, worker, "One.")
        second = await ask(queue, worker, "Two.")
        assert [first.reply.row.status, second.reply.row.status] == ["STREAMING", "QUEUED"]
        tools.may_end.set()
        assert (await finished(queue, second.reply.row.id))["status"] == "COMPLETE"


async def test_it_waits_for_the_reply_before_it(
    queue: Database, start_node: StartNode, model: ScriptedModel, tools: Tools
) -> None:
    model.script(Answer([Call("hold", {})]), say("First."), say("Second."), say("Third."))
    async with start_node() as worker:
        await until(lambda: worker.is_alive)
        first = await ask(queue, worker, "One.")
        second = await ask(queue, worker, "Two.", first.conversation.id)
        assert second.reply.row.status == "QUEUED"
        tools.may_end.set()
        await finished(queue, second.reply.row.id)
        third = await ask(queue, worker, "Three.", first.conversation.id)
        assert third.reply.row.status == "STREAMING"
        await finished(queue, third.reply.row.id)


async def test_it_begins_although_who_asked_has_given_up(
    queue: Database, start_node: StartNode, model: ScriptedModel
) -> None:
    model.script(say("First."), say("Second."))
    # With such leases nobody else could take what has been claimed.
    async with start_node(lease=NEVER) as worker:
        await until(lambda: worker.is_alive)
        first = await ask(queue, worker, "One.")
        await finished(queue, first.reply.row.id)
        async with held_up(queue, worker, "Two.", first.conversation.id) as asking:
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
        await until(lambda: len(model.requests) == 2)

        async def all_done() -> bool:
            async with queue.connection() as connection:
                return not (await connection.execute(text("select count(*) from run"))).scalar_one()

        await until(all_done)


async def test_what_could_not_be_stored_holds_no_room(
    queue: Database, start_node: StartNode, model: ScriptedModel
) -> None:
    model.script(say("Done."))
    foreign = await send(queue, "Bob's.", owner="bob")
    async with queue.connection() as connection:
        await connection.execute(text("delete from run"))
    async with start_node(capacity=1) as worker:
        await until(lambda: worker.is_alive)
        with pytest.raises(Forbidden):
            await ask(queue, worker, "Mine?", foreign.conversation.id)
        exchange = await ask(queue, worker, "Go.")
        assert exchange.reply.row.status == "STREAMING"
        await finished(queue, exchange.reply.row.id)


async def test_one_that_is_stored_while_its_node_ends_is_handed_over(
    queue: Database, start_node: StartNode, model: ScriptedModel
) -> None:
    model.by(lambda request: Answer([Text("Done.")], first_token_delay=0.2))
    async with start_node(lease=NEVER) as worker:
        await until(lambda: worker.is_alive)
        first = await ask(queue, worker, "One.")
        await finished(queue, first.reply.row.id)
        async with held_up(queue, worker, "Two.", first.conversation.id) as asking:
            worker.begin_shut_down()
        second = await asking
    assert (await row_of(queue, second.reply.row.id))["finished_at"] is None
    async with start_node(lease=NEVER):
        row = await finished(queue, second.reply.row.id)
    assert (row["status"], row["attempt"]) == ("COMPLETE", 2)


async def test_its_owner_reads_it_without_asking_the_table_and_nobody_else_does(
    queue: Database, start_node: StartNode, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.script(Answer([Text("word " * 20)], tokens_per_second=40))
    async with start_node() as worker:
        await until(lambda: worker.is_alive)
        exchange = await ask(queue, worker, "Go.")
        with pytest.raises(Forbidden):
            await read(Context("bob", queue, worker, RateLimit(1_000_000), MODELS), exchange.reply.row.id)
        monkeypatch.setattr("resolvers.streams.load_saved", None)
        events = await read(Context("ann", queue, worker, RateLimit(1_000_000), MODELS), exchange.reply.row.id)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "word " * 20
    assert isinstance(events[-1], ReplyFinished)


async def test_a_reader_that_was_there_is_given_the_row_as_it_was_saved(
    queue: Database, start_node: StartNode, model: ScriptedModel
) -> None:
    model.script(Answer([Thinking("Hm."), Text("word " * 20)], tokens_per_second=40))
    async with start_node() as worker:
        await until(lambda: worker.is_alive)
        exchange = await ask(queue, worker, "Go.")
        context = Context("ann", queue, worker, RateLimit(1_000_000), MODELS)
        there = await read(context, exchange.reply.row.id)
        await until(lambda: worker.find_run(exchange.reply.row.id) is None)
        late = await read(context, exchange.reply.row.id)
    async with queue.driver() as driver:
        [row] = await find_owned_messages(driver, "ann", [exchange.reply.row.id])
    finished = there[-1]
    assert isinstance(finished, ReplyFinished) and finished.reply is not None
    assert vars(finished.reply) == vars(row) and row.status == "COMPLETE"
    # What has been done with it since is in its row.
    assert late[-1] == ReplyFinished(finished.position)


async def test_a_reader_who_knows_of_another_attempt_is_not_told_what_a_node_that_lost_the_reply_knows(
    queue: Database, start_node: StartNode, model: ScriptedModel
) -> None:
    model.script(Answer([Text("Lost.")], first_token_delay=NEVER))
    async with start_node(lease=NEVER) as worker:
        await until(lambda: worker.is_alive)
        exchange = await ask(queue, worker, "Go.")
        async with queue.connection() as connection:
            await connection.execute(text("update run set lease_until = now()"))
            [taken] = await claim_runs(connection, 1, NEVER)
            end = FinishedReply("COMPLETE", parts_to_json([TextPart("Other.")]), "Other.", "scripted", NOTHING)
            assert await finish_reply(connection, taken, end) is not None
        context = Context("ann", queue, worker, RateLimit(1_000_000), MODELS)
        events = await read(context, exchange.reply.row.id, Cursor(taken.attempt, 0))
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["Other."]
    assert isinstance(events[-1], ReplyFinished)


async def test_one_that_is_being_stored_does_not_hold_up_the_hand_over_of_others(
    queue: Database, start_node: StartNode, model: ScriptedModel
) -> None:
    model.script(say("First."), Answer([Text("Slow.")], first_token_delay=NEVER))
    async with start_node(lease=NEVER) as worker:
        await until(lambda: worker.is_alive)
        first = await ask(queue, worker, "One.")
        await finished(queue, first.reply.row.id)
        slow = await ask(queue, worker, "Two.")
        await until(lambda: len(model.requests) == 2)
        async with held_up(queue, worker, "Three.", first.conversation.id) as asking:
            worker.begin_shut_down()

            async def is_handed_over() -> bool:
                async with queue.connection() as connection:
                    query = text("select not held from run where message_id = :id")
                    return bool((await connection.execute(query, {"id": slow.reply.row.id})).scalar_one())

            await until(is_handed_over)
        await asking


async def test_none_begins_at_once_in_the_place_of_those_that_are_being_claimed(
    queue: Database, start_node: StartNode, model: ScriptedModel, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.by(lambda request: Answer([Call("hold", {})]) if len(request["messages"]) == 1 else say("Done."))
    claim, may_claim, claiming = runs.claim_runs, asyncio.Event(), asyncio.Event()

    async def claim_slowly(*given: Any) -> list[ClaimedRun]:
        claiming.set()
        await may_claim.wait()
        return await claim(*given)

    async with start_node(capacity=2) as worker:
        await until(lambda: worker.is_alive)
        monkeypatch.setattr(runs, "claim_runs", claim_slowly)
        waiting = [await send(queue, f"{number}", owner=f"user {number}") for number in range(2)]
        worker.wake()
        await claiming.wait()
        late = [await ask(queue, worker, f"Late {number}") for number in range(2)]
        assert [exchange.reply.row.status for exchange in late] == ["QUEUED"] * 2
        may_claim.set()
        await until(lambda: len(model.requests) == 2)
        assert (await statuses(queue)).count("STREAMING") == 2
        tools.may_end.set()
        for exchange in [*waiting, *late]:
            assert (await finished(queue, exchange.reply.row.id))["status"] == "COMPLETE"


async def test_a_look_at_the_table_leaves_places_for_new_ones(
    queue: Database, start_node: StartNode, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runs.worker.MOST_CLAIMED", 2)
    model.by(lambda request: say("Done."))
    claim, may_claim, limits = runs.claim_runs, asyncio.Event(), list[int]()

    async def claim_slowly(executor: Any, limit: int, lease: float) -> list[ClaimedRun]:
        limits.append(limit)
        await may_claim.wait()
        return await claim(executor, limit, lease)

    async with start_node(capacity=3) as worker:
        await until(lambda: worker.is_alive)
        monkeypatch.setattr(runs, "claim_runs", claim_slowly)
        waiting = [await send(queue, f"{number}", owner=f"user {number}") for number in range(5)]
        worker.wake()
        await until(lambda: limits == [2])
        exchange = await ask(queue, worker, "Meanwhile.")
        assert exchange.reply.row.status == "STREAMING"
        may_claim.set()
        for each in [*waiting, exchange]:
            assert (await finished(queue, each.reply.row.id))["status"] == "COMPLETE"


async def test_the_place_of_one_that_could_not_be_stored_is_free_at_once(
    queue: Database, start_node: StartNode, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runs.worker.POLL_INTERVAL", NEVER)
    model.script(say("Done."))
    fails = asyncio.Event()

    async def store(lease: float | None) -> tuple[None, None]:
        await fails.wait()
        raise Forbidden

    async with start_node(capacity=1) as worker:
        await until(lambda: worker.is_alive)
        storing = asyncio.create_task(worker.start_run(store))
        await asyncio.sleep(0)
        waiting = await send(queue, "Go.")
        worker.wake()
        # It looks, and has no room.
        await asyncio.sleep(0.05)
        fails.set()
        with pytest.raises(Forbidden):
            await storing
        assert (await finished(queue, waiting.reply.row.id))["status"] == "COMPLETE"


async def test_a_node_that_has_no_model_takes_none(
    queue: Database, start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no such proxy")

    monkeypatch.setattr("server.app._connect_model", fail)
    await send(queue, "Go.")
    async with start_server(database_url=queue.engine.url.render_as_string(hide_password=False)):
        # Longer than it takes until a worker looks at the table.
        await asyncio.sleep(POLL_INTERVAL + 0.5)
        assert await statuses(queue) == ["QUEUED"]
