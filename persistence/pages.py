"""Keyset pages: a piece of an ordered list, from either end, at the same cost wherever it lies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import literal, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped
from sqlmodel.sql.expression import SelectOfScalar

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
    session: AsyncSession,
    query: SelectOfScalar[Row],
    window: Window,
    key: Sequence[Mapped[Any]],
    *,
    descending: bool = False,
) -> Page[Row]:
    """The window's rows of `query`, ordered by `key`, which must be unique and indexed."""
    columns = tuple_(*key)
    for bound, is_lower in ((window.after, True), (window.before, False)):
        if bound is not None:
            values = tuple_(*(literal(value) for value in bound))
            query = query.where(columns < values if is_lower == descending else columns > values)
    backwards = window.from_end != descending
    order = [column.desc() if backwards else column.asc() for column in key]
    # One row more than asked for tells whether there are more.
    rows = list((await session.scalars(query.order_by(*order).limit(window.limit + 1))).all())
    more = len(rows) > window.limit
    rows = rows[: window.limit]
    if window.from_end:
        return Page(rows[::-1], has_previous=more, has_next=window.before is not None)
    return Page(rows, has_previous=window.after is not None, has_next=more)
