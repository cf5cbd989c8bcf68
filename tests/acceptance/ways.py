"""Every way in that the schema has: each argument that takes an id, a cursor or a key, and a call that uses it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

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

from schema.root import create_schema
from tests.acceptance.owners import Operation, User, answer

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
        definition: GraphQLField = object_type(self.parent).fields[self.field]
        return definition

    @property
    def kinds(self) -> tuple[str, ...]:
        return _kinds(self.coordinate)

    def __str__(self) -> str:
        return f"{self.parent}.{self.field}({'.'.join(self.path)})"


def object_type(name: str) -> GraphQLObjectType:
    """The object type of this name."""
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
UUIDS = [way for way in IDS if KINDS.get(way.coordinate) != ("tool call",)]
CURSORS = [way for way in WAYS if way.path[-1] in ("after", "before") and way.type == "String"]


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
    definition = object_type(parent).fields[field]
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
    for name, field in object_type("Query").fields.items():
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


async def cursors_of(user: User, way: Way) -> list[str]:
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
