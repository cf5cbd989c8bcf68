"""Whatever the model and its tools do, each reply has its defined end, and the next one begins."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any
from uuid import UUID

import orjson
import pytest
import uvicorn
from sqlalchemy import make_url, text
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agent import loop, tools
from agent.anthropic import model as anthropic_model
from agent.messages_wire import Answer, Fault, Refusal, Respond, Text, Thinking, ToolUse
from persistence.database import Database
from tests.client import Client, Reading, Sent
from tests.conftest import ConnectClient, StartServer, until
from tests.model import ScriptedModel, last_text, say


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that fails is asked again at once."""
    monkeypatch.setattr(loop, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(loop, "LONGEST_WAIT", 0.05)


@pytest.fixture(scope="module")
async def own_database_url(database: Database, database_url: str) -> str:
    """A database beside the shared one: the shared server's worker would take runs that are meant for another."""
    async with database.connection() as connection:
        await connection.execute(text("create database own"))
    url = make_url(database_url).set(database="own").render_as_string(hide_password=False)
    own = Database(url)
    await own.migrate()
    await own.close()
    return url


@pytest.fixture
def start_own_server(start_server: StartServer, own_database_url: str) -> StartServer:
    """Starts a server with settings of its own and the only worker of its database."""
    return partial(start_server, database_url=own_database_url)


@dataclass(frozen=True)
class Watched:
    """A reply that was read live to its end, and as it was saved."""

    sent: Sent
    live: Reading
    saved: dict[str, Any]

    @property
    def status(self) -> str:
        return str(self.saved["status"])

    @property
    def text(self) -> str:
        return str(self.saved["text"])

    @property
    def error(self) -> tuple[str, bool] | None:
        """Code, and whether the same question may be asked again."""
        error = self.saved["error"]
        return error and (error["code"], error["retryable"])

    @property
    def calls(self) -> list[dict[str, Any]]:
        return [part for part in self.saved["parts"] if part["__typename"] == "ToolCallPart"]

    @property
    def told(self) -> list[str]:
        """The kinds of events, a row of deltas as one."""
        kinds = [str(event["__typename"]) for event in self.live.events]
        return [kind for index, kind in enumerate(kinds) if kinds[index - 1 : index] != [kind]]


async def watch(client: Client, question: str, **more: Any) -> Watched:
    """Ask, and read the reply live; what was streamed must be what is saved."""
    async with asyncio.timeout(60):
        sent = await client.send(question, **more)
        live = await client.read(sent.reply)
        saved = await client.message(sent.reply)
    assert live.text == saved["text"]
    assert live.finished == {
        "id": sent.reply,
        "status": saved["status"],
        "text": saved["text"],
        "error": saved["error"] and {key: saved["error"][key] for key in ("code", "retryable")},
    }
    return Watched(sent, live, saved)


async def ask_on(client: Client, before: Watched) -> Watched:
    """Ask once more in the same conversation."""
    return await watch(client, "And now?", conversationId=before.sent.conversation)


async def stop(client: Client, message_id: str) -> dict[str, Any]:
    data = await client.execute(
        "mutation ($id: ID!) { stopMessage(input: {messageId: $id}) { message { id status text } } }", id=message_id
    )
    message: dict[str, Any] = data["stopMessage"]["message"]
    return message


async def add_task(client: Client, title: str) -> str:
    data = await client.execute("mutation ($t: String!) { addTask(input: {title: $t}) { task { id } } }", t=title)
    return str(data["addTask"]["task"]["id"])


async def list_tasks(client: Client) -> list[tuple[str, bool]]:
    data = await client.execute("{ tasks { edges { node { title done } } } }")
    return [(edge["node"]["title"], edge["node"]["done"]) for edge in data["tasks"]["edges"]]


@asynccontextmanager
async def task_locked(database: Database, task_id: str) -> AsyncIterator[None]:
    """Hold a task's row, so that a tool call that changes it has to wait."""
    async with database.transaction() as session:
        await session.execute(text("select from task where id = :id for update"), {"id": UUID(task_id)})
        yield


def blocks(request: dict[str, Any], type: str) -> list[dict[str, Any]]:
    """All blocks of a kind in the messages of a request."""
    return [block for message in request["messages"] for block in message["content"] if block["type"] == type]


def texts(request: dict[str, Any]) -> list[str]:
    return [block["text"] for block in blocks(request, "text")]


def results(request: dict[str, Any]) -> list[tuple[bool, Any]]:
    """What the tools of the step before gave back: whether each failed, and its JSON."""
    content = request["messages"][-1]["content"]
    return [(block["is_error"], orjson.loads(block["content"])) for block in content if block["type"] == "tool_result"]


# Failures before the first token


BEFORE_THE_FIRST_TOKEN: dict[str, Answer | Refusal] = {
    "HTTP 529": Refusal(529, "overloaded_error", "Overloaded"),
    "HTTP 500": Refusal(500, "api_error", "Internal server error"),
    "HTTP 429": Refusal(429, "rate_limit_error", "Slow down", retry_after=0.01),
    "overloaded event": Answer([Text("lost")], fault=Fault(0, "overloaded")),
    "api_error event": Answer([Text("lost")], fault=Fault(0, "api_error")),
    "cut": Answer([Text("lost")], fault=Fault(0, "cut")),
    "malformed event": Answer([Text("lost")], fault=Fault(0, "malformed_json")),
    "no answer at all": Answer([], fault=Fault(0, "no_stop")),
}


@pytest.mark.parametrize("failure", BEFORE_THE_FIRST_TOKEN.values(), ids=BEFORE_THE_FIRST_TOKEN)
async def test_a_failure_before_the_first_token_is_made_good_unseen(
    ann: Client, model: ScriptedModel, failure: Answer | Refusal
) -> None:
    model.script(failure, failure, say("Here I am."))
    reply = await watch(ann, "Hi.")
    assert (reply.status, reply.text) == ("COMPLETE", "Here I am.")
    assert reply.told == ["TextDelta", "MessageFinished"]
    assert len(model.requests) == 3


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (BEFORE_THE_FIRST_TOKEN["HTTP 529"], "MODEL_UNAVAILABLE"),
        (BEFORE_THE_FIRST_TOKEN["HTTP 500"], "MODEL_UNAVAILABLE"),
        (BEFORE_THE_FIRST_TOKEN["HTTP 429"], "MODEL_RATE_LIMITED"),
        (BEFORE_THE_FIRST_TOKEN["overloaded event"], "MODEL_UNAVAILABLE"),
        (BEFORE_THE_FIRST_TOKEN["cut"], "MODEL_UNAVAILABLE"),
    ],
)
async def test_a_failure_that_lasts_fails_the_reply_which_may_be_asked_for_again(
    ann: Client, model: ScriptedModel, failure: Answer | Refusal, code: str
) -> None:
    model.script(failure)
    reply = await watch(ann, "Hi.")
    assert (reply.status, reply.error) == ("FAILED", (code, True))
    assert reply.saved["parts"] == []
    assert len(model.requests) == loop.TRIES

    model.script(say("Back again."))
    assert (await ask_on(ann, reply)).status == "COMPLETE"


async def test_the_model_is_left_alone_as_long_as_it_asked_but_not_for_ever(
    ann: Client, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "LONGEST_WAIT", 0.4)
    asked: list[float] = []
    slow = [Refusal(429, "rate_limit_error", "Slow down", retry_after) for retry_after in (0.2, 3600)]

    def respond(request: dict[str, Any]) -> Answer | Refusal:
        asked.append(time.monotonic())
        return slow[len(asked) - 1] if len(asked) <= len(slow) else say("Ok.")

    model.by(respond)
    assert (await watch(ann, "Hi.")).status == "COMPLETE"
    first, second, third = asked
    assert second - first >= 0.2
    assert third - second >= 0.4


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (Refusal(400, "invalid_request_error", "max_tokens: too large for sk-secret"), "MODEL_REJECTED_REQUEST"),
        (Refusal(401, "authentication_error", "invalid x-api-key sk-secret"), "MODEL_REJECTED_REQUEST"),
        (Refusal(403, "permission_error", "Your account sk-secret may not"), "MODEL_REJECTED_REQUEST"),
        (Refusal(404, "not_found_error", "model: sk-secret"), "MODEL_REJECTED_REQUEST"),
        (
            Refusal(400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
            "CONTEXT_TOO_LONG",
        ),
        (Refusal(413, "request_too_large", "Request exceeds the maximum size"), "CONTEXT_TOO_LONG"),
    ],
)
async def test_a_refused_request_fails_at_once_and_tells_nothing_of_the_account(
    ann: Client, model: ScriptedModel, refusal: Refusal, code: str
) -> None:
    model.script(refusal)
    reply = await watch(ann, "Hi.")
    assert (reply.status, reply.error, reply.text) == ("FAILED", (code, False), "")
    assert len(model.requests) == 1
    assert "sk-secret" not in str(reply.saved)

    model.script(say("Fine now."))
    assert (await ask_on(ann, reply)).status == "COMPLETE"


async def test_a_model_that_cannot_be_reached_fails_the_reply(
    start_own_server: StartServer, connect_client: ConnectClient
) -> None:
    async with start_own_server(anthropic_base_url="http://127.0.0.1:9") as server:
        reply = await watch(connect_client(url=server.url), "Hi.")
    assert (reply.status, reply.error) == ("FAILED", ("MODEL_UNAVAILABLE", True))


async def test_a_reply_that_waits_for_the_next_try_can_be_stopped(
    ann: Client, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "FIRST_WAIT", 600.0)
    model.script(BEFORE_THE_FIRST_TOKEN["HTTP 529"])
    sent = await ann.send("Hi.")
    await until(lambda: len(model.requests) == 1)
    async with asyncio.timeout(60):
        assert await stop(ann, sent.reply) == {"id": sent.reply, "status": "STOPPED", "text": ""}


# Failures in the middle


SENTENCE = Text("one two three four")


@pytest.mark.parametrize(
    ("kind", "after"),
    [
        ("cut", 1),
        ("overloaded", 3),
        ("api_error", 3),
        ("cut", 3),
        ("malformed_json", 3),
        ("no_stop", 3),
        ("overloaded", 5),
        ("no_stop", 5),
    ],
)
async def test_a_failure_in_the_middle_keeps_the_text_so_far_and_is_not_tried_again(
    ann: Client, model: ScriptedModel, kind: Any, after: int
) -> None:
    model.script(Answer([Thinking("Hm."), SENTENCE], fault=Fault(after, kind)), say("Never asked."))
    reply = await watch(ann, "Count.")
    assert (reply.status, reply.error) == ("FAILED", ("MODEL_UNAVAILABLE", True))
    assert reply.text == "".join(["one", " two", " three", " four"][: after - 1])
    assert reply.told[-1] == "MessageFinished"
    assert len(model.requests) == 1

    model.script(say("Again."))
    assert (await ask_on(ann, reply)).status == "COMPLETE"
    note, question = texts(model.requests[-1])[-2:]
    assert "error" in note
    assert question == "And now?"


async def test_an_unknown_event_is_ignored(ann: Client, model: ScriptedModel) -> None:
    model.script(Answer([SENTENCE], fault=Fault(2, "unknown_event")))
    reply = await watch(ann, "Count.")
    assert (reply.status, reply.text) == ("COMPLETE", SENTENCE.text)


@pytest.mark.parametrize(("after", "text"), [(0, ""), (2, "one two")])
async def test_a_model_that_falls_silent_is_given_up(
    start_own_server: StartServer,
    connect_client: ConnectClient,
    model: ScriptedModel,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
    text: str,
) -> None:
    # Also a busy machine says its words in that time.
    monkeypatch.setattr(anthropic_model, "READ_TIMEOUT", 3.0 if text else 0.5)
    monkeypatch.setattr(loop, "TRIES", 2)
    model.script(Answer([SENTENCE], fault=Fault(after, "stall")))
    async with start_own_server() as server:
        reply = await watch(connect_client(url=server.url), "Count.")
    assert (reply.status, reply.error, reply.text) == ("FAILED", ("MODEL_UNAVAILABLE", True), text)
    assert len(model.requests) == (1 if text else 2)
    await until(lambda: model.open_streams == 0)


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


# Tools


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


# Usage


USAGE = "usage { inputTokens outputTokens cacheReadTokens cacheWriteTokens }"


def counted(input: int, output: int, read: int, written: int) -> dict[str, int]:
    return {"inputTokens": input, "outputTokens": output, "cacheReadTokens": read, "cacheWriteTokens": written}


async def spent(client: Client) -> dict[str, int]:
    """Today's tokens of a user."""
    usage: dict[str, int] = (await client.execute(f"{{ viewer {{ {USAGE} }} }}"))["viewer"]["usage"]
    return usage


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


# What the model is shown


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


async def test_a_reply_that_was_cut_still_names_the_model_that_wrote_it(ann: Client, model: ScriptedModel) -> None:
    model.script(Answer([SENTENCE], fault=Fault(2, "cut")))
    reply = await watch(ann, "Count.")
    assert (reply.text, reply.saved["model"]) == ("one two", "scripted")


# Titles


TITLE = "query ($id: ID!) { conversation(id: $id) { title } }"


def with_title(title: Answer | Refusal) -> Respond:
    return lambda request: title if request["model"] == "scripted-titles" else say("Rain is water.")


async def title_of(client: Client, conversation_id: str) -> str | None:
    title: str | None = (await client.execute(TITLE, id=conversation_id))["conversation"]["title"]
    return title


@pytest.fixture(scope="module")
async def titling_server(start_server: StartServer, own_database_url: str) -> AsyncIterator[str]:
    """The address of a server that names conversations."""
    async with start_server(titles=True, database_url=own_database_url) as server:
        yield server.url


@pytest.fixture
def titling(titling_server: str, connect_client: ConnectClient) -> Client:
    return connect_client("tim", url=titling_server)


def count_title_requests(model: ScriptedModel) -> int:
    return sum(request["model"] == "scripted-titles" for request in model.requests)


async def test_a_conversation_is_named_after_its_first_exchange_and_only_then(
    titling: Client, model: ScriptedModel
) -> None:
    model.by(with_title(say('"All  about\x00 rain."\n', input_tokens=7, output_tokens=3)))
    before = await spent(titling)
    reply = await watch(titling, "What is rain?")

    async def named() -> bool:
        return await title_of(titling, reply.sent.conversation) is not None

    await until(named)
    assert await title_of(titling, reply.sent.conversation) == "All about\ufffd rain"
    [_, naming] = model.requests
    assert naming["model"] == "scripted-titles"
    assert "tools" not in naming or naming["tools"] == []
    assert "What is rain?" in last_text(naming)
    assert "Rain is water." in last_text(naming)

    async def counted_too() -> bool:
        now = (await spent(titling))["inputTokens"]
        return bool(now == before["inputTokens"] + reply.saved["usage"]["inputTokens"] + 7)

    await until(counted_too)
    await ask_on(titling, reply)
    await asyncio.sleep(0.1)
    assert [request["model"] for request in model.requests] == ["scripted", "scripted-titles", "scripted"]


async def test_a_title_that_the_user_gave_stays(titling: Client, model: ScriptedModel) -> None:
    model.by(with_title(say("The model's")))
    data = await titling.execute(
        'mutation { createConversation(input: {title: "The user\'s"}) { conversation { id } } }'
    )
    id = data["createConversation"]["conversation"]["id"]
    await watch(titling, "What is rain?", conversationId=id)
    await asyncio.sleep(0.1)
    assert await title_of(titling, id) == "The user's"
    assert [request["model"] for request in model.requests] == ["scripted"]


async def test_a_title_that_the_user_gives_meanwhile_stays(titling: Client, model: ScriptedModel) -> None:
    model.by(with_title(say("The model's", first_token_delay=0.5)))
    reply = await watch(titling, "What is rain?")
    id = reply.sent.conversation
    await until(lambda: count_title_requests(model) == 1)
    await titling.execute(
        'mutation ($id: ID!) { updateConversation(input: {id: $id, title: "The user\'s"}) { conversation { id } } }',
        id=id,
    )
    await until(lambda: model.open_streams == 0)
    await asyncio.sleep(0.2)
    assert await title_of(titling, id) == "The user's"


BAD_TITLES = {
    "refused": Refusal(400, "invalid_request_error", "no"),
    "overloaded": Refusal(529, "overloaded_error", "Overloaded"),
    "cut": Answer([Text("Half a title")], fault=Fault(1, "cut")),
    "empty": Answer([]),
    "blank": say(' "" '),
}


@pytest.mark.parametrize("failure", BAD_TITLES.values(), ids=BAD_TITLES)
async def test_a_title_that_fails_harms_nothing(
    titling: Client, model: ScriptedModel, failure: Answer | Refusal
) -> None:
    model.by(with_title(failure))
    reply = await watch(titling, "What is rain?")
    assert reply.status == "COMPLETE"
    await until(lambda: count_title_requests(model) == 1)
    assert (await ask_on(titling, reply)).status == "COMPLETE"
    await until(lambda: count_title_requests(model) == 2)
    assert await title_of(titling, reply.sent.conversation) is None


async def test_a_reply_that_failed_gives_no_title(titling: Client, model: ScriptedModel) -> None:
    model.script(Answer([SENTENCE], fault=Fault(2, "cut")))
    reply = await watch(titling, "What is rain?")
    await asyncio.sleep(0.1)
    assert await title_of(titling, reply.sent.conversation) is None
    assert len(model.requests) == 1


# Characters


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
