"""The printed schema holds the whole contract: it may add, never take away."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from graphql import DocumentNode, parse, print_ast

from schema.root import create_schema

ROOT = Path(__file__).parent.parent.parent


def definitions(document: DocumentNode) -> dict[str, Any]:
    return {definition.name.value: definition for definition in document.definitions}  # type: ignore[attr-defined]


CONTRACT = definitions(parse((ROOT / "tests" / "contract.graphql").read_text()))
OURS = definitions(parse(create_schema().as_str()))


def promises(definition: Any) -> Iterator[str]:
    """Everything a client can rely on in one definition, a line each."""
    name = definition.name.value
    yield f"{definition.kind} {name}"
    for interface in getattr(definition, "interfaces", None) or ():
        yield f"{name} implements {interface.name.value}"
    for member in getattr(definition, "types", None) or ():
        yield f"{name} = {member.name.value}"
    for value in getattr(definition, "values", None) or ():
        yield f"{name}.{value.name.value}"
    for field in getattr(definition, "fields", None) or ():
        yield f"{name}.{_typed(field)}"
        for argument in getattr(field, "arguments", None) or ():
            yield f"{name}.{field.name.value}({_typed(argument)})"


def _typed(node: Any) -> str:
    default = getattr(node, "default_value", None)
    return f"{node.name.value}: {print_ast(node.type)}" + (f" = {print_ast(default)}" if default else "")


@pytest.mark.parametrize("name", CONTRACT)
def test_the_schema_holds_this_definition_of_the_contract(name: str) -> None:
    assert set(promises(CONTRACT[name])) - set(promises(OURS[name])) == set()


@pytest.mark.parametrize("name", CONTRACT)
def test_nothing_that_we_add_to_a_definition_is_required_of_a_client(name: str) -> None:
    added = set(promises(OURS[name])) - set(promises(CONTRACT[name]))
    if CONTRACT[name].kind == "input_object_type_definition":
        assert not [line for line in added if line.endswith("!")]
    assert not [line for line in added if line.endswith("!)")]


def test_every_room_resolves_inside_this_checkout() -> None:
    import agent
    import persistence
    import resolvers
    import runs
    import schema
    import server

    for room in (agent, persistence, resolvers, runs, schema, server):
        assert room.__file__ is not None
        assert Path(room.__file__).parent.parent == ROOT
