"""Keyset pages: a piece of an ordered list, from either end, at the same cost wherever it lies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar

from sqlalchemy import TextClause, text
from sqlmodel import SQLModel

from persistence.statements import Executor, Table, columns, fetch_rows

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Window:
    """Which piece: `limit` rows between `after` and `before` (keys, exclusive), from the end if `from_end`."""

    limit: int
    from_end: bool = False
    after: tuple[Any, ...] | None = None
    before: tuple[Any, ...] | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """The rows of a window, in list order, and whether there are more on either side."""

    rows: Sequence[Row]
    has_previous: bool
    has_next: bool


async def fetch_page(
    executor: Executor,
    table: type[Table],
    condition: str,
    parameters: Mapping[str, Any],
    window: Window,
    key: tuple[str, ...],
    *,
    descending: bool = False,
) -> Page[Table]:
    """The window's rows of a table that meet a condition in SQL, ordered by `key`, which must be unique and indexed."""
    backwards = window.from_end != descending
    # One row more than asked for tells whether there are more.
    values = {**parameters, "limit": window.limit + 1}
    bounds: tuple[tuple[str, str], ...] = ()
    for side, bound, is_lower in (("after", window.after, True), ("before", window.before, False)):
        if bound is not None:
            bounds += (("<" if is_lower == descending else ">", side),)
            values |= {f"{side}_{name}": value for name, value in zip(key, bound, strict=True)}
    statement = _page_statement(table, condition, key, backwards, bounds)
    rows = list(await fetch_rows(executor, table, statement, values))
    more = len(rows) > window.limit
    rows = rows[: window.limit]
    if window.from_end:
        return Page(rows[::-1], has_previous=more, has_next=window.before is not None)
    return Page(rows, has_previous=window.after is not None, has_next=more)


@cache
def _page_statement(
    table: type[SQLModel], condition: str, key: tuple[str, ...], backwards: bool, bounds: tuple[tuple[str, str], ...]
) -> TextClause:
    """`bounds` are comparisons of the key, each with the prefix of the parameters that it is compared with."""
    conditions = [condition]
    for comparison, prefix in bounds:
        conditions.append(f"({', '.join(key)}) {comparison} ({', '.join(f':{prefix}_{name}' for name in key)})")
    order = ", ".join(f"{name} {'desc' if backwards else 'asc'}" for name in key)
    return text(f"""
        select {columns(table)} from {table.__tablename__} where {" and ".join(conditions)}
        order by {order} limit :limit
    """)  # noqa: S608 - constants
