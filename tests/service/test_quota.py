"""The daily token quota: what counts, when it refuses, and what it leaves alone."""

import math
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from agent.stand_in.answers import Answer, Text, ToolUse
from persistence.database import Database
from persistence.messages import sum_today
from tests.client import Client, GraphQLFailed, Sent
from tests.conftest import ConnectClient, StartServer, until
from tests.model import ScriptedModel, say
from tests.service.test_statements import explain, reads

QUOTA = """
{ viewer { tokenQuota { limit remaining resetAt } rateLimit { remaining }
  usage { inputTokens outputTokens cacheReadTokens cacheWriteTokens } } }
"""
REGENERATE = "mutation ($id: ID!) { regenerateMessage(input: {messageId: $id}) { reply { id } } }"
APPROVE = """
mutation ($message: ID!, $call: ID!) {
  resolveToolCall(input: {messageId: $message, toolCallId: $call, approve: true}) { message { id } }
}
"""
DELETE = "mutation ($id: ID!) { deleteConversation(input: {id: $id}) { deletedId } }"
NOTHING = {"input_tokens": 0, "output_tokens": 0, "cache_read_tokens": 0, "cache_write_tokens": 0}


@pytest.fixture
async def ann(start_server: StartServer, connect_client: ConnectClient) -> AsyncIterator[Client]:
    """A user who may spend a hundred tokens a day."""
    async with start_server(tokens_per_day=100) as server:
        yield connect_client("ann", url=server.url)


def cost(**tokens: int) -> Answer:
    """An answer that costs so much, and nothing else."""
    return Answer([Text("Hello.")], **{**NOTHING, **tokens})  # type: ignore[arg-type]


async def viewer(client: Client) -> dict[str, Any]:
    found: dict[str, Any] = (await client.execute(QUOTA))["viewer"]
    return found


async def remaining(client: Client) -> int:
    data = await client.execute("{ viewer { tokenQuota { remaining } } }")
    return int(data["viewer"]["tokenQuota"]["remaining"])


async def count_messages(database: Database) -> int:
    async with database.connection() as connection:
        return int((await connection.execute(text("select count(*) from message"))).scalar_one())


async def spend(database: Database, owner: str, tokens: int, at: datetime | None = None) -> None:
    """A bill of this day, or of another time."""
    statement = text(
        "insert into spending (owner_id, spent_at, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens)"
        " values (:owner, coalesce(:at, now()), :tokens, 0, 0, 0)"
    )
    async with database.connection() as connection:
        await connection.execute(statement, {"owner": owner, "tokens": tokens, "at": at})


def seconds_to_midnight() -> float:
    now = datetime.now(UTC)
    return (now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1) - now).total_seconds()


async def refuses(client: Client, sent: Sent) -> dict[str, Any]:
    """What a message and a regeneration are both refused with."""
    errors = []
    for attempt in (
        client.send("More?"),
        client.send("More?", conversationId=sent.conversation, idempotencyKey="new"),
        client.execute(REGENERATE, id=sent.reply),
    ):
        with pytest.raises(GraphQLFailed) as failure:
            await attempt
        errors.append(failure.value.errors[0]["extensions"])
    assert {error["code"] for error in errors} == {"QUOTA_EXCEEDED"}
    return dict(errors[0])


async def test_whoever_has_spent_the_tokens_of_the_day_must_wait_for_midnight(
    ann: Client, connect_client: ConnectClient, model: ScriptedModel, database: Database
) -> None:
    model.script(cost(input_tokens=99), cost(output_tokens=1))
    sent, _ = await ann.ask("one", idempotencyKey="k")
    assert await remaining(ann) == 1
    # One token is left: the next reply may begin.
    await ann.ask("two", conversationId=sent.conversation)
    before, stored = await viewer(ann), await count_messages(database)
    assert (before["tokenQuota"]["limit"], before["tokenQuota"]["remaining"]) == (100, 0)
    reset = datetime.fromisoformat(before["tokenQuota"]["resetAt"])
    assert abs((reset - datetime.now(UTC)).total_seconds() - seconds_to_midnight()) < 5

    wait = (await refuses(ann, sent))["retryAfter"]
    assert 0 <= wait - math.ceil(seconds_to_midnight()) <= 5
    # Nothing was stored or counted, and what was stored before is answered again.
    assert await count_messages(database) == stored
    assert (await viewer(ann))["rateLimit"] == before["rateLimit"]
    assert await ann.send("one", idempotencyKey="k") == sent
    assert len(model.requests) == 2
    _, reply = await connect_client("bob", url=ann.url).ask("one")
    assert reply["status"] == "COMPLETE"


@pytest.mark.parametrize("kind", NOTHING)
async def test_tokens_of_every_kind_count(ann: Client, model: ScriptedModel, kind: str) -> None:
    model.script(cost(**{kind: 60}))
    sent, _ = await ann.ask("one")
    assert await remaining(ann) == 40
    await ann.ask("two")
    found = await viewer(ann)
    assert sum(found["usage"].values()) == 120
    assert found["tokenQuota"]["remaining"] == 0
    await refuses(ann, sent)


async def test_kinds_are_summed_up(ann: Client, model: ScriptedModel) -> None:
    model.script(cost(input_tokens=40, output_tokens=30, cache_read_tokens=20, cache_write_tokens=10))
    sent, _ = await ann.ask("one")
    await refuses(ann, sent)


async def test_a_reply_that_has_begun_is_finished(ann: Client, model: ScriptedModel) -> None:
    call = Answer([ToolUse("tasks", {})], input_tokens=200, output_tokens=1)
    model.script(call, say("Nothing to do.", input_tokens=300, output_tokens=1))
    sent, reply = await ann.ask("What is there?")
    assert (reply["status"], reply["text"]) == ("COMPLETE", "Nothing to do.")
    assert sum((await viewer(ann))["usage"].values()) == 502
    await refuses(ann, sent)


async def test_an_approved_call_goes_on_beyond_the_quota(ann: Client, model: ScriptedModel, database: Database) -> None:
    task = (await ann.execute('mutation { addTask(input: {title: "T"}) { task { id } } }'))["addTask"]["task"]["id"]
    model.script(Answer([ToolUse("deleteTask", {"id": task})], input_tokens=1, output_tokens=1), say("Done."))
    sent = await ann.send("Delete.")

    async def waits() -> bool:
        return bool((await ann.message(sent.reply))["status"] == "AWAITING_APPROVAL")

    await until(waits)
    await spend(database, "ann", 100)
    [call] = [part for part in (await ann.message(sent.reply))["parts"] if part["__typename"] == "ToolCallPart"]
    await ann.execute(APPROVE, message=sent.reply, call=call["id"])
    assert (await ann.finished(sent.reply))["text"] == "Done."


async def test_the_day_begins_at_midnight_utc(ann: Client, database: Database) -> None:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    await spend(database, "ann", 1000, midnight - timedelta(microseconds=1))
    assert await remaining(ann) == 100
    await spend(database, "ann", 30, midnight)
    assert await remaining(ann) == 70
    # Wherever the database thinks that it is.
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):
        async with database.transaction() as session:
            await session.execute(text(f"set local timezone to '{zone}'"))
            spent, now = await sum_today(session, "ann")
            assert (spent, now - datetime.now(UTC) < timedelta(seconds=5)) == (30, True)


async def test_more_than_a_number_of_32_bits_can_be_spent(ann: Client, database: Database) -> None:
    sent, _ = await ann.ask("one")
    for _ in range(3):
        await spend(database, "ann", 2**31 - 1)
    assert await remaining(ann) == 0
    await refuses(ann, sent)


async def test_a_reply_that_is_deleted_while_it_is_written_has_cost_what_it_has_cost(
    ann: Client, model: ScriptedModel
) -> None:
    words = Text("word " * 1000)
    model.script(Answer([words], tokens_per_second=20, input_tokens=100, output_tokens=0))
    sent = await ann.send("one")

    async def begun() -> bool:
        return bool((await ann.message(sent.reply))["text"])

    await until(begun)
    assert await remaining(ann) == 100
    await ann.execute(DELETE, id=sent.conversation)

    async def is_spent() -> bool:
        return await remaining(ann) == 0

    await until(is_spent)
    with pytest.raises(GraphQLFailed) as failure:
        await ann.send("two")
    assert failure.value.codes == ["QUOTA_EXCEEDED"]


async def test_a_reply_that_is_deleted_while_it_waits_for_its_user_has_cost_what_it_has_cost(
    ann: Client, model: ScriptedModel
) -> None:
    call = ToolUse("deleteTask", {"id": "x"})
    model.script(Answer([call], **{**NOTHING, "input_tokens": 70}))  # type: ignore[arg-type]
    sent = await ann.send("one")

    async def is_parked() -> bool:
        return bool((await ann.message(sent.reply))["status"] == "AWAITING_APPROVAL")

    await until(is_parked)
    await ann.execute(DELETE, id=sent.conversation)
    assert await remaining(ann) == 30


async def test_without_a_quota_nothing_is_summed_up(
    connect_client: ConnectClient, ann: Client, model: ScriptedModel
) -> None:
    free = connect_client("free")
    sums: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "sum(input_tokens)" in statement:
            sums.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        sent, _ = await free.ask("one")
        await free.execute(REGENERATE, id=sent.reply)
        assert (await free.execute("{ viewer { tokenQuota { limit } } }"))["viewer"]["tokenQuota"] is None
        assert sums == []
        await ann.ask("one")
        assert len(sums) == 1
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def test_the_sum_comes_from_the_index(database: Database) -> None:
    async with database.engine.connect() as connection:
        # Fifty owners, a year; nothing of it is committed.
        await connection.execute(
            text("""
            insert into spending
                (owner_id, spent_at, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens)
            select 'owner ' || n % 50, now() - make_interval(mins => n * 25), 1, 1, 1, 1
            from generate_series(0, 20000) n
            """)
        )
        await connection.execute(text("analyze spending"))
        for plan in await explain(connection, lambda session: sum_today(session, "owner 7")):
            assert reads(plan) == {"spending_by_owner"}
