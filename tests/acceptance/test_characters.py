"""Control characters, record marks and cut characters, from the model, its tools and the user: none breaks a reply."""

import pytest

from agent.stand_in.answers import Answer, Text, Thinking, ToolUse
from tests.acceptance.replies import add_task, ask_on, list_tasks, watch
from tests.client import Client
from tests.model import ScriptedModel, say


async def test_no_character_of_the_model_breaks_its_reply(ann: Client, model: ScriptedModel) -> None:
    tokens = ("a\x00", "\x1e", '["text"]\n', "b\x1b[1m", "ÿ")
    model.script(Answer([Thinking("x\x00y\x1ez"), Text("".join(tokens), tokens=tokens)], tokens_per_second=50))
    reply = await watch(ann, "Write control characters.")
    assert (reply.status, reply.text) == ("COMPLETE", 'a\ufffd\x1e["text"]\nb\x1b[1mÿ')
    assert reply.saved["parts"][0]["reasoning"] == "x\ufffdy\x1ez"
    assert (await ask_on(ann, reply)).status == "COMPLETE"


@pytest.mark.parametrize("tokens", [("\ud83d", "\udc4d b"), ("", "\ud83d", "", "\udc4d b")])
async def test_a_reply_may_begin_with_a_character_that_is_cut(
    ann: Client, model: ScriptedModel, tokens: tuple[str, ...]
) -> None:
    model.script(Answer([Text("".join(tokens), tokens=tokens)]))
    assert (await watch(ann, "Begin with a thumb.")).text == "👍 b"


async def test_no_character_in_parameters_and_results_breaks_a_reply(ann: Client, model: ScriptedModel) -> None:
    call = ToolUse("addTask", {}, raw='{"title": "a\\u0000b\\u001ec", "notes": "\\ud83d\\udc4d"}')
    model.script(Answer([call]), say("Added."))
    reply = await watch(ann, "Add it.")
    assert reply.status == "COMPLETE"
    [added] = reply.calls
    assert added["parameters"] == {"title": "a\ufffdb\x1ec", "notes": "👍"}
    assert added["status"] == "SUCCEEDED"
    assert added["result"]["task"]["title"] == "a\ufffdb\x1ec"
    assert await list_tasks(ann) == [("a\ufffdb\x1ec", False)]
    assert (await ask_on(ann, reply)).status == "COMPLETE"


async def test_a_record_mark_in_a_task_does_not_break_the_reply_that_reads_it(
    ann: Client, model: ScriptedModel
) -> None:
    await add_task(ann, 'x\x1e["text"]\ny')
    model.script(Answer([ToolUse("tasks", {})]), say("One task."))
    reply = await watch(ann, "What is there?")
    assert (reply.status, reply.text) == ("COMPLETE", "One task.")
    assert [call["status"] for call in reply.calls] == ["SUCCEEDED"]


@pytest.mark.parametrize("question", ["x\x1ey", 'x\x1e["text"]\ny', 'x\x1e["result",0,{}]\ny'])
async def test_a_record_mark_in_a_question_does_not_break_it(ann: Client, question: str) -> None:
    sent, reply = await ann.ask(question)
    assert reply["status"] == "COMPLETE"
    saved = await ann.message(sent.message)
    assert (await ann.read(sent.message)).text == saved["text"]
