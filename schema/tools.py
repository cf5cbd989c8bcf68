"""Fields of the schema as tools of the agent: a tool is a field that is marked with `offered`.

A call runs as a GraphQL operation of the owner, through the same resolvers and checks as any client's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import strawberry
from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLType,
    Undefined,
    get_named_type,
    is_leaf_type,
    is_object_type,
    is_required_argument,
    is_required_input_field,
)

from agent.tools import Tool, ToolFailed
from schema.context import RequestContext

#: How deep a tool's result goes into the types that its field leads to.
RESULT_DEPTH = 4


@dataclass(frozen=True, slots=True)
class Offer:
    """How a field is offered to the agent."""

    description: str
    repeatable: bool
    needs_approval: bool


def offered(description: str, *, repeatable: bool = False, needs_approval: bool = False) -> dict[str, Offer]:
    """Metadata that makes a field a tool.

    `repeatable` if doing it twice is as good as once; `needs_approval` if the user must agree to each call.
    """
    return {"tool": Offer(description, repeatable, needs_approval)}


@dataclass(frozen=True, slots=True)
class _ToolField:
    name: str
    offer: Offer
    #: Whether the field takes one `input` object, whose fields are then the tool's parameters.
    takes_input: bool
    parameters: dict[str, Any]
    document: str


class Toolbox:
    """All tools of a schema, for any owner."""

    def __init__(self, schema: strawberry.Schema, context: Callable[[str], RequestContext]) -> None:
        self._schema = schema
        self._context = context
        self._fields = list(_tool_fields(schema))

    def tools_of(self, owner_id: str) -> Sequence[Tool]:
        """The tools, each acting for this owner."""
        return [
            Tool(
                name=field.name,
                description=field.offer.description,
                parameters=field.parameters,
                call=partial(self._call, field, owner_id),
                repeatable=field.offer.repeatable,
                needs_approval=field.offer.needs_approval,
            )
            for field in self._fields
        ]

    async def _call(self, field: _ToolField, owner_id: str, parameters: Mapping[str, Any]) -> Any:
        if unknown := parameters.keys() - field.parameters["properties"].keys():
            raise ToolFailed("BAD_USER_INPUT", f"Unknown parameters: {', '.join(sorted(unknown))}.")
        result = await self._schema.execute(
            field.document,
            variable_values={"input": dict(parameters)} if field.takes_input else dict(parameters),
            context_value=self._context(owner_id),
        )
        if result.errors:
            error = result.errors[0]
            raise ToolFailed((error.extensions or {}).get("code", "INTERNAL_SERVER_ERROR"), error.message)
        assert result.data is not None
        return result.data[field.name]


def _tool_fields(schema: strawberry.Schema) -> Sequence[_ToolField]:
    graphql = schema._schema
    return [
        _tool_field(operation, name, field, offer)
        for operation, root in (("query", graphql.query_type), ("mutation", graphql.mutation_type))
        if root is not None
        for name, field in root.fields.items()
        if (offer := field.extensions["strawberry-definition"].metadata.get("tool"))
    ]


def _tool_field(operation: str, name: str, field: GraphQLField, offer: Offer) -> _ToolField:
    variables = ", ".join(f"${argument}: {given.type}" for argument, given in field.args.items())
    arguments = ", ".join(f"{argument}: ${argument}" for argument in field.args)
    takes_input = list(field.args) == ["input"]
    parameters = _input_schema(field.args["input"].type) if takes_input else _object_schema(field.args)
    return _ToolField(
        name,
        offer,
        takes_input,
        parameters,
        f"{operation} {name}({variables}) {{ {name}({arguments}) {_selection(field.type, RESULT_DEPTH)} }}",
    )


def _selection(type: GraphQLOutputType, depth: int) -> str:
    """Every field below a type that needs no arguments, down to a depth."""
    named = get_named_type(type)
    if not isinstance(named, GraphQLObjectType):
        return ""
    chosen = []
    for name, field in named.fields.items():
        inner = get_named_type(field.type)
        if any(is_required_argument(argument) for argument in field.args.values()):
            continue
        if is_leaf_type(inner):
            chosen.append(name)
        elif is_object_type(inner) and depth > 1:
            chosen.append(f"{name} {_selection(field.type, depth - 1)}")
    return f"{{ {' '.join(chosen)} }}"


_SCALARS = {"Int": "integer", "Float": "number", "Boolean": "boolean"}


def _input_schema(type: GraphQLType) -> dict[str, Any]:
    """The JSON Schema of a GraphQL input type."""
    match type:
        case GraphQLNonNull():
            return _input_schema(type.of_type)
        case GraphQLList():
            return {"type": "array", "items": _input_schema(type.of_type)}
        case GraphQLEnumType():
            return {"type": "string", "enum": list(type.values)}
        case GraphQLInputObjectType():
            return _object_schema(type.fields)
        case _:
            return {"type": _SCALARS.get(str(type), "string")}


def _object_schema(
    fields: Mapping[str, GraphQLArgument] | Mapping[str, GraphQLInputField],
) -> dict[str, Any]:
    properties = {}
    for name, field in fields.items():
        properties[name] = _input_schema(field.type)
        if field.description:
            properties[name]["description"] = field.description
        if field.default_value is not Undefined and field.default_value is not None:
            properties[name]["default"] = field.default_value
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name, field in fields.items() if _is_required(field)],
        "additionalProperties": False,
    }


def _is_required(field: GraphQLArgument | GraphQLInputField) -> bool:
    if isinstance(field, GraphQLArgument):
        return is_required_argument(field)
    return is_required_input_field(field)
