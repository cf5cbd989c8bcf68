"""Which model writes a reply: the conversation's choice from the operator's list."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text

from agent.prompt import NOTES, SYSTEM_PROMPT
from agent.stand_in.answers import Answer, Text, ToolUse
from persistence.database import Database
from server.settings import InvalidSettings, Settings, load_settings
from tests.client import Client, GraphQLFailed
from tests.conftest import ConnectClient, StartServer, empty, until
from tests.model import ScriptedModel, say

MODELS = "{ models { name isDefault } }"
CREATE = (
    "mutation ($input: CreateConversationInput!) { createConversation(input: $input) { conversation { id model } } }"
)
UPDATE = """
mutation ($input: UpdateConversationInput!) { updateConversation(input: $input) { conversation { title model } } }
"""
CONVERSATION = "query ($id: ID!) { conversation(id: $id) { model } }"
CHANGES = """
subscription ($id: ID!) { conversationStream(conversationId: $id) {
  ... on ConversationChanged { conversation { model } }
} }
"""
REGENERATE = "mutation ($id: ID!) { regenerateMessage(input: {messageId: $id}) { reply { id } } }"
RESOLVE = "mutation ($input: ResolveToolCallInput!) { resolveToolCall(input: $input) { message { id } } }"

TWO = {"models": ("other",)}


@pytest.fixture(scope="module")
async def own_database(database: Database, database_url: str) -> AsyncIterator[Database]:
    """A database beside the shared one: the shared server offers only one model."""
    async with database.connection() as connection:
        await connection.execute(text("create database models"))
    own = Database(make_url(database_url).set(database="models").render_as_string(hide_password=False))
    await own.migrate()
    yield own
    await own.close()


@pytest.fixture
async def start(start_server: StartServer, own_database: Database, model: ScriptedModel) -> AsyncIterator[StartServer]:
    """Starts a server that is the only one of its database, and offers `scripted` and `other`."""
    url = own_database.engine.url.render_as_string(hide_password=False)
    yield partial(start_server, **{"database_url": url, **TWO})
    await empty(own_database)


@pytest.fixture
async def ann(start: StartServer, connect_client: ConnectClient) -> AsyncIterator[Client]:
    async with start() as server:
        yield connect_client("ann", url=server.url)


def asked(model: ScriptedModel) -> list[str]:
    """The models that were asked, in their order."""
    return [request["model"] for request in model.requests]


async def create(client: Client, **given: Any) -> Any:
    return (await client.execute(CREATE, input=given))["createConversation"]["conversation"]


async def update(client: Client, **given: Any) -> Any:
    return (await client.execute(UPDATE, input=given))["updateConversation"]["conversation"]


async def chosen(client: Client, id: str) -> str:
    return str((await client.execute(CONVERSATION, id=id))["conversation"]["model"])


async def refusal(client: Client, query: str, **given: Any) -> tuple[list[Any], str]:
    """The codes and the first message with which an input is refused."""
    with pytest.raises(GraphQLFailed) as failure:
        await client.execute(query, input=given)
    return failure.value.codes, failure.value.errors[0]["message"]


async def test_the_models_are_listed_once_each_the_default_first(
    start: StartServer, connect_client: ConnectClient
) -> None:
    async with start(models=("other", "scripted", "other", "third")) as server:
        listed = (await connect_client(url=server.url).execute(MODELS))["models"]
    assert [(model["name"], model["isDefault"]) for model in listed] == [
        ("scripted", True),
        ("other", False),
        ("third", False),
    ]


async def test_where_none_are_named_there_is_the_default_alone(
    start: StartServer, connect_client: ConnectClient
) -> None:
    async with start(models=()) as server:
        listed = (await connect_client(url=server.url).execute(MODELS))["models"]
    assert listed == [{"name": "scripted", "isDefault": True}]


async def test_a_conversation_that_chose_nothing_is_written_by_the_default(ann: Client, model: ScriptedModel) -> None:
    sent, reply = await ann.ask("Hi.")
    assert asked(model) == ["scripted"]
    assert reply["model"] == "scripted"
    assert await chosen(ann, sent.conversation) == "scripted"


async def test_a_first_message_chooses_the_model_of_all_that_follow(ann: Client, model: ScriptedModel) -> None:
    sent, reply = await ann.ask("Hi.", model="other")
    await ann.ask("And?", conversationId=sent.conversation)
    again = (await ann.execute(REGENERATE, id=sent.reply))["regenerateMessage"]["reply"]["id"]
    await ann.finished(again)
    assert asked(model) == ["other"] * 3
    assert reply["model"] == "other"
    assert await chosen(ann, sent.conversation) == "other"


async def test_a_first_message_with_a_key_chooses_as_well(ann: Client, model: ScriptedModel) -> None:
    sent, _ = await ann.ask("Hi.", model="other", idempotencyKey="k")
    assert (await ann.send("Hi.", model="scripted", idempotencyKey="k")) == sent
    assert asked(model) == ["other"]
    assert await chosen(ann, sent.conversation) == "other"


async def test_a_conversation_is_created_with_its_model(ann: Client, model: ScriptedModel) -> None:
    conversation = await create(ann, model="other")
    assert conversation["model"] == "other"
    await ann.ask("Hi.", conversationId=conversation["id"])
    assert asked(model) == ["other"]
    assert (await create(ann))["model"] == (await create(ann, model=None))["model"] == "scripted"


async def test_another_model_writes_what_is_asked_for_after_the_change(ann: Client, model: ScriptedModel) -> None:
    sent, _ = await ann.ask("Hi.")
    id = sent.conversation
    assert (await update(ann, id=id, model="other"))["model"] == "other"
    await ann.ask("And?", conversationId=id)
    assert await update(ann, id=id, title="Kept") == {"title": "Kept", "model": "other"}
    assert await update(ann, id=id, model=None) == {"title": "Kept", "model": "scripted"}
    await ann.ask("So?", conversationId=id)
    assert asked(model) == ["scripted", "other", "scripted"]


async def test_followers_are_told_of_the_change(ann: Client) -> None:
    id = (await create(ann))["id"]
    told: list[Any] = []

    async def follow() -> None:
        async with ann.socket() as socket, aclosing(socket.subscribe(CHANGES, {"id": id})) as changes:
            told.append(await anext(changes))

    async def is_told() -> bool:
        # It tells of what comes once it has begun: the change is made anew until then.
        await update(ann, id=id, model="other")
        return bool(told)

    following = asyncio.create_task(follow())
    await until(is_told)
    await following
    assert told[0]["conversationStream"]["conversation"] == {"model": "other"}


async def test_a_reply_that_waits_for_its_user_goes_on_with_its_model(ann: Client, model: ScriptedModel) -> None:
    task = (await ann.execute('mutation { addTask(input: {title: "Milk"}) { task { id } } }'))["addTask"]["task"]["id"]
    model.script(Answer([Text("May I?"), ToolUse("deleteTask", {"id": task}, id="call")]), say("Done."))
    sent = await ann.send("Delete it.", model="other")

    async def waits() -> bool:
        return bool((await ann.message(sent.reply))["status"] == "AWAITING_APPROVAL")

    await until(waits)
    await update(ann, id=sent.conversation, model="scripted")
    await ann.execute(RESOLVE, input={"messageId": sent.reply, "toolCallId": "call", "approve": True})
    assert (await ann.finished(sent.reply))["status"] == "COMPLETE"
    assert asked(model) == ["other", "other"]


async def test_a_model_that_is_no_longer_offered_gives_way_to_the_default(
    start: StartServer, connect_client: ConnectClient, model: ScriptedModel
) -> None:
    async with start() as server:
        sent, _ = await connect_client(url=server.url).ask("Hi.", model="other")
    async with start(models=("third",)) as server:
        ann = connect_client(url=server.url)
        assert await chosen(ann, sent.conversation) == "scripted"
        _, reply = await ann.ask("And?", conversationId=sent.conversation)
        assert reply["status"] == "COMPLETE"
    async with start() as server:
        # It is offered again: the choice was kept.
        assert await chosen(connect_client(url=server.url), sent.conversation) == "other"
    assert asked(model) == ["other", "scripted"]


async def test_rows_of_a_node_that_knows_no_models_are_written_by_the_default(
    ann: Client, own_database: Database, model: ScriptedModel
) -> None:
    sent, _ = await ann.ask("Hi.", model="other")
    async with own_database.connection() as connection:
        # What an older node stores names neither column.
        await connection.execute(text("update conversation set model = null"))
    await ann.ask("And?", conversationId=sent.conversation)
    assert asked(model) == ["other", "scripted"]


async def test_a_model_that_is_not_offered_is_refused_and_nothing_stored(ann: Client, model: ScriptedModel) -> None:
    sent, _ = await ann.ask("Hi.")
    send = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { reply { id } } }"
    refused = (["BAD_USER_INPUT"], "input.model: must be one of scripted, other")
    assert await refusal(ann, send, text="Hi.", model="gone") == refused
    assert await refusal(ann, CREATE, model="gone") == refused
    assert await refusal(ann, UPDATE, id=sent.conversation, model="gone") == refused
    codes, message = await refusal(ann, send, text="Hi.", conversationId=sent.conversation, model="other")
    assert codes == ["BAD_USER_INPUT"]
    assert message.startswith("input.model: ")
    listed = await ann.execute("{ conversations { edges { node { id } } } }")
    assert [edge["node"]["id"] for edge in listed["conversations"]["edges"]] == [sent.conversation]
    assert len(model.requests) == 1


async def test_titles_are_asked_of_their_own_model(
    start: StartServer, connect_client: ConnectClient, model: ScriptedModel
) -> None:
    async with start(titles=True) as server:
        await connect_client(url=server.url).ask("Hi.", model="other")
        await until(lambda: len(model.requests) == 2)
    assert asked(model) == ["other", "scripted-titles"]


# The prompt


async def test_the_operators_prompt_stands_in_place_of_ours_and_the_day_after_it(
    start: StartServer, connect_client: ConnectClient, model: ScriptedModel
) -> None:
    async with start(system_prompt="You are a {pirate}.") as server:
        await connect_client(url=server.url).ask("Hi.")
    said = [block["text"] for block in model.requests[0]["system"]]
    assert said[0] == f"You are a {{pirate}}.\n\n{NOTES}"
    assert said[1].startswith("Today is ")
    assert SYSTEM_PROMPT not in str(said)


def test_a_prompt_is_read_from_the_file_that_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "prompt.md"
    file.write_text("Du bist höflich.\n", encoding="utf-8")
    monkeypatch.setenv("LOQUENT_SYSTEM_PROMPT", f"@{file}")
    assert load_settings().system_prompt == "Du bist höflich."
    monkeypatch.setenv("LOQUENT_SYSTEM_PROMPT", " ")
    assert load_settings().system_prompt is None


@pytest.mark.parametrize("name", ["missing.md", "latin.md", "."])
def test_a_prompt_that_cannot_be_read_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "latin.md").write_bytes("höflich".encode("latin-1"))
    monkeypatch.setenv("LOQUENT_SYSTEM_PROMPT", f"@{tmp_path / name}")
    with pytest.raises(InvalidSettings, match=r"LOQUENT_SYSTEM_PROMPT: .*cannot be read"):
        load_settings()


def test_names_of_models_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOQUENT_MODELS", " claude-opus-5-5 , ,openai/gpt-x,")
    assert Settings().models == ("claude-opus-5-5", "openai/gpt-x")
