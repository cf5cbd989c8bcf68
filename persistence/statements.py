"""Executing a statement as it stands: by the driver alone, which costs a fifth, or in a session."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias, TypeVar

import orjson
from asyncpg import Connection
from sqlalchemy import JSON, TextClause
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlmodel import SQLModel, select

#: Where statements are executed: a connection of the driver (`Database.driver`), or what SQLAlchemy has.
Executor: TypeAlias = "Connection[Any] | AsyncConnection | AsyncSession"

Table = TypeVar("Table", bound=SQLModel)


@dataclass(frozen=True, slots=True)
class CompiledStatement:
    """A statement in the words of the driver, which counts its parameters."""

    sql: str
    #: For each parameter its name, and whether it is written as JSON.
    parameters: tuple[tuple[str, bool], ...]


@cache
def compile_statement(statement: TextClause) -> CompiledStatement:
    """The statement for the driver, worked out once."""
    compiled: Any = statement.compile(dialect=dialect())  # type: ignore[no-untyped-call]
    names = compiled.positiontup or ()
    parameters = tuple((name, isinstance(compiled.binds[name].type, JSON)) for name in names)
    return CompiledStatement(str(compiled), parameters)


async def fetch(executor: Executor, statement: TextClause, parameters: Mapping[str, Any]) -> Sequence[Any]:
    """What the statement gives, as tuples whose fields have names."""
    if isinstance(executor, AsyncConnection | AsyncSession):
        result: Any = await executor.execute(statement, parameters)
        return result.all() if result.returns_rows else ()
    compiled = compile_statement(statement)
    values = [
        orjson.dumps(parameters[name]).decode() if is_json else parameters[name]
        for name, is_json in compiled.parameters
    ]
    return await executor.fetch(compiled.sql, *values)


async def fetch_rows(
    executor: Executor, table: type[Table], statement: TextClause, parameters: Mapping[str, Any]
) -> Sequence[Table]:
    """The rows of a table that the statement gives: it must name all `columns` of the table, in this order."""
    if isinstance(executor, AsyncSession):
        return (await executor.scalars(select(table).from_statement(statement), parameters)).all()
    names = tuple(table.model_fields)
    return [new_row(table, zip(names, record, strict=False)) for record in await fetch(executor, statement, parameters)]


def columns(table: type[SQLModel], alias: str = "") -> str:
    """The columns of a table's rows, as a list in SQL."""
    return ", ".join(f"{alias}{name}" for name in table.model_fields)


def new_row(table: type[Table], values: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> Table:
    """A row of no session, and for none, which must be given a value for every column.

    It has nothing of what the mapper notes of rows that it loads: the class itself takes a hundred times as long.
    """
    row: Table = table.__new__(table)
    row.__dict__.update(values)
    return row


def set_values(row: SQLModel, **values: Any) -> None:
    """Note what a statement has made of a row's columns."""
    row.__dict__.update(values)
