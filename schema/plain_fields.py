"""Fields whose value their object has at hand: they take no arguments, ask nobody, and have nothing to await."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from types import GeneratorType, NoneType
from typing import Any, NamedTuple, TypeAlias

from graphql import (
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLScalarType,
    GraphQLString,
    is_non_null_type,
)
from graphql.pyutils import UndefinedType
from strawberry.schema.schema_converter import CustomGraphQLEnumType, GraphQLCoreConverter
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.field import StrawberryField

#: The classes of values that each scalar writes without fail; there is nothing to await in them.
SCALARS: Mapping[str, tuple[type, ...]] = {
    "String": (str,),
    "ID": (str,),
    "Int": (int,),
    "Float": (float, int),
    "Boolean": (bool,),
    "DateTime": (datetime,),
    "JSON": (dict, list, str, int, float, bool),
}

Convert: TypeAlias = Callable[[Any], Any]
#: How values are written, by their class; one of any other class is not as it should be.
Writers: TypeAlias = dict[type, Convert]


class PlainField(NamedTuple):
    """A field by its name in the result: how it is read from its object, and how its value is written."""

    name: str
    read: Convert
    write: Writers


@lru_cache(maxsize=1000)
def find_reader(type: GraphQLObjectType, name: str) -> tuple[Convert, GraphQLOutputType] | None:
    """How the field of this name is read, and its type; None if it is not plain, or there is none."""
    if name == "__typename":
        return lambda source: type.name, GraphQLNonNull(GraphQLString)
    field = type.fields.get(name)
    definition = field and field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    if field is None or not isinstance(definition, StrawberryField):
        return None
    if definition.is_subscription:
        # Its events are its values; what it takes is for who makes them.
        return lambda event: event, field.type
    read = None if field.args else _find_reader(definition)
    return None if read is None else (read, field.type)


def _find_reader(field: StrawberryField) -> Convert | None:
    if field.extensions or field.default_resolver is not getattr:
        return None
    resolver = field.base_resolver
    if resolver is None:
        return attrgetter(field.python_name)
    takes_object = resolver.self_parameter or resolver.root_parameter or resolver.parent_parameter
    if resolver.is_async or not takes_object or len(resolver.signature.parameters) > 1:
        return None
    return resolver.wrapped_func  # type: ignore[return-value]


@lru_cache(maxsize=100)
def write_leaf(type: GraphQLOutputType) -> Writers | None:
    """What writes values of a scalar or an enum, or of one that is never null; None for what is not known here."""
    if is_non_null_type(type):
        return _write_leaf(type.of_type)
    writers = _write_leaf(type)
    return None if writers is None else write_nullable(writers)


def _write_leaf(type: GraphQLOutputType) -> Writers | None:
    if isinstance(type, CustomGraphQLEnumType):
        members: Iterable[Any] = type.wrapped_cls
        return {type.wrapped_cls: {member: type.coerce_output_value(member) for member in members}.__getitem__}
    if isinstance(type, GraphQLScalarType) and type.name in SCALARS:
        return dict.fromkeys(SCALARS[type.name], type.coerce_output_value)
    return None


def write_object(type: GraphQLObjectType, write: Convert, *, abstract: bool) -> Writers | None:
    """What writes objects of this type, if `write` is given one; None where nothing tells that they are of the type.

    `abstract` where another type is expected, of which this is one: then a class must say which one an object is of.
    """
    if type.is_type_of is None and not abstract:
        return _AnyObject(write)
    definition = type.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    if not isinstance(definition, StrawberryObjectDefinition) or definition.is_type_of or definition.concrete_of:
        return None
    return {definition.origin: write}


def select_fields(fields: Collection[PlainField]) -> Convert:
    """What gives these fields of an object; it raises where a value is not as it should be."""

    def write(source: object) -> dict[str, Any]:
        return {name: write[type(value := read(source))](value) for name, read, write in fields}

    return write


class _AnyObject(Writers):
    """Objects of any class, but for what is no object of the schema."""

    def __init__(self, write: Convert) -> None:
        self._write = write

    def __missing__(self, type: type) -> Convert:
        if issubclass(type, Exception | Awaitable | GeneratorType | NoneType | UndefinedType):
            raise KeyError(type)
        self[type] = self._write
        return self._write


def write_list(items: Writers) -> Writers:
    """What writes lists of such values."""

    def write(values: Iterable[Any]) -> list[Any]:
        return [items[type(value)](value) for value in values]

    return {list: write, tuple: write}


def write_nullable(values: Writers) -> Writers:
    """The same, for null too."""
    values[NoneType] = _write_null
    return values


def _write_null(value: None) -> None:
    return None
