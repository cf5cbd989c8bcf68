"""Titles that the model gives to conversations: one, after the first exchange, and never over the user's."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from agent.stand_in.answers import Answer, Fault, Refusal, Respond, Text
from tests.acceptance.replies import SENTENCE, ask_on, spent, watch
from tests.client import Client
from tests.conftest import ConnectClient, StartServer, until
from tests.model import ScriptedModel, last_text, say

pytestmark = pytest.mark.usefixtures("short_waits")
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
