"""Relay connections: how a page is asked for and answered."""

from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

import strawberry

from persistence.pages import Page, Window
from resolvers.errors import BadUserInput

Node = TypeVar("Node")
Row = TypeVar("Row")

DEFAULT_SIZE, LARGEST_SIZE = 20, 100


@strawberry.type
class PageInfo:
    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


def _write_cursor(root: strawberry.Parent["Edge[Any]"]) -> str:
    return root.write_cursor()


@strawberry.type
class Edge(Generic[Node]):
    cursor: str = strawberry.field(resolver=_write_cursor)
    node: Node
    write_cursor: strawberry.Private[Callable[[], str]]


@strawberry.type
class Connection(Generic[Node]):
    edges: list[Edge[Node]]
    page_info: PageInfo


def read_window(
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
    read_cursor: Callable[[str, str], tuple[object, ...]],
    *,
    default_from_end: bool = False,
) -> Window:
    """The window that the four arguments of a connection name. Raises `BadUserInput`."""
    if first is not None and last is not None:
        raise BadUserInput("last", "cannot be combined with first")
    for argument, size in (("first", first), ("last", last)):
        if size is not None and not 1 <= size <= LARGEST_SIZE:
            raise BadUserInput(argument, f"must be between 1 and {LARGEST_SIZE}")
    asked = first if first is not None else last
    return Window(
        limit=asked if asked is not None else DEFAULT_SIZE,
        from_end=last is not None or (default_from_end and first is None),
        after=None if after is None else read_cursor("after", after),
        before=None if before is None else read_cursor("before", before),
    )


def connect(
    page: Page[Row],
    write_cursor: Callable[[Row], str],
    convert: Callable[[Row], Node],
) -> Connection[Node]:
    """The page as a connection of converted rows."""
    edges = [Edge(node=convert(row), write_cursor=partial(write_cursor, row)) for row in page.rows]
    info = PageInfo(
        has_next_page=page.has_next,
        has_previous_page=page.has_previous,
        start_cursor=edges[0].write_cursor() if edges else None,
        end_cursor=edges[-1].write_cursor() if edges else None,
    )
    return Connection(edges=edges, page_info=info)
