"""Tokens of replies, summed for each reply, conversation and user."""

from typing import Any

import pytest

from agent.stand_in.answers import Answer, Fault, ToolUse
from tests.acceptance.replies import SENTENCE, USAGE, ask_on, spent, watch
from tests.client import Client
from tests.model import ScriptedModel, say

pytestmark = pytest.mark.usefixtures("short_waits")


def counted(input: int, output: int, read: int, written: int) -> dict[str, int]:
    return {"inputTokens": input, "outputTokens": output, "cacheReadTokens": read, "cacheWriteTokens": written}


async def test_tokens_are_summed_over_steps_replies_and_conversations_also_deleted_ones(
    ann: Client, bob: Client, model: ScriptedModel
) -> None:
    first: Any = {"input_tokens": 100, "output_tokens": 10, "cache_read_tokens": 1, "cache_write_tokens": 1000}
    second: Any = {"input_tokens": 200, "output_tokens": 20, "cache_read_tokens": 2, "cache_write_tokens": 2000}
    model.script(Answer([ToolUse("tasks", {})], **first), say("Nothing.", **second), say("Still nothing.", **first))
    reply = await watch(ann, "What is there?")
    assert reply.saved["usage"] == counted(300, 30, 3, 3000)
    again = await ask_on(ann, reply)
    assert again.saved["usage"] == counted(100, 10, 1, 1000)

    id = reply.sent.conversation
    asked = await ann.execute(f"query ($id: ID!) {{ conversation(id: $id) {{ {USAGE} }} }}", id=id)
    assert asked["conversation"]["usage"] == counted(400, 40, 4, 4000)
    assert await spent(ann) == counted(400, 40, 4, 4000)
    assert await spent(bob) == counted(0, 0, 0, 0)
    await ann.execute("mutation ($id: ID!) { deleteConversation(input: {id: $id}) { deletedId } }", id=id)
    assert await spent(ann) == counted(400, 40, 4, 4000)


async def test_a_failed_reply_costs_what_its_calls_of_the_model_cost(ann: Client, model: ScriptedModel) -> None:
    counts: Any = {"input_tokens": 100, "output_tokens": 10, "cache_read_tokens": 1, "cache_write_tokens": 1000}
    overloaded = Answer([SENTENCE], fault=Fault(0, "overloaded"), **counts)
    model.script(overloaded, Answer([SENTENCE], fault=Fault(2, "cut"), **counts))
    reply = await watch(ann, "Count.")
    assert reply.status == "FAILED"
    # A call that breaks off has told its input and one token of its output.
    assert reply.saved["usage"] == counted(200, 2, 2, 2000)
    assert await spent(ann) == reply.saved["usage"]
