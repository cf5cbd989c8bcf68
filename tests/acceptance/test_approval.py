"""A tool that needs approval waits for its user: it holds nobody up, survives anything, and runs at most once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import make_url, text

from agent.stand_in.answers import Answer, Text, ToolUse
from persistence.database import Database
from tests.client import STREAM, Client, GraphQLFailed, Reading, Sent
from tests.conftest import ConnectClient, StartServer, empty, until
from tests.model import ScriptedModel, say

FOLLOW = STREAM.replace(
    "... on ToolCallFinished", "... on ToolCallAwaitingApproval { part toolCall { ...call } } ... on ToolCallFinished"
)
RESOLVE = """
mutation ($input: ResolveToolCallInput!) { resolveToolCall(input: $input) {
  message { id status parts { ... on ToolCallPart { id status result } } }
} }
"""
STOP = "mutation ($id: ID!) { stopMessage(input: {messageId: $id}) { message { status } } }"

#: Longer than any test: such an answer never comes of itself.
NEVER = 60.0


@pytest.fixture(scope="module")
async def own_database(database: Database, database_url: str) -> AsyncIterator[Database]:
    """A database beside the shared one: the shared server's worker would take runs that are meant for another."""
    async with database.connection() as connection:
        await connection.execute(text("create database approval"))
    own = Database(make_url(database_url).set(database="approval").render_as_string(hide_password=False))
    await own.migrate()
    yield own
    await own.close()


@pytest.fixture
async def start_own_server(
    start_server: StartServer, own_database: Database, model: ScriptedModel
) -> AsyncIterator[StartServer]:
    """Starts a server with settings of its own and the only worker of its database."""
    yield partial(start_server, database_url=own_database.engine.url.render_as_string(hide_password=False))
    await empty(own_database)


async def add_task(client: Client, title: str = "Milk") -> str:
    data = await client.execute("mutation ($t: String!) { addTask(input: {title: $t}) { task { id } } }", t=title)
    return str(data["addTask"]["task"]["id"])


async def list_tasks(client: Client) -> list[str]:
    """The ids of the client's tasks."""
    data = await client.execute("{ tasks(first: 100) { edges { node { id } } } }")
    return [edge["node"]["id"] for edge in data["tasks"]["edges"]]


async def resolve(client: Client, message_id: str, call_id: str, approve: bool, note: str | None = None) -> Any:
    """Answer a call; gives the message."""
    answer = {"messageId": message_id, "toolCallId": call_id, "approve": approve, "note": note}
    return (await client.execute(RESOLVE, input=answer))["resolveToolCall"]["message"]


async def refusal(client: Client, message_id: str, call_id: str, approve: bool = True) -> list[Any]:
    """The codes with which an answer is refused."""
    with pytest.raises(GraphQLFailed) as failure:
        await resolve(client, message_id, call_id, approve)
    return failure.value.codes


async def stop(client: Client, message_id: str) -> str:
    """Stop a reply; gives its status then."""
    return str((await client.execute(STOP, id=message_id))["stopMessage"]["message"]["status"])


async def follow(client: Client, message_id: str, reading: Reading, *, after: str | None = None) -> Reading:
    """Read a reply to its end, approvals too."""
    async with client.socket() as socket:
        async for data in socket.subscribe(FOLLOW, {"messageId": message_id, "after": after}):
            reading.take(data["messageStream"])
    return reading


async def follow_until_asked(client: Client, message_id: str, asked: int = 1) -> tuple[list[str], str]:
    """Read until so many calls await approval; gives their ids and the cursor."""
    ids: list[str] = []
    async with client.socket() as socket:
        results = socket.subscribe(FOLLOW, {"messageId": message_id, "after": None})
        async for data in results:
            event = data["messageStream"]
            if event["__typename"] == "ToolCallAwaitingApproval":
                ids.append(event["toolCall"]["id"])
            if len(ids) == asked:
                break
        await results.aclose()
    assert len(ids) == asked, "the reply ended and did not ask"
    return ids, str(event["cursor"])


def told(events: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What events say, deltas that follow one another as one."""
    said: list[tuple[Any, ...]] = []
    for event in events:
        match event["__typename"]:
            case "TextDelta" if said and said[-1][:2] == ("TextDelta", event["part"]):
                said[-1] = (*said[-1][:2], said[-1][2] + event["text"])
            case "TextDelta":
                said.append(("TextDelta", event["part"], event["text"]))
            case "MessageFinished":
                said.append(("MessageFinished", event["message"]["status"]))
            case kind:
                said.append((kind, event["part"], event["toolCall"]["status"]))
    return said


def results(request: dict[str, Any]) -> list[tuple[str, bool]]:
    """What the model is told of the calls of the last step: the content, and whether it is an error."""
    [*_, last] = request["messages"]
    return [(block["content"], block["is_error"]) for block in last["content"] if block["type"] == "tool_result"]


def delete(*ids: str, before: str = "I delete it. ") -> Answer:
    """The model asks for tasks to be deleted."""
    return Answer([Text(before), *(ToolUse("deleteTask", {"id": id}) for id in ids)])


async def ask_to_delete(client: Client, model: ScriptedModel, *tasks: str) -> tuple[Sent, list[str]]:
    """A reply that is parked with a call for each task, and «Done.» after them; gives the calls' ids."""
    model.script(delete(*tasks), say("Done."))
    sent = await client.send("Delete.")
    calls, _ = await follow_until_asked(client, sent.reply, len(tasks))
    return sent, calls


async def test_a_call_that_needs_approval_parks_the_reply(ann: Client, model: ScriptedModel) -> None:
    task = await add_task(ann)
    sent, [call] = await ask_to_delete(ann, model, task)
    message = await ann.message(sent.reply)
    assert message["status"] == "AWAITING_APPROVAL"
    assert message["finishedAt"] is None
    assert message["text"] == "I delete it. "
    expected = {"id": call, "tool": "deleteTask", "status": "AWAITING_APPROVAL", "result": None}
    assert message["parts"][1].items() >= {**expected, "parameters": {"id": task}}.items()
    assert await list_tasks(ann) == [task]
    assert len(model.requests) == 1


async def test_other_calls_of_the_step_run_first(ann: Client, model: ScriptedModel) -> None:
    task = await add_task(ann)
    other = ToolUse("addTask", {"title": "Bread"})
    model.script(Answer([ToolUse("deleteTask", {"id": task}), other, ToolUse("tasks", {})]), say("Done."))
    sent = await ann.send("Delete and add.")
    reading = Reading()
    reader = asyncio.create_task(follow(ann, sent.reply, reading))
    await until(lambda: len(reading.events) == 6)
    assert [event[0] for event in told(reading.events)] == [
        *["ToolCallStarted"] * 3,
        *["ToolCallFinished"] * 2,
        "ToolCallAwaitingApproval",
    ]
    assert len(await list_tasks(ann)) == 2
    await resolve(ann, sent.reply, reading.events[5]["toolCall"]["id"], True)
    await reader
    assert told(reading.events)[6:] == [
        ("ToolCallFinished", 0, "SUCCEEDED"),
        ("TextDelta", 3, "Done."),
        ("MessageFinished", "COMPLETE"),
    ]
    assert [is_error for _, is_error in results(model.requests[-1])] == [False, False, False]


async def test_a_parked_reply_holds_no_slot(
    start_own_server: StartServer, connect_client: ConnectClient, model: ScriptedModel
) -> None:
    async with start_own_server(runs_per_node=1) as server:
        ann, bob = connect_client("ann", url=server.url), connect_client("bob", url=server.url)
        task = await add_task(ann)
        sent, [call] = await ask_to_delete(ann, model, task)
        _, reply = await bob.ask("Hi.")
        assert reply["status"] == "COMPLETE"
        await resolve(ann, sent.reply, call, True)
        assert (await ann.finished(sent.reply))["status"] == "COMPLETE"


async def test_approval_runs_the_call_once_and_whoever_stays_reads_each_event_once(
    ann: Client, model: ScriptedModel
) -> None:
    task = await add_task(ann)
    model.script(delete(task), say("Done."))
    sent = await ann.send("Delete.")
    live = Reading()
    reader = asyncio.create_task(follow(ann, sent.reply, live))
    await until(lambda: told(live.events)[-1:] == [("ToolCallAwaitingApproval", 1, "AWAITING_APPROVAL")])
    # Long enough for the reader to look at the rows more than once.
    await asyncio.sleep(1.2)
    call = live.events[-1]["toolCall"]["id"]
    answered = await resolve(ann, sent.reply, call, True)
    assert answered["status"] in ("QUEUED", "STREAMING", "COMPLETE")
    await reader
    assert told(live.events) == [
        ("TextDelta", 0, "I delete it. "),
        ("ToolCallStarted", 1, "RUNNING"),
        ("ToolCallAwaitingApproval", 1, "AWAITING_APPROVAL"),
        ("ToolCallFinished", 1, "SUCCEEDED"),
        ("TextDelta", 2, "Done."),
        ("MessageFinished", "COMPLETE"),
    ]
    assert await list_tasks(ann) == []
    assert len(model.requests) == 2
    assert results(model.requests[-1]) == [(f'{{"deletedId":"{task}"}}', False)]

    replay = await follow(ann, sent.reply, Reading())
    assert told(replay.events) == told(live.events)
    for index, event in enumerate(live.events):
        rest = await follow(ann, sent.reply, Reading(), after=event["cursor"])
        assert told(rest.events) == told(live.events[index + 1 :])


async def test_a_replay_has_the_cursors_that_were_read_live(ann: Client, model: ScriptedModel) -> None:
    task = await add_task(ann)
    sent, [call] = await ask_to_delete(ann, model, task)
    live = Reading()
    reader = asyncio.create_task(follow(ann, sent.reply, live))
    await until(lambda: "ToolCallAwaitingApproval" in [event["__typename"] for event in live.events])
    await resolve(ann, sent.reply, call, True)
    await reader
    replay = await follow(ann, sent.reply, Reading())
    assert [event["cursor"] for event in replay.events] == [event["cursor"] for event in live.events]


async def test_one_who_comes_back_while_it_waits_or_after_reads_the_rest(ann: Client, model: ScriptedModel) -> None:
    task = await add_task(ann)
    model.script(delete(task), say("Done."))
    sent = await ann.send("Delete.")
    seen: list[dict[str, Any]] = []
    async with ann.socket() as socket:
        stream = socket.subscribe(FOLLOW, {"messageId": sent.reply, "after": None})
        async for data in stream:
            seen.append(data["messageStream"])
            if seen[-1]["__typename"] == "ToolCallAwaitingApproval":
                break
        await stream.aclose()
    cursors = [None, *(event["cursor"] for event in seen), (await ann.message(sent.reply))["cursor"]]
    waiting = [Reading() for _ in cursors]
    tasks = [
        asyncio.create_task(follow(ann, sent.reply, reading, after=cursor))
        for reading, cursor in zip(waiting, cursors, strict=True)
    ]
    await until(lambda: len(told(waiting[0].events)) == 3)
    await resolve(ann, sent.reply, seen[-1]["toolCall"]["id"], True)
    await asyncio.gather(*tasks)
    whole = told(waiting[0].events)
    assert len(whole) == 6
    for count, reading in zip([0, *range(1, len(seen) + 1), len(seen)], waiting, strict=True):
        assert told(seen[:count]) + told(reading.events) == whole


async def test_a_parked_reply_survives_a_restart_of_the_server(
    start_own_server: StartServer, connect_client: ConnectClient, model: ScriptedModel
) -> None:
    async with start_own_server() as server:
        ann = connect_client("ann", url=server.url)
        task = await add_task(ann)
        model.script(delete(task), say("Done."))
        sent = await ann.send("Delete.")
        [call], cursor = await follow_until_asked(ann, sent.reply)
    async with start_own_server() as server:
        ann = connect_client("ann", url=server.url)
        assert (await ann.message(sent.reply))["status"] == "AWAITING_APPROVAL"
        rest = Reading()
        reader = asyncio.create_task(follow(ann, sent.reply, rest, after=cursor))
        await asyncio.sleep(0.1)
        await resolve(ann, sent.reply, call, True)
        await reader
        assert told(rest.events) == [
            ("ToolCallFinished", 1, "SUCCEEDED"),
            ("TextDelta", 2, "Done."),
            ("MessageFinished", "COMPLETE"),
        ]
        assert await list_tasks(ann) == []
        assert len(model.requests) == 2


@pytest.mark.parametrize("note", [None, "Not that one: 👍🏽 keep it."])
async def test_a_denied_call_does_not_run_and_the_model_is_told_why(
    ann: Client, model: ScriptedModel, note: str | None
) -> None:
    task = await add_task(ann)
    model.script(delete(task), say("I keep it."))
    sent = await ann.send("Delete.")
    [call], _ = await follow_until_asked(ann, sent.reply)
    live = Reading()
    reader = asyncio.create_task(follow(ann, sent.reply, live))
    await resolve(ann, sent.reply, call, False, note)
    await reader
    assert told(live.events)[3:] == [
        ("ToolCallFinished", 1, "DENIED"),
        ("TextDelta", 2, "I keep it."),
        ("MessageFinished", "COMPLETE"),
    ]
    assert await list_tasks(ann) == [task]
    [(content, is_error)] = results(model.requests[-1])
    assert is_error
    assert (note or "did not agree") in content
    saved = (await ann.message(sent.reply))["parts"][1]
    assert saved["status"] == "DENIED"
    assert (note or "did not agree") in str(saved["result"])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("answers", [(True, True), (True, False), (False, False)])
async def test_two_parked_calls_are_answered_one_by_one(
    ann: Client, model: ScriptedModel, order: tuple[int, int], answers: tuple[bool, bool]
) -> None:
    tasks = [await add_task(ann, "Milk"), await add_task(ann, "Bread")]
    sent, calls = await ask_to_delete(ann, model, *tasks)
    live = Reading()
    reader = asyncio.create_task(follow(ann, sent.reply, live))
    first, second = order
    answered = await resolve(ann, sent.reply, calls[first], answers[first])
    assert answered["status"] == "AWAITING_APPROVAL"
    assert await refusal(ann, sent.reply, calls[first]) == ["CONFLICT"]
    await asyncio.sleep(0.1)
    assert len(model.requests) == 1
    assert len(await list_tasks(ann)) == 2
    await resolve(ann, sent.reply, calls[second], answers[second])
    await reader
    assert (await ann.message(sent.reply))["status"] == "COMPLETE"
    assert len(model.requests) == 2
    assert [is_error for _, is_error in results(model.requests[-1])] == [not answer for answer in answers]
    kept = [task for task, answer in zip(tasks, answers, strict=True) if not answer]
    assert await list_tasks(ann) == kept
    finished = [event[1:] for event in told(live.events) if event[0] == "ToolCallFinished"]
    assert sorted(finished) == [(1 + n, "SUCCEEDED" if answers[n] else "DENIED") for n in (0, 1)]
    assert told((await follow(ann, sent.reply, Reading())).events) == told(live.events)


async def test_two_answers_at_once_count_one_by_one(ann: Client, model: ScriptedModel) -> None:
    tasks = [await add_task(ann, "Milk"), await add_task(ann, "Bread")]
    sent, calls = await ask_to_delete(ann, model, *tasks)
    await asyncio.gather(*(resolve(ann, sent.reply, call, True) for call in calls))
    assert (await ann.finished(sent.reply))["status"] == "COMPLETE"
    assert await list_tasks(ann) == []
    assert len(model.requests) == 2


async def test_a_stopped_reply_leaves_its_parked_call_undone(ann: Client, model: ScriptedModel) -> None:
    task = await add_task(ann)
    sent, [call] = await ask_to_delete(ann, model, task)
    live = Reading()
    reader = asyncio.create_task(follow(ann, sent.reply, live))
    assert await stop(ann, sent.reply) == "STOPPED"
    await reader
    assert told(live.events)[2:] == [
        ("ToolCallAwaitingApproval", 1, "AWAITING_APPROVAL"),
        ("ToolCallFinished", 1, "INTERRUPTED"),
        ("MessageFinished", "STOPPED"),
    ]
    assert told((await follow(ann, sent.reply, Reading())).events) == told(live.events)
    assert await list_tasks(ann) == [task]
    assert await refusal(ann, sent.reply, call) == ["CONFLICT"]
    assert len(model.requests) == 1


async def test_a_parked_reply_is_stopped_also_while_no_slot_is_free(
    start_own_server: StartServer, connect_client: ConnectClient, model: ScriptedModel
) -> None:
    async with start_own_server(runs_per_node=1) as server:
        ann, bob = connect_client("ann", url=server.url), connect_client("bob", url=server.url)
        sent, _ = await ask_to_delete(ann, model, await add_task(ann))
        model.script(Answer([Text("Slow.")], first_token_delay=NEVER))
        await bob.send("Hi.")
        await until(lambda: model.open_streams == 1)
        assert await stop(ann, sent.reply) == "STOPPED"


async def test_a_call_is_answered_once(ann: Client, model: ScriptedModel) -> None:
    sent, [call] = await ask_to_delete(ann, model, await add_task(ann))
    answers = await asyncio.gather(
        *(resolve(ann, sent.reply, call, approve) for approve in (True, False, True, False)), return_exceptions=True
    )
    failures = [answer for answer in answers if isinstance(answer, GraphQLFailed)]
    assert [failure.codes for failure in failures] == [["CONFLICT"]] * 3
    await ann.finished(sent.reply)
    assert await refusal(ann, sent.reply, call) == ["CONFLICT"]


async def test_only_a_call_of_ones_own_message_is_answered(ann: Client, bob: Client, model: ScriptedModel) -> None:
    task = await add_task(ann)
    sent, [call] = await ask_to_delete(ann, model, task)
    assert await refusal(bob, sent.reply, call) == ["FORBIDDEN"]
    assert await refusal(ann, str(uuid4()), call) == ["FORBIDDEN"]
    assert await refusal(ann, sent.reply, "another") == ["FORBIDDEN"]
    assert await refusal(ann, sent.message, call) == ["FORBIDDEN"]
    assert await refusal(ann, "no id", call) == ["BAD_USER_INPUT"]
    assert (await ann.message(sent.reply))["status"] == "AWAITING_APPROVAL"
    await resolve(ann, sent.reply, call, False)


async def test_a_call_that_needs_no_approval_awaits_none(ann: Client, model: ScriptedModel) -> None:
    model.script(Answer([ToolUse("tasks", {})]), say("Nothing."))
    sent, reply = await ann.ask("What is there?")
    assert await refusal(ann, sent.reply, reply["parts"][0]["id"]) == ["CONFLICT"]


async def test_a_new_message_beside_a_parked_reply_is_answered_at_once(ann: Client, model: ScriptedModel) -> None:
    task = await add_task(ann)
    sent, [call] = await ask_to_delete(ann, model, task)
    model.script(say("Still here."))
    later, reply = await ann.ask("Are you there?", conversationId=sent.conversation)
    assert reply["text"] == "Still here."
    told_of_call = [
        block
        for message in model.requests[-1]["messages"]
        for block in message["content"]
        if block["type"] == "tool_result"
    ]
    assert [(block["tool_use_id"], block["is_error"]) for block in told_of_call] == [(call, True)]
    assert "not agreed" in told_of_call[0]["content"]
    await resolve(ann, sent.reply, call, True)
    assert (await ann.finished(sent.reply))["status"] == "COMPLETE"
    assert (await ann.message(later.reply))["text"] == "Still here."
    assert await list_tasks(ann) == []


async def test_an_answer_right_at_the_event_is_never_too_early(ann: Client, model: ScriptedModel) -> None:
    for _ in range(30):
        sent, [call] = await ask_to_delete(ann, model, await add_task(ann))
        await resolve(ann, sent.reply, call, True)
        assert (await ann.finished(sent.reply))["status"] == "COMPLETE"
    assert await list_tasks(ann) == []


async def test_no_number_of_approvals_is_an_attempt_that_failed(
    start_own_server: StartServer, connect_client: ConnectClient, model: ScriptedModel
) -> None:
    async with start_own_server(max_attempts=2) as server:
        ann = connect_client("ann", url=server.url)
        tasks = [await add_task(ann, title) for title in ("Milk", "Bread", "Eggs")]
        model.script(*(delete(task) for task in tasks), say("Done."))
        sent = await ann.send("Delete them, one after another.")
        for asked in (1, 2, 3):
            async with asyncio.timeout(60):
                calls, _ = await follow_until_asked(ann, sent.reply, asked)
            await resolve(ann, sent.reply, calls[-1], True)
        reply = await ann.finished(sent.reply)
        assert (reply["status"], reply["error"]) == ("COMPLETE", None)
        assert await list_tasks(ann) == []
