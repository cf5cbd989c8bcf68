"""How a reply ends: as the model chooses, at a limit, or stopped by its user; and the next one begins."""

import asyncio
from typing import Any

import pytest

from agent.stand_in.answers import Answer, Fault, Text, Thinking, ToolUse
from persistence.database import Database
from tests.acceptance.replies import SENTENCE, add_task, ask_on, blocks, list_tasks, stop, task_locked, watch
from tests.client import Client
from tests.conftest import ConnectClient, StartServer, until
from tests.model import ScriptedModel, say

# Ends that the model chooses


@pytest.mark.parametrize(
    ("stop_reason", "code"),
    [
        ("refusal", "MODEL_REFUSED"),
        ("max_tokens", "OUTPUT_LIMIT"),
        ("model_context_window_exceeded", "CONTEXT_TOO_LONG"),
    ],
)
async def test_a_reply_that_the_model_ends_early_keeps_its_text_and_says_why(
    ann: Client, model: ScriptedModel, stop_reason: str, code: str
) -> None:
    model.script(Answer([Thinking("Hm."), SENTENCE], stop_reason=stop_reason))
    reply = await watch(ann, "Count.")
    assert (reply.status, reply.error, reply.text) == ("FAILED", (code, False), SENTENCE.text)
    assert len(model.requests) == 1

    model.script(say("Again."))
    assert (await ask_on(ann, reply)).status == "COMPLETE"


@pytest.mark.parametrize("said", [[], [Text("  \n")], [Thinking("Only this.")], [Thinking("This."), Text("\n")]])
async def test_a_model_that_has_nothing_to_say_harms_no_later_turn(
    ann: Client, model: ScriptedModel, said: list[Text | Thinking]
) -> None:
    model.script(Answer(said), say("Now I do."))
    reply = await watch(ann, "Say nothing.")
    assert (reply.status, reply.text.strip()) == ("COMPLETE", "")
    assert (await ask_on(ann, reply)).text == "Now I do."


CUT_CALLS = {
    "cut in its parameters": [ToolUse("addTask", {}, raw='{"title": "mi')],
    "cut before its parameters": [ToolUse("addTask", {}, raw="")],
    "whole, another cut": [ToolUse("addTask", {"title": "milk"}), ToolUse("addTask", {}, raw='{"title": "br')],
}


@pytest.mark.parametrize("calls", CUT_CALLS.values(), ids=CUT_CALLS)
async def test_a_tool_call_at_the_limit_of_the_output_does_not_run(
    ann: Client, model: ScriptedModel, calls: list[ToolUse]
) -> None:
    model.script(Answer([Text("I add. "), *calls], stop_reason="max_tokens"), say("Where was I?"))
    reply = await watch(ann, "Add milk.")
    assert (reply.status, reply.error, reply.text) == ("FAILED", ("OUTPUT_LIMIT", False), "I add. ")
    assert {call["status"] for call in reply.calls} == {"INTERRUPTED"}
    assert await list_tasks(ann) == []

    assert (await ask_on(ann, reply)).status == "COMPLETE"
    assert [block["is_error"] for block in blocks(model.requests[-1], "tool_result")] == [True] * len(calls)


@pytest.mark.parametrize("kind", ["cut", "overloaded"])
async def test_a_tool_call_of_a_step_that_broke_off_does_not_run(ann: Client, model: ScriptedModel, kind: Any) -> None:
    broken = Answer([ToolUse("addTask", {"title": "milk"}), SENTENCE], fault=Fault(5, kind))
    model.script(broken, say("Where was I?"))
    reply = await watch(ann, "Add milk.")
    assert (reply.status, reply.error) == ("FAILED", ("MODEL_UNAVAILABLE", True))
    assert [call["status"] for call in reply.calls] == ["INTERRUPTED"]
    assert await list_tasks(ann) == []
    assert (await ask_on(ann, reply)).status == "COMPLETE"


async def test_a_tool_call_that_was_never_whole_leaves_no_trace(ann: Client, model: ScriptedModel) -> None:
    call = ToolUse("addTask", {"title": "a long title that takes several pieces"})
    model.script(Answer([Text("I add. "), call], fault=Fault(4, "cut")), say("Where was I?"))
    reply = await watch(ann, "Add milk.")
    assert (reply.status, reply.text, reply.calls) == ("FAILED", "I add. ", [])
    assert (await ask_on(ann, reply)).status == "COMPLETE"


async def test_a_reply_that_takes_too_many_steps_fails_with_all_it_did(
    start_own_server: StartServer, connect_client: ConnectClient, model: ScriptedModel
) -> None:
    model.by(lambda request: Answer([Text("Once more. "), ToolUse("addTask", {"title": "x"})]))
    async with start_own_server(max_steps=2) as server:
        ann = connect_client("max", url=server.url)
        reply = await watch(ann, "Go on for ever.")
        assert (reply.status, reply.error) == ("FAILED", ("STEP_LIMIT", True))
        assert reply.text == "Once more. Once more. "
        assert [call["status"] for call in reply.calls] == ["SUCCEEDED", "SUCCEEDED"]
        assert await list_tasks(ann) == [("x", False), ("x", False)]
        assert len(model.requests) == 2

        model.script(say("Enough."))
        assert (await ask_on(ann, reply)).status == "COMPLETE"


async def test_a_reply_may_end_in_its_last_step(
    start_own_server: StartServer, connect_client: ConnectClient, model: ScriptedModel
) -> None:
    model.script(Answer([ToolUse("tasks", {})]), say("Nothing to do."))
    async with start_own_server(max_steps=2) as server:
        assert (await watch(connect_client(url=server.url), "What is there?")).status == "COMPLETE"


# Stopping


@pytest.mark.parametrize("delay", [0.0, 600.0], ids=["in the middle", "before the first token"])
async def test_stopping_hangs_up_on_the_model_at_once(ann: Client, model: ScriptedModel, delay: float) -> None:
    model.script(Answer([Text("word " * 5000)], tokens_per_second=100, first_token_delay=delay))
    sent = await ann.send("Write.")
    await until(lambda: model.open_streams == 1)
    # The model would go on for longer.
    async with asyncio.timeout(30):
        assert (await stop(ann, sent.reply))["status"] == "STOPPED"
        await until(lambda: model.open_streams == 0)
    assert len(model.requests) == 1


async def test_a_tool_call_that_a_stop_cuts_is_interrupted_and_the_model_is_told(
    ann: Client, model: ScriptedModel, database: Database
) -> None:
    task = await add_task(ann, "slow")
    model.script(Answer([Text("I complete it. "), ToolUse("completeTask", {"id": task})]), say("It was stopped."))
    async with task_locked(database, task), asyncio.timeout(60):
        sent = await ann.send("Complete it.")
        async for event in ann.stream(sent.reply):
            if event["__typename"] == "ToolCallStarted":
                break
        live = asyncio.create_task(ann.read(sent.reply))
        stopped = await stop(ann, sent.reply)
        reading = await live
    assert stopped == {"id": sent.reply, "status": "STOPPED", "text": "I complete it. "}
    assert [event["__typename"] for event in reading.events][-2:] == ["ToolCallFinished", "MessageFinished"]
    assert reading.events[-2]["toolCall"]["status"] == "INTERRUPTED"
    assert [part.get("status") for part in (await ann.message(sent.reply))["parts"]] == [None, "INTERRUPTED"]
    assert await list_tasks(ann) == [("slow", False)]

    again = await watch(ann, "Did you?", conversationId=sent.conversation)
    assert again.status == "COMPLETE"
    [result] = blocks(model.requests[-1], "tool_result")
    assert result["is_error"]
    assert "not known" in result["content"]
