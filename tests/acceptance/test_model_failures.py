"""A model that fails: before the first token it is asked again unseen, after it the reply keeps its text."""

import asyncio
import time
from typing import Any

import pytest

from agent import loop
from agent.anthropic import model as anthropic_model
from agent.stand_in.answers import Answer, Fault, Refusal, Text, Thinking
from tests.acceptance.replies import SENTENCE, ask_on, stop, texts, watch
from tests.client import Client
from tests.conftest import ConnectClient, StartServer, until
from tests.model import ScriptedModel, say

pytestmark = pytest.mark.usefixtures("short_waits")

# Before the first token


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


# In the middle


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


async def test_a_reply_that_was_cut_still_names_the_model_that_wrote_it(ann: Client, model: ScriptedModel) -> None:
    model.script(Answer([SENTENCE], fault=Fault(2, "cut")))
    reply = await watch(ann, "Count.")
    assert (reply.text, reply.saved["model"]) == ("one two", "scripted")


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
