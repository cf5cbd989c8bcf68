"""What the model is shown: the branch's last messages, its own reasoning, and marks for the cache."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import orjson
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agent.stand_in.answers import Answer, Thinking, ToolUse
from tests.acceptance.replies import ask_on, blocks, texts, watch
from tests.client import Client
from tests.conftest import ConnectClient, StartServer, until
from tests.model import ScriptedModel, last_text, say

# Messages


def echo(request: dict[str, Any]) -> Answer:
    return say(f"Answer to {last_text(request)}")


@pytest.mark.parametrize(
    ("window", "shown"),
    [
        (1, ["c2"]),
        # The reply at the window's edge would come first, which the API does not take.
        (4, ["b2", "Answer to b2", "c2"]),
        (5, ["a", "Answer to a", "b2", "Answer to b2", "c2"]),
    ],
)
async def test_the_model_is_shown_the_last_messages_of_the_branch_and_no_other(
    start_own_server: StartServer,
    connect_client: ConnectClient,
    model: ScriptedModel,
    window: int,
    shown: list[str],
) -> None:
    model.by(echo)
    async with start_own_server(history_messages=window) as server:
        ann = connect_client(url=server.url)
        a = await ann.send("a")
        await ann.read(a.reply)
        await ann.ask("b1", conversationId=a.conversation)
        await ann.ask("c1", conversationId=a.conversation)
        await ann.ask("b2", conversationId=a.conversation, parentId=a.reply)
        await ann.ask("c2", conversationId=a.conversation)
    request = model.requests[-1]
    assert texts(request) == shown
    assert request["messages"][0]["role"] == "user"


async def test_a_new_version_of_a_reply_is_not_shown_the_old_one(ann: Client, model: ScriptedModel) -> None:
    model.by(echo)
    sent, _ = await ann.ask("a")
    await ann.ask("b", conversationId=sent.conversation)
    data = await ann.execute(
        "mutation ($id: ID!) { regenerateMessage(input: {messageId: $id}) { finishedReply { status } } }", id=sent.reply
    )
    assert data["regenerateMessage"]["finishedReply"]["status"] == "COMPLETE"
    assert texts(model.requests[-1]) == ["a"]


# The cache


def marks(request: dict[str, Any]) -> list[str]:
    """Where a request has marks for the cache."""
    places = {f"system {index}": block for index, block in enumerate(request["system"])}
    places |= {f"tool {index}": block for index, block in enumerate(request["tools"])}
    for index, message in enumerate(request["messages"]):
        for place, block in enumerate(message["content"]):
            places[f"message {index}.{place}"] = block
    return [name for name, block in places.items() if "cache_control" in block]


async def test_every_request_marks_its_prefix_for_the_cache_and_never_too_often(
    ann: Client, model: ScriptedModel
) -> None:
    steps = [Answer([ToolUse("tasks", {})])] * 5
    model.script(*steps, say("Nothing."), say("Still nothing."))
    reply = await watch(ann, "Look five times.")
    await ask_on(ann, reply)
    *looks, next_turn = model.requests
    assert [marks(request) for request in looks] == [
        ["system 0", "message 0.0", *([f"message {2 * step}.0"] if step else [])] for step in range(6)
    ]
    assert marks(next_turn) == ["system 0", f"message {len(next_turn['messages']) - 1}.0"]
    for earlier, later in pairwise(looks):
        assert later["system"] == earlier["system"]
        assert later["tools"] == earlier["tools"]
        assert without_marks(later)[: len(earlier["messages"])] == without_marks(earlier)


def without_marks(request: dict[str, Any]) -> list[Any]:
    return [
        {
            **message,
            "content": [{k: v for k, v in block.items() if k != "cache_control"} for block in message["content"]],
        }
        for message in request["messages"]
    ]


# Reasoning


async def test_reasoning_goes_back_with_its_signature_in_the_next_step_and_not_in_the_next_reply(
    ann: Client, model: ScriptedModel
) -> None:
    model.script(Answer([Thinking("I look.", "c2ln"), ToolUse("tasks", {})]), say("Nothing."))
    reply = await watch(ann, "What is there?")
    thought = {"type": "thinking", "thinking": "I look.", "signature": "c2ln"}
    assert model.requests[1]["messages"][-2]["content"][0] == thought
    assert [part.get("reasoning") for part in reply.saved["parts"]] == ["I look.", None, None]

    await ask_on(ann, reply)
    assert blocks(model.requests[2], "thinking") == []


async def test_reasoning_of_which_only_the_signature_is_told_goes_back(ann: Client, model: ScriptedModel) -> None:
    model.script(Answer([Thinking("", "c2ln"), ToolUse("tasks", {})]), say("Nothing."))
    assert (await watch(ann, "What is there?")).status == "COMPLETE"
    assert blocks(model.requests[1], "thinking") == [{"type": "thinking", "thinking": "", "signature": "c2ln"}]


@asynccontextmanager
async def serve_events(*answers: Sequence[dict[str, Any]]) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """The Messages API with answers given event by event; gives its address and the requests."""
    requests: list[dict[str, Any]] = []

    async def respond(request: Request) -> Response:
        requests.append(await request.json())
        events = (
            f"event: {event['type']}\ndata: {orjson.dumps(event).decode()}\n\n" for event in answers[len(requests) - 1]
        )
        return Response("".join(events), media_type="text/event-stream")

    app = Starlette(routes=[Route("/v1/messages", respond, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None))
    serving = asyncio.create_task(server._serve())
    await until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", requests
    finally:
        server.should_exit = True
        await serving


def events_of(*blocks: dict[str, Any], stop_reason: str) -> list[dict[str, Any]]:
    """An answer of blocks that come whole with their start."""
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": usage}
    told: list[dict[str, Any]] = [{"type": "message_start", "message": message}]
    for index, block in enumerate(blocks):
        told.append({"type": "content_block_start", "index": index, "content_block": block})
        told.append({"type": "content_block_stop", "index": index})
    told.append({"type": "message_delta", "delta": {"stop_reason": stop_reason}, "usage": usage})
    return [*told, {"type": "message_stop"}]


async def test_redacted_reasoning_goes_back_as_it_came(
    start_own_server: StartServer, connect_client: ConnectClient
) -> None:
    redacted = {"type": "redacted_thinking", "data": "c2VjcmV0"}
    call = {"type": "tool_use", "id": "toolu_1", "name": "tasks", "input": {}}
    answers = [events_of(redacted, call, stop_reason="tool_use"), events_of(stop_reason="end_turn")]
    async with (
        serve_events(*answers) as (url, requests),
        start_own_server(anthropic_base_url=url) as server,
    ):
        reply = await watch(connect_client(url=server.url), "What is there?")
    assert reply.status == "COMPLETE"
    assert requests[1]["messages"][1]["content"] == [redacted, call]
    assert [part["__typename"] for part in reply.saved["parts"]] == ["ReasoningPart", "ToolCallPart"]
    assert "c2VjcmV0" not in str(reply.saved) + str(reply.live)
