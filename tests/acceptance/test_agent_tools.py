"""Tools of the agent: each call has its result, good or bad, for its owner alone, and the reply goes on."""

import asyncio

import pytest

from agent import tools
from agent.stand_in.answers import Answer, Text, ToolUse
from persistence.database import Database
from tests.acceptance.replies import add_task, ask_on, list_tasks, results, task_locked, watch
from tests.client import Client
from tests.model import ScriptedModel, say


async def test_the_results_of_a_step_go_back_beside_its_calls(ann: Client, model: ScriptedModel) -> None:
    calls = [ToolUse("addTask", {"title": "milk"}, id="toolu_1"), ToolUse("tasks", {"done": True}, id="toolu_2")]
    model.script(Answer([Text("I add. "), *calls]), say("Done."))
    reply = await watch(ann, "Add milk.")
    assert (reply.status, reply.text) == ("COMPLETE", "I add. Done.")
    said, given_back = model.requests[1]["messages"][-2:]
    assert said == {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "I add. "},
            {"type": "tool_use", "id": "toolu_1", "name": "addTask", "input": {"title": "milk"}},
            {"type": "tool_use", "id": "toolu_2", "name": "tasks", "input": {"done": True}},
        ],
    }
    assert given_back["role"] == "user"
    assert [block["tool_use_id"] for block in given_back["content"]] == ["toolu_1", "toolu_2"]
    added, listed = results(model.requests[1])
    assert added == (False, reply.calls[0]["result"])
    assert added[1]["task"]["title"] == "milk"
    assert listed == (False, {"edges": [], "pageInfo": listed[1]["pageInfo"]})
    assert await list_tasks(ann) == [("milk", False)]


@pytest.mark.parametrize("tool", ["flyToTheMoon", "functions.addTask", "add task", "é" * 200])
async def test_an_unknown_tool_is_a_result_that_the_model_reads(ann: Client, model: ScriptedModel, tool: str) -> None:
    model.script(Answer([ToolUse(tool, {})]), say("I cannot."))
    reply = await watch(ann, "Fly.")
    assert [(call["tool"], call["status"]) for call in reply.calls] == [(tool, "FAILED")]
    assert reply.calls[0]["result"]["error"]["code"] == "UNKNOWN_TOOL"
    assert results(model.requests[1]) == [(True, reply.calls[0]["result"])]
    assert (reply.status, reply.text) == ("COMPLETE", "I cannot.")
    assert (await ask_on(ann, reply)).status == "COMPLETE"


BAD_CALLS = {
    "malformed JSON": ToolUse("addTask", {}, raw='{"title": "milk"'),
    "a list": ToolUse("addTask", {}, raw='["milk"]'),
    "a text": ToolUse("addTask", {}, raw='"milk"'),
    "a number": ToolUse("addTask", {}, raw="1e3"),
    "null": ToolUse("addTask", {}, raw="null"),
    "not a number": ToolUse("addTask", {}, raw='{"title": NaN}'),
    "half a pair": ToolUse("addTask", {}, raw='{"title": "\\ud83d"}'),
    "wrong type": ToolUse("addTask", {"title": 5}),
    "null for a text": ToolUse("addTask", {"title": None}),
    "missing": ToolUse("addTask", {}),
    "unknown": ToolUse("addTask", {"title": "milk", "colour": "white"}),
    "empty": ToolUse("addTask", {"title": " "}),
    "too long": ToolUse("addTask", {"title": "x" * 201}),
    "no id": ToolUse("completeTask", {"id": "milk"}),
    "id as a number": ToolUse("completeTask", {"id": 1}),
    "beyond a limit": ToolUse("tasks", {"first": 1000}),
    "huge number": ToolUse("tasks", {}, raw='{"first": 123456789012345678901234567890}'),
    "malformed cursor": ToolUse("tasks", {"after": "💥"}),
}


@pytest.mark.parametrize("call", BAD_CALLS.values(), ids=BAD_CALLS)
async def test_bad_parameters_are_a_result_that_the_model_reads(
    ann: Client, model: ScriptedModel, call: ToolUse
) -> None:
    model.script(Answer([call]), say("I see."))
    reply = await watch(ann, "Add milk.")
    assert (reply.status, reply.text) == ("COMPLETE", "I see.")
    assert [call["status"] for call in reply.calls] == ["FAILED"]
    assert reply.calls[0]["result"]["error"]["code"] == "BAD_USER_INPUT"
    assert results(model.requests[1]) == [(True, reply.calls[0]["result"])]
    assert await list_tasks(ann) == []
    assert (await ask_on(ann, reply)).status == "COMPLETE"


@pytest.mark.parametrize("depth", [200, 300, 900, 5000])
async def test_parameters_that_are_nested_without_end_are_bad_parameters(
    ann: Client, model: ScriptedModel, depth: int
) -> None:
    raw = '{"title": ' + "[" * depth + "]" * depth + "}"
    model.script(Answer([ToolUse("addTask", {}, raw=raw)]), say("I see."))
    reply = await watch(ann, "Add milk.")
    assert (reply.status, reply.text) == ("COMPLETE", "I see.")
    assert [call["status"] for call in reply.calls] == ["FAILED"]
    assert (await ask_on(ann, reply)).status == "COMPLETE"


async def test_a_tool_acts_only_for_the_owner_of_the_conversation(
    ann: Client, bob: Client, model: ScriptedModel
) -> None:
    task = await add_task(bob, "Bob's own")
    calls = [
        ToolUse("completeTask", {"id": task}),
        ToolUse("updateTask", {"id": task, "title": "mine"}),
        ToolUse("tasks", {}),
    ]
    model.script(Answer(calls), say("It is not yours."))
    reply = await watch(ann, f"Complete {task}.")
    assert reply.status == "COMPLETE"
    *refused, (_, listed) = results(model.requests[1])
    assert [(is_error, result["error"]["code"]) for is_error, result in refused] == [(True, "FORBIDDEN")] * 2
    assert listed["edges"] == []
    assert await list_tasks(bob) == [("Bob's own", False)]


async def test_an_id_that_nobody_has_gets_the_same_answer_as_anothers(
    ann: Client, bob: Client, model: ScriptedModel
) -> None:
    ids = [await add_task(bob, "Bob's own"), "01890a5d-ac96-774b-bcce-b302099a8057"]
    model.script(Answer([ToolUse("completeTask", {"id": id}) for id in ids]), say("I see."))
    reply = await watch(ann, "Complete both.")
    first, second = (call["result"] for call in reply.calls)
    assert first == second


async def test_the_calls_of_a_step_run_side_by_side(ann: Client, model: ScriptedModel, database: Database) -> None:
    task = await add_task(ann, "slow")
    calls = [ToolUse("completeTask", {"id": task}, id="slow"), ToolUse("addTask", {"title": "fast"}, id="fast")]
    model.script(Answer(calls), say("Both done."))
    async with task_locked(database, task), asyncio.timeout(60):
        sent = await ann.send("Do both.")
        async for event in ann.stream(sent.reply):
            if event["__typename"] == "ToolCallFinished":
                break
        assert event["toolCall"]["id"] == "fast"
        seen = await ann.message(sent.reply)
        assert [part["status"] for part in seen["parts"]] == ["RUNNING", "SUCCEEDED"]
    live = await ann.read(sent.reply)
    ended = [event["toolCall"]["id"] for event in live.events if event["__typename"] == "ToolCallFinished"]
    assert ended == ["fast", "slow"]
    answered = model.requests[1]["messages"][-1]["content"]
    assert [block["tool_use_id"] for block in answered] == ["slow", "fast"]
    assert await list_tasks(ann) == [("slow", True), ("fast", False)]


async def test_a_tool_that_takes_too_long_fails_and_the_reply_goes_on(
    ann: Client, model: ScriptedModel, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "TIME_LIMIT", 0.3)
    task = await add_task(ann, "slow")
    model.script(Answer([ToolUse("completeTask", {"id": task})]), say("It takes too long."))
    async with task_locked(database, task):
        reply = await watch(ann, "Complete it.")
    assert reply.status == "COMPLETE"
    assert [(is_error, result["error"]["code"]) for is_error, result in results(model.requests[1])] == [
        (True, "TIMEOUT")
    ]
    assert await list_tasks(ann) == [("slow", False)]
