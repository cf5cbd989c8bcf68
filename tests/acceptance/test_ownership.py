"""Two users' data never cross, over every way in that the schema has: what is added to it is tried unasked."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from graphql import is_required_argument

from agent.stand_in.answers import Answer, Text, ToolUse
from persistence.database import Database
from tests.acceptance.owners import Operation, User, answer, codes, furnish, over_both, stored
from tests.acceptance.ways import (
    CURSORS,
    IDS,
    KINDS,
    ROOTS,
    UUIDS,
    WAYS,
    Way,
    ask,
    call,
    cursors_of,
    everything,
    object_type,
)
from tests.client import Client, GraphQLFailed
from tests.conftest import ConnectClient, StartServer, until
from tests.model import ScriptedModel, say

#: The model gives tool calls their ids: any text is well-formed. All others are UUIDs.
UUID_KINDS = {"conversation", "message", "task"}
MALFORMED = ["", "x", "1", "{%s}", "urn:uuid:%s", "%s ", " %s", "%s0", "0" * 5000, "💥", "' or true --", "٠" * 32]

#: Also those that nobody has said the kind of yet: their tests fail.
ID_KINDS = [pytest.param(way, kind, id=f"{way}-{kind}") for way in IDS for kind in KINDS.get(way.coordinate, ("?",))]
NARROW = [way for way in UUIDS if UUID_KINDS - set(KINDS.get(way.coordinate, ()))]
KEYS = [way for way in WAYS if way.path[-1] == "idempotencyKey"]
OFFERED = [
    way
    for way in IDS
    if way.parent in ROOTS and way.definition.extensions["strawberry-definition"].metadata.get("tool")
]


@pytest.fixture
async def url(start_server: StartServer) -> AsyncIterator[str]:
    """A server that takes longer documents than users may send: they ask for everything at once."""
    async with start_server(document_aliases=100, document_cost=10**9, document_tokens=10_000) as server:
        yield server.url


@pytest.fixture
def ann(connect_client: ConnectClient, url: str) -> Client:
    return connect_client("ann", url=url)


@pytest.fixture
def bob(connect_client: ConnectClient, url: str) -> Client:
    return connect_client("bob", url=url)


@pytest.fixture
async def alice(ann: Client, model: ScriptedModel) -> User:
    """Ann, with one of everything."""
    return await furnish(ann, model)


@pytest.fixture
async def robert(bob: Client, model: ScriptedModel, alice: User) -> User:
    """Bob, with one of everything; the model answers both in turn, so Ann comes first."""
    return await furnish(bob, model)


def test_the_walk_finds_the_ids_that_are_there() -> None:
    assert {way.coordinate for way in IDS} >= {"Query.node.id", "Conversation.messages.leaf", "DeleteTaskInput.id"}
    assert [coordinate for coordinate in KINDS if coordinate not in {way.coordinate for way in IDS}] == []
    assert len(CURSORS) >= 8
    assert len(KEYS) >= 2
    assert len(OFFERED) >= 3


@pytest.mark.parametrize(("way", "kind"), ID_KINDS)
async def test_anothers_object_and_none_at_all_get_the_same_refusal(
    way: Way, kind: str, alice: User, robert: User, database: Database
) -> None:
    assert kind in way.kinds
    nobodys = str(uuid4()) if kind in UUID_KINDS else "toolu_nobody"
    before = await stored(database)
    refused = await over_both(robert, call(robert, way, alice.owned[kind]))
    assert refused == await over_both(robert, call(robert, way, nobodys))
    assert [codes(refusal) for refusal in refused] == [["FORBIDDEN"]] * len(refused)
    assert await stored(database) == before
    granted = await answer(alice, call(alice, way, alice.owned[kind]), patience=0.5)
    assert not {"FORBIDDEN", "INTERNAL_SERVER_ERROR"} & set(codes(granted))


@pytest.mark.parametrize("way", UUIDS, ids=str)
async def test_a_malformed_id_is_bad_user_input_that_names_the_argument(
    way: Way, alice: User, database: Database
) -> None:
    id = alice.owned[way.kinds[0]]
    before = await stored(database)
    for malformed in MALFORMED:
        refused = await answer(alice, call(alice, way, malformed.replace("%s", id)))
        assert codes(refused) == ["BAD_USER_INPUT"], malformed
        assert refused["errors"][0]["message"].startswith(f"{'.'.join(way.path)}: "), malformed
    assert await stored(database) == before


@pytest.mark.parametrize("way", NARROW, ids=str)
async def test_an_id_of_another_kind_of_object_is_refused(way: Way, alice: User, database: Database) -> None:
    before = await stored(database)
    for kind in sorted(UUID_KINDS - set(way.kinds)):
        assert codes(await answer(alice, call(alice, way, alice.owned[kind]))) == ["FORBIDDEN"], kind
    assert await stored(database) == before


@pytest.mark.parametrize(
    "coordinate", ["Conversation.messages.leaf", "Conversation.messages.through", "SendMessageInput.parentId"]
)
async def test_a_message_in_another_conversation_of_ones_own_is_refused(coordinate: str, alice: User) -> None:
    [way] = [way for way in IDS if way.coordinate == coordinate]
    elsewhere, _ = await alice.client.ask("Elsewhere.")
    assert codes(await answer(alice, call(alice, way, elsewhere.reply))) == ["FORBIDDEN"]
    assert codes(await answer(alice, call(alice, way, alice.owned["message"]))) == []


@pytest.mark.parametrize("way", KEYS, ids=str)
async def test_the_idempotency_key_of_another_gives_one_ones_own_message(way: Way, alice: User, robert: User) -> None:
    async def use_key(user: User) -> set[str]:
        used = await answer(user, call(user, way, "the same key", everything(way.definition.type, 2)))
        assert codes(used) == []
        return _ids(used)

    first, others = await use_key(alice), await use_key(robert)
    assert first
    assert others
    assert not first & others
    assert not alice.is_seen_in(list(others))
    assert await use_key(alice) == first
    assert await use_key(robert) == others


def _ids(answer: Any) -> set[str]:
    """Every id in an answer."""
    match answer:
        case dict():
            own = {answer["id"]} if "id" in answer else set()
            return own.union(*map(_ids, answer.values()))
        case list() | tuple():
            return set().union(*map(_ids, answer))
    return set()


@pytest.mark.parametrize("way", CURSORS, ids=str)
async def test_a_cursor_of_anothers_list_shows_nothing_of_theirs(way: Way, alice: User, robert: User) -> None:
    shown = everything(way.definition.type, 4)
    cursors = await cursors_of(alice, way)
    assert cursors
    for cursor in cursors:
        others = await answer(robert, call(robert, way, cursor, shown))
        assert not alice.is_seen_in(others)
        if way.parent != "Query":
            # The list is one object's: another's cursor is none of it.
            assert codes(others) == ["BAD_USER_INPUT"]
            assert others["errors"][0]["message"].startswith(f"{way.path[-1]}: ")
        assert codes(await answer(alice, call(alice, way, cursor, shown), patience=0.5)) == []


#: What is the operator's, and the same for all.
SHARED = {"models"}

OPEN = [
    name
    for name, field in object_type("Query").fields.items()
    if not any(map(is_required_argument, field.args.values()))
]


@pytest.mark.parametrize("field", OPEN)
async def test_what_anyone_may_ask_shows_each_their_own(field: str, alice: User, robert: User) -> None:
    operation = ask(robert, "Query", field, {}, everything(object_type("Query").fields[field].type, 4))
    for shown in await over_both(robert, operation):
        assert codes(shown) == []
        assert not alice.is_seen_in(shown)
        assert field in SHARED or robert.is_seen_in(shown) or robert.client.owner in json.dumps(shown)


async def test_a_search_finds_only_ones_own(alice: User, robert: User) -> None:
    for words in ("secret", alice.secret, "ann", robert.secret):
        operation = ask(robert, "Query", "conversations", {"search": words}, "{ edges { node { id } } }")
        assert not alice.is_seen_in(await answer(robert, operation))
    operation = ask(alice, "Query", "conversations", {"search": alice.secret}, "{ edges { node { id } } }")
    assert alice.is_seen_in(await answer(alice, operation))


NESTED = """
query ($id: ID!) { node(id: $id) { ... on Conversation { id title messages(first: 100) { edges { node {
  id text
  parent { id text versions { id text conversation { id title messages(last: 100) { edges { node { id text } } } } } }
  versions { id text parent { id } conversation { id } }
} } } } } }
"""


async def test_nested_paths_of_many_at_once_show_each_their_own(
    alice: User, robert: User, model: ScriptedModel
) -> None:
    model.script(say("Once more."))
    for user in (alice, robert):
        await user.client.send("Once more.", conversationId=user.owned["conversation"], parentId=None)

    async def walk(user: User, other: User) -> None:
        for shown in await over_both(user, Operation("query", NESTED, {"id": user.owned["conversation"]})):
            assert codes(shown) == []
            assert user.is_seen_in(shown)
            assert not other.is_seen_in(shown)

    await asyncio.gather(*(walk(*pair) for pair in [(alice, robert), (robert, alice)] * 5))


async def test_another_can_neither_read_nor_stop_nor_delete_a_reply_that_is_being_written(
    ann: Client, bob: Client, model: ScriptedModel
) -> None:
    model.script(Answer([Text("word " * 100)], tokens_per_second=100))
    sent = await ann.send("Write.")
    await until(lambda: model.open_streams == 1)
    with pytest.raises(GraphQLFailed) as refused:
        await bob.read(sent.reply)
    assert refused.value.codes == ["FORBIDDEN"]
    for mutation in ("stopMessage(input: {messageId: $id})", "regenerateMessage(input: {messageId: $id})"):
        with pytest.raises(GraphQLFailed) as refused:
            await bob.execute(f"mutation ($id: ID!) {{ {mutation} {{ __typename }} }}", id=sent.reply)
        assert refused.value.codes == ["FORBIDDEN"]
    with pytest.raises(GraphQLFailed) as refused:
        await bob.execute(
            "mutation ($id: ID!) { deleteConversation(input: {id: $id}) { deletedId } }", id=sent.conversation
        )
    assert refused.value.codes == ["FORBIDDEN"]
    assert model.open_streams == 1
    reply = await ann.finished(sent.reply)
    assert (reply["status"], reply["text"]) == ("COMPLETE", "word " * 100)


APPROVE = """
mutation ($message: ID!, $call: ID!) {
  resolveToolCall(input: {messageId: $message, toolCallId: $call, approve: true}) { message { id } }
}
"""


@pytest.mark.parametrize("way", OFFERED, ids=str)
async def test_a_tool_of_the_agent_reaches_only_what_its_user_owns(
    way: Way, alice: User, robert: User, model: ScriptedModel, database: Database
) -> None:
    async def use_tool(user: User, value: str) -> dict[str, Any]:
        variables = call(user, way, value).variables
        model.script(Answer([ToolUse(way.field, variables.get("input", variables))]), say("Done."))
        sent = await user.client.send("Do it.")
        async for event in user.client.stream(sent.reply):
            if event["__typename"] == "ToolCallAwaitingApproval":
                await user.client.execute(APPROVE, message=sent.reply, call=event["toolCall"]["id"])
        reply = await user.client.message(sent.reply)
        part: dict[str, Any] = next(part for part in reply["parts"] if part["__typename"] == "ToolCallPart")
        return part

    [kind] = way.kinds
    before = await stored(database, "ann")
    told, untold = await use_tool(robert, alice.owned[kind]), await use_tool(robert, str(uuid4()))
    assert told["status"] == untold["status"] == "FAILED"
    assert told["result"]["error"]["code"] == "FORBIDDEN"
    assert told["result"] == untold["result"]
    assert await stored(database, "ann") == before
    assert (await use_tool(alice, alice.owned[kind]))["status"] == "SUCCEEDED"
