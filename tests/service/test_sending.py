"""Sending: a message, its reply and its run are stored together, once, and each reply gets written."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from agent.stand_in.answers import Answer, Text
from persistence.conversations import lock_owned_conversation
from persistence.database import Database
from persistence.runs import claim_runs
from tests.client import Client, GraphQLFailed, Sent
from tests.conftest import ConnectClient, StartServer, until
from tests.model import ScriptedModel, last_text, say

SEND = """
mutation ($input: SendMessageInput!) { sendMessage(input: $input) {
  conversation { id } message { id text } reply { id status text } finishedReply { id status text }
} }
"""
REGENERATE = """
mutation ($input: RegenerateMessageInput!) { regenerateMessage(input: $input) {
  conversation { id } reply { id status text } finishedReply { id status text }
} }
"""
#: Answers at once.
REGENERATE_ONLY = "mutation ($input: RegenerateMessageInput!) { regenerateMessage(input: $input) { reply { id } } }"
STOP = "mutation ($id: ID!) { stopMessage(input: {messageId: $id}) { message { id status text finishedAt } } }"
DELETE = "mutation ($id: ID!) { deleteConversation(input: {id: $id}) { deletedId } }"
BRANCH = """
query ($id: ID!, $leaf: ID) { conversation(id: $id) { updatedAt cursor messages(last: 100, leaf: $leaf) {
  edges { node { id text role status createdAt parent { id } versions { id } } }
} } }
"""
ALLOWANCE = "{ viewer { rateLimit { limit remaining resetAt } } }"

#: Longer than any test: such an answer never comes of itself.
NEVER = 60.0


async def read_branch(client: Client, conversation: str, leaf: str | None = None) -> list[dict[str, Any]]:
    """The last hundred messages of a branch."""
    data = await client.execute(BRANCH, id=conversation, leaf=leaf)
    return [edge["node"] for edge in data["conversation"]["messages"]["edges"]]


async def stop(client: Client, id: str) -> dict[str, Any]:
    message: dict[str, Any] = (await client.execute(STOP, id=id))["stopMessage"]["message"]
    return message


async def count_rows(database: Database) -> dict[str, int]:
    """How many rows each table has that a message touches."""
    async with database.connection() as connection:
        tables = ("conversation", "message", "run")
        return {
            table: (await connection.execute(text(f"select count(*) from {table}"))).scalar_one() for table in tables
        }


def told(request: dict[str, Any]) -> list[str]:
    """The texts of a request's messages, notes left out."""
    return [message["content"][-1]["text"] for message in request["messages"]]


def asked(model: ScriptedModel, question: str) -> list[str]:
    """What the model was told in the one request for the answer to this question."""
    [request] = [request for request in model.requests if last_text(request) == question]
    return told(request)


# Together or not at all


@asynccontextmanager
async def refusing(database: Database, table: str) -> AsyncIterator[None]:
    """As long as this lasts every insert into a table fails."""
    async with database.connection() as connection:
        await connection.execute(
            text("create function refuse() returns trigger language plpgsql as 'begin raise ''refused''; end'")
        )
        await connection.execute(
            text(f"create trigger refuse before insert on {table} for each row execute function refuse()")
        )
        try:
            yield
        finally:
            await connection.execute(text("drop function refuse cascade"))


@pytest.mark.parametrize("table", ["message", "run"])
async def test_a_statement_that_fails_leaves_nothing_behind(ann: Client, database: Database, table: str) -> None:
    sent, _ = await ann.ask("one")
    rows, before = await count_rows(database), await ann.execute(BRANCH, id=sent.conversation)
    async with refusing(database, table):
        for attempt in (
            ann.send("two"),
            ann.send("two", idempotencyKey="k"),
            ann.send("two", conversationId=sent.conversation),
            ann.execute(REGENERATE_ONLY, input={"messageId": sent.reply}),
        ):
            with pytest.raises(GraphQLFailed) as failure:
                await attempt
            assert failure.value.codes == ["INTERNAL_SERVER_ERROR"]
    assert await count_rows(database) == rows
    assert await ann.execute(BRANCH, id=sent.conversation) == before
    # The key was not used up.
    _, reply = await ann.ask("two", idempotencyKey="k")
    assert reply["status"] == "COMPLETE"


async def test_a_connection_that_dies_in_the_middle_leaves_nothing_behind(ann: Client, database: Database) -> None:
    sent, _ = await ann.ask("one")
    rows = await count_rows(database)

    async def kill_the_waiting() -> bool:
        query = text("select pg_terminate_backend(pid) from pg_stat_activity where wait_event_type = 'Lock'")
        async with database.connection() as connection:
            return bool((await connection.execute(query)).all())

    async with database.transaction() as other:
        await lock_owned_conversation(other, "ann", UUID(sent.conversation))
        sending = asyncio.create_task(ann.send("two", conversationId=sent.conversation))
        await until(kill_the_waiting)
        with pytest.raises(GraphQLFailed):
            await sending
    assert await count_rows(database) == rows
    _, reply = await ann.ask("two", conversationId=sent.conversation)
    assert reply["status"] == "COMPLETE"


# Once


async def test_a_key_gives_the_first_answer_again(ann: Client, model: ScriptedModel, database: Database) -> None:
    model.script(Answer([Text("word " * 40)], tokens_per_second=40))
    first = await ann.send("one", idempotencyKey="k")
    assert await ann.send("one", idempotencyKey="k") == first
    assert await ann.send("something else", idempotencyKey="k", conversationId=first.conversation) == first
    finished = await ann.finished(first.reply)

    payload = (await ann.execute(SEND, input={"text": "one", "idempotencyKey": "k"}))["sendMessage"]
    reply = {"id": first.reply, "status": "COMPLETE", "text": "word " * 40}
    assert finished["text"] == "word " * 40
    assert payload == {
        "conversation": {"id": first.conversation},
        "message": {"id": first.message, "text": "one"},
        "reply": reply,
        "finishedReply": reply,
    }
    assert await count_rows(database) == {"conversation": 1, "message": 2, "run": 0}
    assert len(model.requests) == 1


async def test_each_owner_and_each_mutation_has_keys_of_its_own(ann: Client, bob: Client, database: Database) -> None:
    sent, _ = await ann.ask("one", idempotencyKey="k")
    foreign, _ = await bob.ask("one", idempotencyKey="k")
    assert foreign.conversation != sent.conversation
    first = (await ann.execute(REGENERATE, input={"messageId": sent.reply, "idempotencyKey": "k"}))["regenerateMessage"]
    again = (await ann.execute(REGENERATE, input={"messageId": sent.reply, "idempotencyKey": "k"}))["regenerateMessage"]
    assert first["reply"]["id"] != sent.reply
    assert first["finishedReply"] == again["reply"] == again["finishedReply"]
    assert await ann.send("one", idempotencyKey="k") == sent
    assert await count_rows(database) == {"conversation": 2, "message": 5, "run": 0}

    await ann.execute(DELETE, id=sent.conversation)
    anew, _ = await ann.ask("one", idempotencyKey="k")
    assert anew.conversation != sent.conversation


@pytest.mark.parametrize("key", ["", " ", "x" * 201, "a\x00b"])
async def test_a_key_that_cannot_be_one_is_bad_user_input(ann: Client, key: str) -> None:
    sent, _ = await ann.ask("one", idempotencyKey="x" * 200)
    for attempt in (
        ann.send("two", idempotencyKey=key),
        ann.execute(REGENERATE, input={"messageId": sent.reply, "idempotencyKey": key}),
    ):
        with pytest.raises(GraphQLFailed) as failure:
            await attempt
        assert failure.value.codes == ["BAD_USER_INPUT"]


@pytest.mark.parametrize("begun", [False, True])
async def test_twenty_calls_at_once_with_one_key_store_one_message(
    ann: Client, database: Database, model: ScriptedModel, begun: bool
) -> None:
    more: dict[str, Any] = {"conversationId": (await ann.ask("one"))[0].conversation} if begun else {}
    rows, requests = await count_rows(database), len(model.requests)
    sent = await asyncio.gather(*(ann.send("two", idempotencyKey="k", **more) for _ in range(20)))
    assert all(each == sent[0] for each in sent)
    await ann.finished(sent[0].reply)
    assert await count_rows(database) == {
        "conversation": rows["conversation"] + (not begun),
        "message": rows["message"] + 2,
        "run": 0,
    }
    assert len(model.requests) == requests + 1


async def test_twenty_regenerations_at_once_with_one_key_make_one_version(ann: Client, database: Database) -> None:
    sent, _ = await ann.ask("one")
    input = {"messageId": sent.reply, "idempotencyKey": "k"}
    payloads = await asyncio.gather(*(ann.execute(REGENERATE, input=input) for _ in range(20)))
    replies = {payload["regenerateMessage"]["finishedReply"]["id"] for payload in payloads}
    assert len(replies) == 1
    assert sent.reply not in replies
    assert await count_rows(database) == {"conversation": 1, "message": 3, "run": 0}


# Each reply


def answer(question: str) -> str:
    return f"Answer to {question}."


async def test_twenty_messages_at_once_follow_one_another_and_each_gets_its_reply(
    ann: Client, model: ScriptedModel
) -> None:
    model.by(lambda request: say(answer(last_text(request))))
    first, _ = await ann.ask("0")
    questions = [str(number) for number in range(1, 21)]
    sent = await asyncio.gather(*(ann.send(question, conversationId=first.conversation) for question in questions))
    replies = await asyncio.gather(*(ann.finished(each.reply) for each in sent))
    assert [(reply["status"], reply["text"]) for reply in replies] == [("COMPLETE", answer(q)) for q in questions]
    assert len({id for each in sent for id in (each.message, each.reply)}) == 40

    branch = await read_branch(ann, first.conversation)
    assert [message["role"] for message in branch] == ["USER", "ASSISTANT"] * 21
    assert {message["id"] for message in branch} == {id for each in [first, *sent] for id in (each.message, each.reply)}
    for parent, message in zip([None, *branch], branch, strict=False):
        assert message["parent"] == (parent and {"id": parent["id"]})
        assert message["versions"] == [{"id": message["id"]}]
    # The model was told every earlier reply whole.
    order = [message["text"] for message in branch if message["role"] == "USER"]
    assert sorted(order) == sorted(["0", *questions])
    for index, question in enumerate(order):
        before = [said for earlier in order[:index] for said in (earlier, answer(earlier))]
        # Of the last 20 messages, from the first question on.
        assert asked(model, question) == [*before, question][-19:]


async def test_no_message_is_older_than_the_one_that_it_follows(ann: Client) -> None:
    first, _ = await ann.ask("0")
    sent = await asyncio.gather(*(ann.send(str(n), conversationId=first.conversation) for n in range(30)))
    await asyncio.gather(*(ann.finished(each.reply) for each in sent))
    times = [message["createdAt"] for message in await read_branch(ann, first.conversation)]
    assert times == sorted(times)


async def test_a_reply_beside_one_that_is_being_written_runs_at_once(ann: Client, model: ScriptedModel) -> None:
    def respond(request: dict[str, Any]) -> Answer:
        slow = last_text(request) != "start"
        return say(answer(last_text(request)), first_token_delay=NEVER if slow else 0)

    model.by(respond)
    start, _ = await ann.ask("start")
    one = await ann.send("one", conversationId=start.conversation)
    await until(lambda: model.open_streams == 1)
    # Beside the question, beside its reply, and beside the first message of all.
    edit = await ann.send("two", conversationId=start.conversation, parentId=start.reply)
    regenerated = await ann.execute(REGENERATE_ONLY, input={"messageId": one.reply})
    other = regenerated["regenerateMessage"]["reply"]["id"]
    first = await ann.send("three", conversationId=start.conversation, parentId=None)
    await until(lambda: model.open_streams == 4)
    assert sorted(map(told, model.requests[1:])) == sorted(
        [["start", answer("start"), "one"]] * 2 + [["start", answer("start"), "two"], ["three"]]
    )
    for id in (one.reply, edit.reply, other, first.reply):
        assert (await stop(ann, id))["status"] == "STOPPED"
    versions = {message["id"]: message["versions"] for message in await read_branch(ann, start.conversation, one.reply)}
    assert versions[one.reply] == [{"id": one.reply}, {"id": other}]
    assert versions[one.message] == [{"id": one.message}, {"id": edit.message}]


async def test_two_branches_that_are_written_at_once_both_finish(ann: Client, model: ScriptedModel) -> None:
    model.by(lambda request: Answer([Text("word " * 15 + last_text(request))], tokens_per_second=30))
    one = await ann.send("one")
    two = await ann.send("two", conversationId=one.conversation, parentId=None)
    for sent, question in ((one, "one"), (two, "two")):
        reply = await ann.finished(sent.reply)
        assert (reply["status"], reply["text"]) == ("COMPLETE", "word " * 15 + question)
        branch = await read_branch(ann, one.conversation, sent.reply)
        assert [message["id"] for message in branch] == [sent.message, sent.reply]


async def test_sending_answers_before_the_model_does(ann: Client, model: ScriptedModel) -> None:
    model.script(say("Late.", first_token_delay=NEVER))
    sent = await ann.send("one")
    reply = await ann.message(sent.reply)
    assert (reply["status"] in ("QUEUED", "STREAMING"), reply["text"], reply["parts"]) == (True, "", [])
    assert reply["finishedAt"] is None and reply["usage"] is None
    await stop(ann, sent.reply)


async def test_the_finished_reply_is_waited_for(ann: Client, model: ScriptedModel) -> None:
    model.script(Answer([Text("word " * 20)], tokens_per_second=40))
    sent = (await ann.execute(SEND, input={"text": "one"}))["sendMessage"]
    assert sent["reply"].pop("status") in ("QUEUED", "STREAMING")
    assert sent["reply"] == {"id": sent["reply"]["id"], "text": ""}
    assert sent["finishedReply"] == {"id": sent["reply"]["id"], "status": "COMPLETE", "text": "word " * 20}
    input = {"messageId": sent["reply"]["id"]}
    regenerated = (await ann.execute(REGENERATE, input=input))["regenerateMessage"]
    assert regenerated["reply"]["status"] in ("QUEUED", "STREAMING")
    assert regenerated["finishedReply"] == {
        "id": regenerated["reply"]["id"],
        "status": "COMPLETE",
        "text": "word " * 20,
    }


async def test_waiting_for_a_reply_ends_when_its_conversation_is_deleted(ann: Client, model: ScriptedModel) -> None:
    model.script(say("Late.", first_token_delay=NEVER))
    sent = await ann.send("one", idempotencyKey="k")
    waiting = asyncio.create_task(ann.execute(SEND, input={"text": "one", "idempotencyKey": "k"}))
    await until(lambda: model.open_streams == 1)
    await asyncio.sleep(0.1)
    await ann.execute(DELETE, id=sent.conversation)
    with pytest.raises(GraphQLFailed) as failure:
        await asyncio.wait_for(waiting, 60)
    assert failure.value.codes == ["FORBIDDEN"]


# Stopping


async def hold_up(ann: Client, model: ScriptedModel, *questions: str) -> list[Sent]:
    """Send questions of which the first is answered slowly, within five seconds, so that the others wait."""

    def respond(request: dict[str, Any]) -> Answer:
        text = [Text(answer(last_text(request)))]
        slow = last_text(request) == questions[0]
        return Answer(text, first_token_delay=4, tokens_per_second=2) if slow else Answer(text)

    model.by(respond)
    sent = [await ann.send(questions[0])]
    for question in questions[1:]:
        sent.append(await ann.send(question, conversationId=sent[0].conversation))
    await until(lambda: model.open_streams == 1)
    return sent


async def test_a_reply_that_waits_is_stopped_before_it_begins(
    ann: Client, model: ScriptedModel, database: Database
) -> None:
    one, two = await hold_up(ann, model, "one", "two")
    stopped = await stop(ann, two.reply)
    assert stopped["finishedAt"] is not None
    assert stopped == {**stopped, "id": two.reply, "status": "STOPPED", "text": ""}
    assert (await ann.finished(two.reply))["status"] == "STOPPED"
    assert (await ann.finished(one.reply))["text"] == answer("one")
    assert await count_rows(database) == {"conversation": 1, "message": 4, "run": 0}
    assert [last_text(request) for request in model.requests] == ["one"]


async def test_what_follows_a_stopped_reply_still_waits_for_the_one_before(ann: Client, model: ScriptedModel) -> None:
    _, two, three = await hold_up(ann, model, "one", "two", "three")
    await stop(ann, two.reply)
    # Now the worker looks for runs again.
    await ann.ask("elsewhere")
    assert model.open_streams == 1
    assert (await ann.message(three.reply))["status"] == "QUEUED"
    await ann.finished(three.reply)
    assert asked(model, "three") == ["one", answer("one"), "two", "three"]


async def test_a_stop_that_meets_a_claim_is_not_lost(ann: Client, model: ScriptedModel, database: Database) -> None:
    _, two = await hold_up(ann, model, "one", "two")
    id = {"id": UUID(two.reply)}

    async def one_waits_for_a_lock() -> bool:
        query = text("select count(*) = 1 from pg_stat_activity where wait_event_type = 'Lock'")
        async with database.connection() as connection:
            return bool((await connection.execute(query)).scalar())

    async with database.transaction() as node:
        # Another node claims the run; the request to stop it arrives before that is committed.
        await node.execute(text("update run set after_id = null where message_id = :id"), id)
        [run] = await claim_runs(await node.connection(), 10, lease=30)
        assert run.message_id == id["id"]
        stopping = asyncio.create_task(ann.execute(STOP, id=two.reply))
        await until(one_waits_for_a_lock)
    async with database.connection() as connection:

        async def stop_is_noted() -> bool:
            query = text("select cancel_requested from run where message_id = :id")
            return (await connection.execute(query, id)).scalar() in (True, None)

        try:
            await until(stop_is_noted)
        finally:
            stopping.cancel()


async def test_stopping_a_finished_reply_or_a_question_changes_nothing(ann: Client) -> None:
    sent, reply = await ann.ask("one")
    before = await ann.execute(BRANCH, id=sent.conversation)
    for _ in range(2):
        assert await stop(ann, sent.reply) == {key: reply[key] for key in ("id", "status", "text", "finishedAt")}
    assert (await stop(ann, sent.message))["status"] == "COMPLETE"
    assert await ann.message(sent.reply) == reply
    assert await ann.execute(BRANCH, id=sent.conversation) == before


async def test_only_the_owner_stops_a_reply(ann: Client, bob: Client, model: ScriptedModel) -> None:
    (sent,) = await hold_up(ann, model, "one")
    with pytest.raises(GraphQLFailed) as failure:
        await stop(bob, sent.reply)
    assert failure.value.codes == ["FORBIDDEN"]
    assert (await ann.finished(sent.reply))["status"] == "COMPLETE"


# Limits


async def test_one_message_too_many_is_refused_with_the_time_to_wait(
    start_server: StartServer, connect_client: ConnectClient, model: ScriptedModel
) -> None:
    async def allowance(client: Client) -> dict[str, Any]:
        limit: dict[str, Any] = (await client.execute(ALLOWANCE))["viewer"]["rateLimit"]
        return limit

    async with start_server(rate_limit=3) as limited:
        ann, bob = connect_client("ann", url=limited.url), connect_client("bob", url=limited.url)
        untouched = await allowance(ann)
        assert (untouched["limit"], untouched["remaining"]) == (3, 3)

        sent, _ = await ann.ask("one", idempotencyKey="k")
        # A retry is no message, and what is refused for another reason is none either.
        for _ in range(5):
            assert await ann.send("one", idempotencyKey="k") == sent
        with pytest.raises(GraphQLFailed):
            await ann.send(" ")
        assert (await allowance(ann))["remaining"] == 2
        await ann.execute(REGENERATE, input={"messageId": sent.reply, "idempotencyKey": "k"})
        await ann.execute(REGENERATE, input={"messageId": sent.reply, "idempotencyKey": "k"})
        assert (await allowance(ann))["remaining"] == 1
        await ann.ask("two", conversationId=sent.conversation)

        spent = await allowance(ann)
        assert spent["remaining"] == 0
        wait = (datetime.fromisoformat(spent["resetAt"]) - datetime.now(UTC)).total_seconds()
        assert 0 < wait <= 60
        for attempt in (
            ann.send("three", idempotencyKey="another"),
            ann.execute(REGENERATE, input={"messageId": sent.reply}),
        ):
            with pytest.raises(GraphQLFailed) as failure:
                await attempt
            assert failure.value.codes == ["RATE_LIMITED"]
            assert 1 <= failure.value.errors[0]["extensions"]["retryAfter"] <= 60
        assert await ann.send("one", idempotencyKey="k") == sent
        assert len(await read_branch(ann, sent.conversation)) == 4

        assert (await allowance(bob))["remaining"] == 3
        await bob.ask("one")


async def test_retries_at_once_count_as_one_message(start_server: StartServer, connect_client: ConnectClient) -> None:
    async with start_server(rate_limit=3) as limited:
        ann = connect_client("ann", url=limited.url)
        sent = await asyncio.gather(*(ann.send("one", idempotencyKey="k") for _ in range(5)))
        assert all(each == sent[0] for each in sent)
        assert (await ann.execute(ALLOWANCE))["viewer"]["rateLimit"]["remaining"] == 2
        await ann.finished(sent[0].reply)
