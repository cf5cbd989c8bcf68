"""Conversations: made, named, archived, deleted, rated; what they cost, and whose they are."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from agent.stand_in.answers import Answer, Text
from persistence.conversations import lock_owned_conversation
from persistence.database import Database
from tests.client import Client, GraphQLFailed
from tests.conftest import ConnectClient, StartServer, until
from tests.model import ScriptedModel, last_text, say
from tests.service.conversations import CREATE, DELETE, TASK, create, list_titles, read, update

RATE = """
mutation ($input: RateMessageInput!) { rateMessage(input: $input) { message { id rating status text } } }
"""

SPENT = """
query ($since: DateTime) { viewer { usage(since: $since) {
  inputTokens outputTokens cacheReadTokens cacheWriteTokens
} } }
"""

NODE = """
query ($id: ID!) { node(id: $id) {
  __typename id
  ... on Conversation { title }
  ... on Message { text }
  ... on Task { notes }
} }
"""


async def test_a_new_conversation_is_empty(ann: Client) -> None:
    made = (await ann.execute(CREATE, title="Plans"))["createConversation"]["conversation"]
    assert made["title"] == "Plans"
    assert made["createdAt"] == made["updatedAt"]
    assert made["archivedAt"] is None
    assert set(made["usage"].values()) == {0}
    nothing = {"hasNextPage": False, "hasPreviousPage": False, "startCursor": None, "endCursor": None}
    assert made["messages"] == {"edges": [], "pageInfo": nothing}
    assert await list_titles(ann) == ["Plans"]


@pytest.mark.parametrize("title", ["", " \n", "x" * 201, "a\x00b"])
async def test_a_title_that_cannot_be_one_is_bad_user_input(ann: Client, title: str) -> None:
    id = await create(ann, "x" * 200)
    for attempt in (create(ann, title), update(ann, id, title=title)):
        with pytest.raises(GraphQLFailed) as failure:
            await attempt
        assert failure.value.codes == ["BAD_USER_INPUT"]
    assert await list_titles(ann) == ["x" * 200]


async def test_the_model_names_a_conversation_only_where_the_user_has_not(
    start_server: StartServer, connect_client: ConnectClient, model: ScriptedModel
) -> None:
    model.by(lambda request: say("Bread at home" if request["model"] == "scripted-titles" else "Flour first."))
    async with start_server(titles=True) as titling:
        ann = connect_client("ann", url=titling.url)
        id = await create(ann, "Mine")
        await ann.ask("How do I bake?", conversationId=id)
        assert (await update(ann, id))["title"] == "Mine"
        assert "scripted-titles" not in {request["model"] for request in model.requests}

        assert (await update(ann, id, title=None))["title"] is None

        async def is_named() -> bool:
            # Again where the server that all tests share, which gives no names, took the run.
            await ann.ask("And then?", conversationId=id)
            return bool((await read(ann, id))["title"] == "Bread at home")

        await until(is_named)
        assert (await update(ann, id, title="Mine again"))["title"] == "Mine again"
        await ann.ask("Thanks.", conversationId=id)
        assert (await read(ann, id))["title"] == "Mine again"


async def test_archiving_takes_a_conversation_out_of_the_list_until_it_is_taken_back(ann: Client) -> None:
    id = await create(ann, "Old")
    await create(ann, "New")
    archived = await update(ann, id, archived=True)
    assert archived["archivedAt"] is not None
    assert archived["title"] == "Old"
    assert await list_titles(ann) == ["New"]
    assert await list_titles(ann, archived=True) == ["Old"]

    again = await update(ann, id, archived=True, title="Older")
    assert again["archivedAt"] == archived["archivedAt"]
    assert (await update(ann, id, archived=None))["archivedAt"] == archived["archivedAt"]

    assert (await update(ann, id, archived=False))["archivedAt"] is None
    assert sorted(await list_titles(ann)) == ["New", "Older"]
    assert await list_titles(ann, archived=True) == []


async def test_deleting_takes_everything_but_what_was_spent(
    ann: Client, model: ScriptedModel, database: Database
) -> None:
    model.by(lambda request: say("Yes.", first_token_delay=60 if last_text(request) == "Slow?" else 0))
    sent, _ = await ann.ask("Is it?")
    task = (await ann.execute(f'mutation {{ addTask(input: {{title: "Stay"}}) {{ {TASK} }} }}'))["addTask"]["task"]
    spent = await ann.execute(SPENT)
    assert spent["viewer"]["usage"]["inputTokens"] > 0
    running = await ann.send("Slow?", conversationId=sent.conversation)
    waiting = await ann.send("And?", conversationId=sent.conversation)

    data = await ann.execute(DELETE, id=sent.conversation)
    assert data["deleteConversation"]["deletedId"] == sent.conversation
    for id in (sent.conversation, sent.message, sent.reply, running.reply, waiting.reply):
        with pytest.raises(GraphQLFailed) as failure:
            await ann.execute(NODE, id=id)
        assert failure.value.codes == ["FORBIDDEN"]
    async with database.connection() as connection:
        for table in ("conversation", "message", "run"):
            assert (await connection.execute(text(f"select count(*) from {table}"))).scalar() == 0

    async def is_still_spent() -> bool:
        # What the running reply has cost comes to it a moment later.
        usage = (await ann.execute(SPENT))["viewer"]["usage"]
        return all(usage[kind] >= count for kind, count in spent["viewer"]["usage"].items())

    await until(is_still_spent)
    assert (await ann.execute(NODE, id=task["id"]))["node"]["id"] == task["id"]
    await until(lambda: model.open_streams == 0)


async def test_deleting_and_the_end_of_a_reply_do_not_lock_each_other_out(
    ann: Client, model: ScriptedModel, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async def two_wait_for_locks() -> bool:
        query = text("select count(*) = 2 from pg_stat_activity where wait_event_type = 'Lock'")
        async with database.connection() as connection:
            return bool((await connection.execute(query)).scalar())

    model.script(Answer([Text("word " * 20)], tokens_per_second=5))
    sent = await ann.send("Write.")
    await until(lambda: model.open_streams == 1)
    async with database.transaction() as sending:
        # As another sendMessage does: first the deletion waits behind it, then the end of the reply.
        await lock_owned_conversation(sending, "ann", UUID(sent.conversation))
        deleting = asyncio.create_task(ann.execute(DELETE, id=sent.conversation))
        await until(two_wait_for_locks)
    assert (await deleting)["deleteConversation"] == {"deletedId": sent.conversation}
    await asyncio.sleep(0.2)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


async def test_another_users_conversation_and_none_at_all_are_refused_alike(ann: Client, bob: Client) -> None:
    id = await create(ann, "Ann's")
    errors = []
    for target in (id, str(uuid4())):
        for attempt in (
            read(bob, target),
            update(bob, target, title="Bob's"),
            update(bob, target, archived=True),
            bob.execute(DELETE, id=target),
        ):
            with pytest.raises(GraphQLFailed) as failure:
                await attempt
            assert failure.value.codes == ["FORBIDDEN"]
            errors.append(failure.value.errors[0]["message"])
    assert len(set(errors)) == 1
    assert (await read(ann, id))["title"] == "Ann's"
    assert await list_titles(bob) == []


async def test_a_conversation_sums_what_its_replies_cost(ann: Client, model: ScriptedModel) -> None:
    def cost(times: int) -> dict[str, int]:
        return {
            "inputTokens": 11 * times,
            "outputTokens": 7 * times,
            "cacheReadTokens": 3 * times,
            "cacheWriteTokens": 2 * times,
        }

    answer = say("Yes.", input_tokens=11, output_tokens=7, cache_read_tokens=3, cache_write_tokens=2)
    model.script(answer)
    sent, reply = await ann.ask("Is it?")
    assert reply["usage"] == (await read(ann, sent.conversation))["usage"] == cost(1)
    await ann.ask("Really?", conversationId=sent.conversation)
    await ann.ask("Another one?")
    await ann.execute(
        "mutation ($id: ID!) { regenerateMessage(input: {messageId: $id}) { finishedReply { id } } }", id=sent.reply
    )
    assert (await read(ann, sent.conversation))["usage"] == cost(3)
    assert (await ann.message(sent.message))["usage"] is None
    assert (await ann.execute(SPENT))["viewer"]["usage"] == cost(4)
    assert (await ann.execute(SPENT, since="2000-01-01T00:00:00Z"))["viewer"]["usage"] == cost(4)
    assert (await ann.execute(SPENT, since="2999-01-01T00:00:00Z"))["viewer"]["usage"] == cost(0)


async def test_a_rating_is_set_changed_and_cleared(ann: Client, bob: Client, database: Database) -> None:
    sent, _ = await ann.ask("Is it?")
    before = await read(ann, sent.conversation)

    async def rate(**given: Any) -> Any:
        data = await ann.execute(RATE, input={"messageId": sent.reply, **given})
        return data["rateMessage"]["message"]["rating"], (await ann.message(sent.reply))["rating"]

    async def comment() -> Any:
        async with database.connection() as connection:
            query = text("select rating_comment from message where id = :id")
            return (await connection.execute(query, {"id": UUID(sent.reply)})).scalar()

    assert await rate(rating="UP", comment="Just so.") == ("UP", "UP")
    assert await comment() == "Just so."
    assert await rate(rating="DOWN") == ("DOWN", "DOWN")
    assert await comment() is None
    assert await rate(rating=None) == (None, None)
    assert (await read(ann, sent.conversation))["usage"] == before["usage"]

    for client, id, comment_given, code in (
        (ann, sent.message, "", "BAD_USER_INPUT"),
        (ann, sent.reply, "x" * 2001, "BAD_USER_INPUT"),
        (ann, str(uuid4()), "", "FORBIDDEN"),
        (bob, sent.reply, "", "FORBIDDEN"),
    ):
        with pytest.raises(GraphQLFailed) as failure:
            await client.execute(RATE, input={"messageId": id, "rating": "UP", "comment": comment_given})
        assert failure.value.codes == [code]


async def test_node_gives_each_type_to_its_owner_alone(ann: Client, bob: Client) -> None:
    sent, _ = await ann.ask("Is it?")
    task = (await ann.execute(f'mutation {{ addTask(input: {{title: "T", notes: "N"}}) {{ {TASK} }} }}'))["addTask"]
    nodes: dict[str, dict[str, Any]] = {
        sent.conversation: {"__typename": "Conversation", "title": None},
        sent.message: {"__typename": "Message", "text": "Is it?"},
        sent.reply: {"__typename": "Message", "text": "Hello."},
        task["task"]["id"]: {"__typename": "Task", "notes": "N"},
    }
    for id, expected in nodes.items():
        assert (await ann.execute(NODE, id=id))["node"] == {"id": id, **expected}
        with pytest.raises(GraphQLFailed) as failure:
            await bob.execute(NODE, id=id)
        assert failure.value.codes == ["FORBIDDEN"]
    for id, code in ((str(uuid4()), "FORBIDDEN"), ("", "BAD_USER_INPUT"), ("{" + sent.reply + "}", "BAD_USER_INPUT")):
        with pytest.raises(GraphQLFailed) as failure:
            await ann.execute(NODE, id=id)
        assert failure.value.codes == [code]
