"""Whoever follows a conversation knows its messages, their states and its title, whenever it looks and leaves."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import make_url, text

from agent.stand_in.answers import Answer, Text, ToolUse
from persistence.database import Database
from resolvers.conversation_streams import BATCH
from schema.scalars import read_revision_cursor, revision_cursor
from tests.client import Client, GraphQLFailed, Sent
from tests.conftest import ConnectClient, StartServer, until
from tests.model import ScriptedModel, say

FOLLOW = """
subscription ($id: ID!, $after: String) {
  conversationStream(conversationId: $id, after: $after) {
    __typename
    cursor
    ... on MessageAdded { message { ...state } }
    ... on MessageChanged { message { ...state } }
    ... on ConversationChanged { conversation { id title archivedAt } }
    ... on ConversationDeleted { conversationId }
  }
}
fragment state on Message { id role status text parent { id } }
"""
CREATE = "mutation { createConversation(input: {}) { conversation { id cursor } } }"
UPDATE = "mutation ($input: UpdateConversationInput!) { updateConversation(input: $input) { conversation { id } } }"
DELETE = "mutation ($id: ID!) { deleteConversation(input: {id: $id}) { deletedId } }"
REGENERATE = "mutation ($id: ID!) { regenerateMessage(input: {messageId: $id}) { reply { id } } }"
STOP = "mutation ($id: ID!) { stopMessage(input: {messageId: $id}) { message { status } } }"
STATE = "query ($id: ID!) { conversation(id: $id) { title archivedAt cursor } }"

#: Longer than any test: such an answer never comes of itself.
NEVER = 60.0
#: A status never goes back: the last one told is the newest.
STATUSES = ["QUEUED", "STREAMING", "AWAITING_APPROVAL", "COMPLETE", "STOPPED", "FAILED"]

Event = dict[str, Any]


@pytest.fixture(scope="module")
async def own_database_url(database: Database, database_url: str) -> str:
    """A database beside the shared one: the shared server's worker would take runs that are meant for another."""
    async with database.connection() as connection:
        await connection.execute(text("create database conversation_stream"))
    url = make_url(database_url).set(database="conversation_stream").render_as_string(hide_password=False)
    own = Database(url)
    await own.migrate()
    await own.close()
    return url


async def events_of(client: Client, id: str, after: str | None = None) -> AsyncGenerator[Event]:
    """The events of a conversation, over a socket of its own."""
    async with client.socket() as socket, aclosing(socket.subscribe(FOLLOW, {"id": id, "after": after})) as results:
        async for data in results:
            yield data["conversationStream"]


@dataclass
class Follower:
    """A conversation as a front end knows it from events alone."""

    client: Client
    id: str
    cursor: str | None = None
    events: list[Event] = field(default_factory=list)
    statuses: dict[str, str] = field(default_factory=dict)
    title: str | None = None
    is_archived: bool = False
    is_deleted: bool = False

    def take(self, event: Event) -> None:
        self.events.append(event)
        self.cursor = event["cursor"]
        match event["__typename"]:
            case "MessageAdded" | "MessageChanged":
                self.statuses[event["message"]["id"]] = event["message"]["status"]
            case "ConversationChanged":
                self.title = event["conversation"]["title"]
                self.is_archived = event["conversation"]["archivedAt"] is not None
            case "ConversationDeleted":
                self.is_deleted = True

    async def follow(self, *, events: int | None = None) -> None:
        """Take events in, from where it is to the end, or only so many."""
        async with aclosing(events_of(self.client, self.id, self.cursor)) as stream:
            async for event in stream:
                self.take(event)
                events = events and events - 1
                if events == 0:
                    return

    def told_of(self, message_id: str) -> list[tuple[str, str]]:
        """What kinds of events told of a message, and the status then."""
        return [
            (event["__typename"], event["message"]["status"])
            for event in self.events
            if event.get("message", {}).get("id") == message_id
        ]


async def start_following(follower: Follower, marker: Callable[[], bool]) -> asyncio.Task[None]:
    """Follow in the background; from now, where it has no cursor: renames until the first is heard of."""
    task = asyncio.create_task(follower.follow())
    async with asyncio.timeout(60):
        while not marker():
            await update(follower.client, follower.id, title="begin")
            await asyncio.sleep(0.05)
    return task


async def create(client: Client) -> tuple[str, str]:
    """A new conversation: id and cursor."""
    conversation = (await client.execute(CREATE))["createConversation"]["conversation"]
    return conversation["id"], conversation["cursor"]


async def update(client: Client, id: str, **changes: Any) -> None:
    await client.execute(UPDATE, input={"id": id, **changes})


async def state_of(client: Client, id: str) -> dict[str, Any]:
    """Title, archivedAt and cursor."""
    conversation: dict[str, Any] = (await client.execute(STATE, id=id))["conversation"]
    return conversation


async def refusal(client: Client, id: str, after: str | None = None) -> list[Any]:
    """The codes with which following is refused."""
    with pytest.raises(GraphQLFailed) as failure:
        async for _ in events_of(client, id, after):
            pass
    return failure.value.codes


async def wait_for(stream: AsyncGenerator[Event], count: int) -> list[Event]:
    """The next so many events."""
    async with asyncio.timeout(60):
        return [await anext(stream) for _ in range(count)]


async def test_a_message_and_its_reply_are_told_at_each_state(ann: Client, model: ScriptedModel) -> None:
    model.script(Answer([Text("word " * 60)], tokens_per_second=40))
    id, cursor = await create(ann)
    follower = Follower(ann, id, cursor)
    following = asyncio.create_task(follower.follow())
    sent = await ann.send("Hi.", conversationId=id)
    await until(lambda: (sent.reply in follower.statuses) and follower.statuses[sent.reply] == "STREAMING")
    await until(lambda: follower.statuses[sent.reply] == "COMPLETE")
    assert follower.told_of(sent.message) == [("MessageAdded", "COMPLETE")]
    (first, _), *changes = follower.told_of(sent.reply)
    assert first == "MessageAdded"
    assert {kind for kind, _ in changes} == {"MessageChanged"}
    steps = [STATUSES.index(status) for _, status in follower.told_of(sent.reply)]
    assert steps == sorted(steps)
    last = follower.events[-1]["message"]
    assert (last["text"], last["parent"]["id"]) == ("word " * 60, sent.message)
    assert [event["message"]["id"] for event in follower.events[:2]] == [sent.message, sent.reply]
    following.cancel()


async def test_whoever_follows_a_lively_conversation_is_told_of_each_message_and_never_cut_off(
    ann: Client, connect_client: ConnectClient
) -> None:
    id, cursor = await create(ann)
    followers = [Follower(connect_client("ann"), id, cursor) for _ in range(3)]
    following = [asyncio.create_task(follower.follow()) for follower in followers]
    messages: list[str] = []
    for number in range(25):
        sent, _ = await ann.ask(f"Question {number}", conversationId=id)
        messages += [sent.message, sent.reply]
    expected = dict.fromkeys(messages, "COMPLETE")
    await until(
        lambda: all(task.done() or f.statuses == expected for task, f in zip(following, followers, strict=True))
    )
    assert [task.exception() for task in following if task.done()] == []
    for follower in followers:
        assert {follower.told_of(message)[0][0] for message in messages} == {"MessageAdded"}
    for task in following:
        task.cancel()


async def test_waiting_for_approval_failing_and_stopping_are_told(ann: Client, model: ScriptedModel) -> None:
    id, cursor = await create(ann)
    follower = Follower(ann, id, cursor)
    following = asyncio.create_task(follower.follow())
    model.script(Answer([ToolUse("deleteTask", {"id": str(uuid4())})]))
    parked = await ann.send("Delete.", conversationId=id)
    await until(lambda: follower.statuses.get(parked.reply) == "AWAITING_APPROVAL")
    await ann.execute(STOP, id=parked.reply)
    await until(lambda: follower.statuses[parked.reply] == "STOPPED")
    model.script(Answer([Text("Half")], stop_reason="refusal"))
    failed = await ann.send("Fail.", conversationId=id)
    await until(lambda: follower.statuses.get(failed.reply) == "FAILED")
    following.cancel()


async def test_renaming_archiving_and_deleting_are_told_and_then_it_ends(ann: Client) -> None:
    id, cursor = await create(ann)
    follower = Follower(ann, id, cursor)
    following = asyncio.create_task(follower.follow())
    await update(ann, id, title="Holidays")
    await until(lambda: follower.title == "Holidays")
    await update(ann, id, archived=True)
    await until(lambda: follower.is_archived)
    await update(ann, id, archived=False)
    await until(lambda: not follower.is_archived)
    assert {event["__typename"] for event in follower.events} == {"ConversationChanged"}
    await ann.execute(DELETE, id=id)
    await asyncio.wait_for(following, 60)
    assert follower.is_deleted
    assert [event["__typename"] for event in follower.events].count("ConversationDeleted") == 1
    assert follower.events[-1]["conversationId"] == id
    assert await refusal(ann, id, follower.cursor) == ["FORBIDDEN"]


async def test_the_title_that_the_model_gives_is_told(
    start_server: StartServer, own_database_url: str, connect_client: ConnectClient, model: ScriptedModel
) -> None:
    model.by(lambda request: say("A greeting" if request["model"] == "scripted-titles" else "Hello."))
    async with start_server(titles=True, database_url=own_database_url) as titling:
        ann = connect_client("ann", url=titling.url)
        id, cursor = await create(ann)
        follower = Follower(ann, id, cursor)
        following = asyncio.create_task(follower.follow())
        await ann.send("Hi.", conversationId=id)
        await until(lambda: follower.title == "A greeting")
        assert (await state_of(ann, id))["title"] == "A greeting"
        following.cancel()


async def test_without_a_cursor_only_what_changes_from_now_on_is_told(ann: Client) -> None:
    sent, _ = await ann.ask("Hi.")
    follower = Follower(ann, sent.conversation)
    following = await start_following(follower, lambda: follower.title == "begin")
    later, _ = await ann.ask("And now?", conversationId=sent.conversation)
    await until(lambda: follower.statuses.get(later.reply) == "COMPLETE")
    assert set(follower.statuses) == {later.message, later.reply}
    following.cancel()


async def test_query_then_subscribe_has_no_gap(ann: Client) -> None:
    sent, _ = await ann.ask("Hi.")
    seen = await state_of(ann, sent.conversation)
    later, _ = await ann.ask("And now?", conversationId=sent.conversation)
    await update(ann, sent.conversation, title="Two")
    async with aclosing(events_of(ann, sent.conversation, seen["cursor"])) as stream:
        events = await wait_for(stream, 4)
    kinds = ["MessageAdded", "MessageAdded", "MessageChanged", "ConversationChanged"]
    assert [event["__typename"] for event in events] == kinds
    assert [event["message"]["id"] for event in events[:3]] == [later.message, later.reply, later.reply]
    assert events[3]["conversation"]["title"] == "Two"


async def test_from_each_events_cursor_the_rest_is_told(ann: Client) -> None:
    id, cursor = await create(ann)
    for number in range(4):
        await ann.ask(f"Question {number}", conversationId=id)
    await update(ann, id, title="End")
    async with aclosing(events_of(ann, id, cursor)) as stream:
        events = await wait_for(stream, 13)
    assert len({event["cursor"] for event in events}) == 13
    for index, event in enumerate(events[:-1]):
        async with aclosing(events_of(ann, id, event["cursor"])) as stream:
            assert await wait_for(stream, 12 - index) == events[index + 1 :]
    assert (await state_of(ann, id))["cursor"] == events[-1]["cursor"]


async def test_each_message_is_told_as_added_also_to_one_who_leaves_in_between(
    ann: Client, model: ScriptedModel
) -> None:
    id, cursor = await create(ann)
    model.script(Answer([Text("Slow.")], first_token_delay=0.4), say("Fast."))
    first = await ann.send("One", conversationId=id)
    second = await ann.send("Two", conversationId=id)
    await ann.finished(second.reply)
    follower = Follower(ann, id, cursor)
    async with asyncio.timeout(60):
        while (await state_of(ann, id))["cursor"] != follower.cursor:
            await follower.follow(events=1)
    messages = [first.message, first.reply, second.message, second.reply]
    assert [follower.told_of(message)[0] for message in messages] == [("MessageAdded", "COMPLETE")] * 4


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "W10", "WyJyIl0", "💥", "a" * 5000])
async def test_a_malformed_cursor_is_bad_user_input(ann: Client, cursor: str) -> None:
    id, _ = await create(ann)
    assert await refusal(ann, id, cursor) == ["BAD_USER_INPUT"]


async def test_a_cursor_of_elsewhere_is_bad_user_input(ann: Client) -> None:
    sent, reply = await ann.ask("Hi.")
    _, foreign = await create(ann)
    assert await refusal(ann, sent.conversation, foreign) == ["BAD_USER_INPUT"]
    assert await refusal(ann, sent.conversation, reply["cursor"]) == ["BAD_USER_INPUT"]
    assert await refusal(ann, "no id", None) == ["BAD_USER_INPUT"]


async def test_a_cursor_of_the_future_is_bad_user_input(ann: Client) -> None:
    id, cursor = await create(ann)
    assert revision_cursor(UUID(id), 0) == cursor
    for revision in (1, 2**62, 2**63, -1):
        assert await refusal(ann, id, revision_cursor(UUID(id), revision)) == ["BAD_USER_INPUT"]


async def test_another_users_conversation_cannot_be_followed(ann: Client, bob: Client) -> None:
    id, cursor = await create(ann)
    for after in (None, cursor):
        assert await refusal(bob, id, after) == ["FORBIDDEN"]
    assert await refusal(bob, str(uuid4())) == ["FORBIDDEN"]


async def test_another_tab_sees_the_message_and_reads_its_reply(
    ann: Client, model: ScriptedModel, connect_client: ConnectClient
) -> None:
    model.script(Answer([Text("word " * 100)], tokens_per_second=100))
    id, cursor = await create(ann)
    tab = connect_client("ann")
    async with aclosing(events_of(tab, id, cursor)) as stream:
        sent = await ann.send("Hi.", conversationId=id)
        question, reply = await wait_for(stream, 2)
        assert question["message"]["id"] == sent.message
        assert question["message"]["text"] == "Hi."
        assert reply["message"]["role"] == "ASSISTANT"
        assert reply["message"]["status"] in ("QUEUED", "STREAMING")
        reading = await tab.read(reply["message"]["id"])
    assert reading.text == "word " * 100


async def test_more_changes_than_one_look_takes_in_come_all_and_in_order(ann: Client) -> None:
    id, cursor = await create(ann)
    count = BATCH * 6 // 10
    sent = [await ann.send(f"Question {number}", conversationId=id) for number in range(count)]
    await ann.finished(sent[-1].reply)
    await update(ann, id, title="End")
    follower = Follower(ann, id, cursor)
    following = asyncio.create_task(follower.follow())
    await until(lambda: follower.title == "End")
    following.cancel()
    assert follower.statuses == {message: "COMPLETE" for pair in sent for message in (pair.message, pair.reply)}
    assert {follower.told_of(message)[0][0] for message in follower.statuses} == {"MessageAdded"}
    revisions = [read_revision_cursor(UUID(id), event["cursor"]) for event in follower.events]
    assert revisions == sorted(set(revisions))


async def test_more_changes_at_one_moment_than_one_look_takes_in_come_all(ann: Client, model: ScriptedModel) -> None:
    model.script(Answer([Text("Never.")], first_token_delay=NEVER))
    first = await ann.send("One")
    second = await ann.send("Two", conversationId=first.conversation)
    # They all wait for the first reply, and then begin together.
    again = [await ann.execute(REGENERATE, id=second.reply) for _ in range(BATCH + 10)]
    replies = [second.reply, *(one["regenerateMessage"]["reply"]["id"] for one in again)]
    follower = Follower(ann, first.conversation, (await state_of(ann, first.conversation))["cursor"])
    following = asyncio.create_task(follower.follow())
    await ann.execute(STOP, id=first.reply)
    await until(lambda: following.done() or all(follower.statuses.get(id) == "STREAMING" for id in replies))
    await ann.execute(DELETE, id=first.conversation)
    await asyncio.wait_for(following, 60)
    assert follower.is_deleted


async def test_whatever_happens_and_however_often_one_leaves_the_picture_is_right_in_the_end(
    ann: Client, model: ScriptedModel, connect_client: ConnectClient
) -> None:
    choose = random.Random(7)
    model.by(lambda request: Answer([Text("word " * choose.randint(1, 8))], tokens_per_second=choose.randint(50, 400)))
    id, cursor = await create(ann)
    sent: list[Sent] = [await ann.send("First", conversationId=id)]
    versions: list[str] = []
    follower = Follower(connect_client("ann"), id, cursor)
    steady = Follower(connect_client("ann"), id, cursor)

    async def act(client: Client, number: int) -> None:
        for step in range(12):
            await asyncio.sleep(choose.random() * 0.1)
            match choose.choice(["send", "send", "regenerate", "regenerate", "rename", "archive", "stop"]):
                case "send":
                    sent.append(await client.send(f"Question {number}.{step}", conversationId=id))
                case "regenerate":
                    data = await client.execute(REGENERATE, id=choose.choice(sent).reply)
                    versions.append(data["regenerateMessage"]["reply"]["id"])
                case "rename":
                    await update(client, id, title=f"Title {number}.{step}")
                case "archive":
                    await update(client, id, archived=choose.random() < 0.5)
                case "stop":
                    await client.execute(STOP, id=choose.choice(sent).reply)

    is_calm = False

    async def come_and_go() -> None:
        while True:
            await follower.follow(events=choose.randint(1, 6))
            # Now and then an earlier cursor, as long as there are more events to come.
            if choose.random() < 0.2 and not is_calm:
                follower.cursor = choose.choice(follower.events)["cursor"]

    following = [asyncio.create_task(come_and_go()), asyncio.create_task(steady.follow())]
    await asyncio.gather(*(act(connect_client("ann"), number) for number in range(4)))
    is_calm = True
    expected = {message: "" for one in sent for message in (one.message, one.reply)} | dict.fromkeys(versions, "")
    for message in expected:
        expected[message] = (await ann.finished(message))["status"]
    state = await state_of(ann, id)
    await until(lambda: follower.statuses == expected and steady.statuses == expected)
    await until(lambda: follower.title == steady.title == state["title"])
    await until(lambda: follower.is_archived == steady.is_archived == (state["archivedAt"] is not None))
    assert not any(task.done() for task in following)
    for task in following:
        task.cancel()
    assert {steady.told_of(message)[0][0] for message in expected} == {"MessageAdded"}
