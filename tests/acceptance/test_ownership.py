"""Two users' data never cross, over every way in that the schema has: what is added to it is tried unasked."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    get_named_type,
    is_abstract_type,
    is_leaf_type,
    is_required_argument,
)
from sqlalchemy import text
from sqlmodel import SQLModel

from agent.messages_wire import Answer, Text, ToolUse
from persistence.database import Database
from schema.root import create_schema
from tests.client import Client, GraphQLFailed
from tests.conftest import ConnectClient, StartServer, until
from tests.model import ScriptedModel, say

#: What each ID argument or ID field of an input object names: one of the keys of `User.owned`, or several.
#: A new one fails its tests until it has a line here.
KINDS: dict[str, tuple[str, ...]] = {
    "Query.node.id": ("conversation", "message", "task"),
    "Query.conversation.id": ("conversation",),
    "Query.message.id": ("message",),
    "Conversation.messages.leaf": ("message",),
    "Conversation.messages.through": ("message",),
    "Subscription.messageStream.messageId": ("message",),
    "Subscription.conversationStream.conversationId": ("conversation",),
    "SendMessageInput.conversationId": ("conversation",),
    "SendMessageInput.parentId": ("message",),
    "RegenerateMessageInput.messageId": ("message",),
    "StopMessageInput.messageId": ("message",),
    "ResolveToolCallInput.messageId": ("message",),
    "ResolveToolCallInput.toolCallId": ("tool call",),
    "RateMessageInput.messageId": ("message",),
    "UpdateConversationInput.id": ("conversation",),
    "DeleteConversationInput.id": ("conversation",),
    "UpdateTaskInput.id": ("task",),
    "CompleteTaskInput.id": ("task",),
    "DeleteTaskInput.id": ("task",),
}
#: Optional ids without which another one means nothing.
NEEDS = {"SendMessageInput.parentId": ("SendMessageInput.conversationId",)}
#: A value of each scalar, for required arguments that are no ids.
EXAMPLES = {"String": "Words.", "Int": 1, "Float": 1.0, "Boolean": True, "JSON": {}, "DateTime": "2026-01-01T00:00:00Z"}
#: The model gives tool calls their ids: any text is well-formed. All others are UUIDs.
UUID_KINDS = {"conversation", "message", "task"}
MALFORMED = ["", "x", "1", "{%s}", "urn:uuid:%s", "%s ", " %s", "%s0", "0" * 5000, "💥", "' or true --", "٠" * 32]

SCHEMA = create_schema()._schema
ROOTS = {"Query": "query", "Mutation": "mutation", "Subscription": "subscription"}
Inputs = Mapping[str, GraphQLArgument] | Mapping[str, GraphQLInputField]


@dataclass(frozen=True)
class Way:
    """A way in: a leaf of the arguments of one field, as `SendMessageInput.parentId` of `Mutation.sendMessage`."""

    parent: str
    field: str
    path: tuple[str, ...]
    coordinate: str
    type: str

    @property
    def definition(self) -> GraphQLField:
        definition: GraphQLField = _object(self.parent).fields[self.field]
        return definition

    @property
    def kinds(self) -> tuple[str, ...]:
        return _kinds(self.coordinate)

    def __str__(self) -> str:
        return f"{self.parent}.{self.field}({'.'.join(self.path)})"


def _object(name: str) -> GraphQLObjectType:
    found = SCHEMA.type_map[name]
    assert isinstance(found, GraphQLObjectType)
    return found


def _kinds(coordinate: str) -> tuple[str, ...]:
    if coordinate not in KINDS:
        pytest.fail(f"{coordinate} is an ID that no test covers: add to KINDS in {__name__} which object it names")
    return KINDS[coordinate]


def _leaves(inputs: Inputs, parent: str, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Path, coordinate and type of every scalar in arguments, down through input objects."""
    for name, taken in inputs.items():
        named = get_named_type(taken.type)
        if not isinstance(named, GraphQLInputObjectType):
            yield (*path, name), f"{parent}.{name}", named.name
        elif len(path) < 4:
            yield from _leaves(named.fields, named.name, (*path, name))


WAYS = [
    Way(type.name, name, *leaf)
    for type in SCHEMA.type_map.values()
    if isinstance(type, GraphQLObjectType) and not type.name.startswith("__")
    for name, field in type.fields.items()
    for leaf in _leaves(field.args, f"{type.name}.{name}")
]
IDS = [way for way in WAYS if way.type == "ID"]
#: Also those that nobody has said the kind of yet: their tests fail.
ID_KINDS = [pytest.param(way, kind, id=f"{way}-{kind}") for way in IDS for kind in KINDS.get(way.coordinate, ("?",))]
UUIDS = [way for way in IDS if KINDS.get(way.coordinate) != ("tool call",)]
NARROW = [way for way in UUIDS if UUID_KINDS - set(KINDS.get(way.coordinate, ()))]
CURSORS = [way for way in WAYS if way.path[-1] in ("after", "before") and way.type == "String"]
KEYS = [way for way in WAYS if way.path[-1] == "idempotencyKey"]
OFFERED = [
    way
    for way in IDS
    if way.parent in ROOTS and way.definition.extensions["strawberry-definition"].metadata.get("tool")
]


@dataclass
class User:
    """A user with one of everything; all their texts have `secret` in them."""

    client: Client
    owned: dict[str, str]
    secret: str

    def is_seen_in(self, answer: object) -> bool:
        """Whether an answer has an id or a word of theirs."""
        shown = json.dumps(answer)
        return any(own in shown for own in (*self.owned.values(), self.secret))


@dataclass(frozen=True)
class Operation:
    """A document with its variables; `kind` is query, mutation or subscription."""

    kind: str
    document: str
    variables: dict[str, Any]


def _is_required(taken: GraphQLArgument | GraphQLInputField) -> bool:
    return is_required_argument(taken)  # type: ignore[arg-type]  # asks what both have: type and default


def _fill(inputs: Inputs, parent: str, given: Mapping[str, Any], owned: Mapping[str, str]) -> dict[str, Any]:
    """Values for `inputs`: those `given` by coordinate, and for what is required besides the user's own."""
    values: dict[str, Any] = {}
    for name, taken in inputs.items():
        named, coordinate = get_named_type(taken.type), f"{parent}.{name}"
        if isinstance(named, GraphQLInputObjectType):
            inner = _fill(named.fields, named.name, given, owned)
            if inner or _is_required(taken):
                values[name] = inner
            continue
        if coordinate in given:
            value = given[coordinate]
        elif _is_required(taken) or any(coordinate in NEEDS.get(other, ()) for other in given):
            value = _usual(coordinate, named, owned)
        else:
            continue
        bare = taken.type.of_type if isinstance(taken.type, GraphQLNonNull) else taken.type
        values[name] = [value] if isinstance(bare, GraphQLList) else value
    return values


def _usual(coordinate: str, type: Any, owned: Mapping[str, str]) -> Any:
    if type.name == "ID":
        return owned[_kinds(coordinate)[0]]
    if isinstance(type, GraphQLEnumType):
        return next(iter(type.values))
    if type.name not in EXAMPLES:
        pytest.fail(f"{coordinate} is required and a {type.name}: add an example of one to EXAMPLES in {__name__}")
    return EXAMPLES[type.name]


def call(user: User, way: Way, value: Any, selection: str | None = None) -> Operation:
    """What the user sends to give `value` that way, all else being their own."""
    values = _fill(way.definition.args, f"{way.parent}.{way.field}", {way.coordinate: value}, user.owned)
    return ask(user, way.parent, way.field, values, selection)


def ask(user: User, parent: str, field: str, values: Mapping[str, Any], selection: str | None = None) -> Operation:
    """One field of a root, or of an object of the user's that a field of Query leads to."""
    definition = _object(parent).fields[field]
    if selection is None:
        selection = "" if is_leaf_type(get_named_type(definition.type)) else "{ __typename }"
    variables = dict(values)
    declared = [f"${name}: {definition.args[name].type}" for name in values]
    asked = f"{field}{_given(values)} {selection}"
    if parent not in ROOTS:
        root, kind = _entrance(parent)
        if kind is not None:
            variables["entrance"] = user.owned[kind]
            declared.append("$entrance: ID!")
        asked = f"{root}{'' if kind is None else '(id: $entrance)'} {{ {asked} }}"
    operation = ROOTS.get(parent, "query")
    head = f"({', '.join(declared)})" if declared else ""
    return Operation(operation, f"{operation} {head} {{ {asked} }}", variables)


def _given(values: Mapping[str, Any]) -> str:
    return f"({', '.join(f'{name}: ${name}' for name in values)})" if values else ""


def _entrance(parent: str) -> tuple[str, str | None]:
    """A field of Query that gives an object of this type, and the kind of the `id` that it takes."""
    for name, field in _object("Query").fields.items():
        required = [argument for argument, taken in field.args.items() if is_required_argument(taken)]
        if get_named_type(field.type).name == parent and required in ([], ["id"]):
            return name, _kinds(f"Query.{name}.id")[0] if required else None
    pytest.fail(f"{parent} has fields with ids, and no field of Query leads to it: teach _entrance in {__name__} how")


def everything(type: Any, depth: int) -> str:
    """A selection of all that needs no arguments, down to a depth."""
    type = get_named_type(type)
    if is_leaf_type(type):
        return ""
    if is_abstract_type(type):
        # One name may have two types in two members; aliases keep them apart.
        members = [f"... on {m.name} {_fields(m, depth, f'{m.name}_')}" for m in SCHEMA.get_possible_types(type)]
        return f"{{ __typename {' '.join(members)} }}"
    return _fields(type, depth)


def _fields(type: GraphQLObjectType | GraphQLInterfaceType, depth: int, prefix: str = "") -> str:
    chosen = [
        f"{prefix}{name}: {name} {everything(field.type, depth - 1)}"
        for name, field in type.fields.items()
        if not any(map(is_required_argument, field.args.values()))
        and (depth > 1 or is_leaf_type(get_named_type(field.type)))
    ]
    return f"{{ __typename {' '.join(chosen)} }}"


async def over_http(user: User, operation: Operation) -> Any:
    """The body, with the status of the response as `status`."""
    body = {"query": operation.document, "variables": operation.variables}
    response = await user.client.http.post("/graphql", json=body)
    return _unplaced(response.json()) | {"status": response.status_code}


async def over_socket(user: User, operation: Operation, *, patience: float = 10) -> Any:
    """The first result over a WebSocket; None where nothing comes for `patience` seconds."""
    async with user.client.socket() as socket:
        results = socket.subscribe(operation.document, operation.variables)
        try:
            async with asyncio.timeout(patience):
                async for data in results:
                    return {"data": data}
                return {"data": None}
        except TimeoutError:
            return None
        except GraphQLFailed as failure:
            return _unplaced({"errors": failure.errors})
        finally:
            await results.aclose()


def _unplaced(body: dict[str, Any]) -> dict[str, Any]:
    """The answer without the places of its errors."""
    for error in body.get("errors") or ():
        error.pop("path", None)
        error.pop("locations", None)
    return body


async def over_both(user: User, operation: Operation) -> list[Any]:
    """What the user is answered over every transport that the operation has."""
    told = [await over_socket(user, operation)]
    if operation.kind != "subscription":
        told.append(await over_http(user, operation))
    return told


async def answer(user: User, operation: Operation, *, patience: float = 10) -> Any:
    """What the user is answered; None where a subscription has nothing to say for `patience` seconds."""
    if operation.kind == "subscription":
        return await over_socket(user, operation, patience=patience)
    return await over_http(user, operation)


def codes(answer: Any) -> list[str]:
    return [error["extensions"]["code"] for error in (answer or {}).get("errors") or ()]


async def stored(database: Database, owner: str = "") -> list[str]:
    """All rows, or an owner's, as text."""
    rows: list[str] = []
    async with database.connection() as connection:
        for table in SQLModel.metadata.sorted_tables:
            found = await connection.scalars(text(f"select to_jsonb(t)::text from {table.name} t"))
            rows += [f"{table.name} {row}" for row in found if not owner or f'"owner_id": "{owner}"' in row]
    return sorted(rows)


FURNISH = """
mutation ($title: String!, $text: String!) {
  addTask(input: {title: $title, notes: $title}) { task { id } }
  sendMessage(input: {text: $text}) { conversation { id } message { id } reply { id } finishedReply { status } }
}
"""


async def furnish(client: Client, model: ScriptedModel) -> User:
    """Give a user one of everything, and wait until nothing is under way."""
    secret, tool_call = f"secret of {client.owner}", f"toolu_{client.owner}"
    model.script(Answer([ToolUse("tasks", {}, id=tool_call)]), say(f"Here is the {secret}."))
    made = await client.execute(FURNISH, title=secret, text=f"Tell me the {secret}.")
    sent = made["sendMessage"]
    assert sent["finishedReply"]["status"] == "COMPLETE"
    owned = {
        "conversation": sent["conversation"]["id"],
        "message": sent["reply"]["id"],
        "question": sent["message"]["id"],
        "task": made["addTask"]["task"]["id"],
        "tool call": tool_call,
    }
    return User(client, owned, secret)


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
    cursors = await _cursors(alice, way)
    assert cursors
    for cursor in cursors:
        others = await answer(robert, call(robert, way, cursor, shown))
        assert not alice.is_seen_in(others)
        if way.parent != "Query":
            # The list is one object's: another's cursor is none of it.
            assert codes(others) == ["BAD_USER_INPUT"]
            assert others["errors"][0]["message"].startswith(f"{way.path[-1]}: ")
        assert codes(await answer(alice, call(alice, way, cursor, shown), patience=0.5)) == []


async def _cursors(user: User, way: Way) -> list[str]:
    """Cursors of the user's own that this argument takes."""
    if way.parent != "Subscription":
        values = _fill(way.definition.args, f"{way.parent}.{way.field}", {}, user.owned)
        listed = await answer(user, ask(user, way.parent, way.field, values, "{ edges { cursor } }"))
        [connection] = [found for found in _dicts(listed) if "edges" in found]
        return [edge["cursor"] for edge in connection["edges"]]
    [kind] = {kind for id in IDS if id.field == way.field for kind in id.kinds}
    selection = "{ ... on Conversation { cursor } ... on Message { place: cursor } }"
    followed = await answer(user, ask(user, "Query", "node", {"id": user.owned[kind]}, selection))
    return list(followed["data"]["node"].values())


def _dicts(answer: Any) -> Iterator[dict[str, Any]]:
    if isinstance(answer, dict):
        yield answer
        for value in answer.values():
            yield from _dicts(value)


#: What is the operator's, and the same for all.
SHARED = {"models"}
OPEN = [
    name for name, field in _object("Query").fields.items() if not any(map(is_required_argument, field.args.values()))
]


@pytest.mark.parametrize("field", OPEN)
async def test_what_anyone_may_ask_shows_each_their_own(field: str, alice: User, robert: User) -> None:
    operation = ask(robert, "Query", field, {}, everything(_object("Query").fields[field].type, 4))
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
