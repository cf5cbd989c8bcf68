"""Walking a conversation's tree: a branch is the way from its first message to one leaf.

Each message knows its parent and one ancestor further up, its jump, chosen so that any depth is reached in a
logarithmic number of steps (a skew-binary jump pointer). So a page in the middle of a branch of 100,000
messages costs what the last page of 20 costs.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text

from persistence.pages import Page, Window
from persistence.statements import Executor, columns, fetch, new_row
from persistence.tables import Message


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message stands: its depth, and its jump."""

    id: UUID
    depth: int
    jump_id: UUID
    jump_depth: int


@dataclass(frozen=True, slots=True)
class Branch:
    """The branch of a conversation that ends in `leaf_id`, or in its newest message.

    One that is asked for by `through_id` goes on from there by the newest versions; `find_newest_leaves` has its leaf.
    """

    conversation_id: UUID
    leaf_id: UUID | None = None
    through_id: UUID | None = None


PLACES_ABOVE = text("""
    with recursive above as (
        select id, depth, jump_id, jump_depth, 0 as hops
        from message where id = :id and conversation_id = :conversation_id
        union all
        select m.id, m.depth, m.jump_id, m.jump_depth, a.hops + 1
        from above a join message m on m.id = a.jump_id
        where a.hops < 2 and a.depth > 0
    )
    select id, depth, jump_id, jump_depth from above order by hops
""")


async def find_places_above(executor: Executor, conversation_id: UUID, message_id: UUID) -> list[Place]:
    """The message, its jump, that one's jump and so on, as far as `place_below` looks; empty if not there."""
    rows = await fetch(executor, PLACES_ABOVE, {"id": message_id, "conversation_id": conversation_id})
    return [Place(*row) for row in rows]


def place_below(above: Sequence[Place], message_id: UUID) -> Place:
    """Where a new message stands that follows the first of `above`; a first message follows none."""
    if not above:
        return Place(message_id, 0, message_id, 0)
    parent = above[0]
    jump = above[1] if len(above) > 1 else parent
    # Two jumps of equal length become one of twice the length; else a new jump of length one begins.
    if parent.depth - jump.depth == jump.depth - jump.jump_depth:
        return Place(message_id, parent.depth + 1, jump.jump_id, jump.jump_depth)
    return Place(message_id, parent.depth + 1, parent.id, parent.depth)


NEWEST_LEAVES = text("""
    with recursive down as (
        select id as top, id, 0 as hops from message where owner_id = :owner_id and id = any(:ids)
        union all
        select down.top, newest.id, down.hops + 1
        from down cross join lateral (
            select id from message where sibling_group = down.id order by role desc, created_at desc, id desc limit 1
        ) newest
    )
    select distinct on (top) top, id from down order by top, hops desc
""")


async def find_newest_leaves(executor: Executor, owner_id: str, ids: Collection[UUID]) -> dict[UUID, UUID]:
    """The leaf that is reached from each of the owner's messages by taking the newest version at every fork."""
    return dict(await fetch(executor, NEWEST_LEAVES, {"owner_id": owner_id, "ids": list(ids)}))


WALK = text(f"""
    with recursive asked as (
        select * from unnest(
            cast(:conversation_ids as uuid[]), cast(:leaf_ids as uuid[]), cast(:limits as integer[]),
            cast(:from_end as boolean[]), cast(:after as integer[]), cast(:before as integer[])
        ) with ordinality as asked (conversation_id, leaf_id, size, from_end, after, before, key)
    ), piece as (
        select
            asked.key, leaf.id, leaf.depth as leaf_depth,
            case when from_end
                then greatest(coalesce(after + 1, 0), least(leaf.depth, coalesce(before - 1, leaf.depth)) - size + 1)
                else coalesce(after + 1, 0)
            end as low,
            case when from_end
                then least(leaf.depth, coalesce(before - 1, leaf.depth))
                else least(leaf.depth, coalesce(before - 1, leaf.depth), coalesce(after + 1, 0) + size - 1)
            end as high
        from asked
        join conversation on conversation.id = asked.conversation_id and conversation.owner_id = :owner_id
        join message leaf on leaf.id = coalesce(asked.leaf_id, conversation.newest_message_id)
            and leaf.conversation_id = asked.conversation_id
    ), walk as (
        select piece.key, piece.leaf_depth, piece.low, piece.high,
            m.id, m.depth, m.parent_id, m.jump_id, m.jump_depth
        from piece join message m on m.id = piece.id
        where piece.low <= piece.high
        union all
        select walk.key, walk.leaf_depth, walk.low, walk.high,
            m.id, m.depth, m.parent_id, m.jump_id, m.jump_depth
        from walk join message m on m.id = case
            when walk.depth > walk.high and walk.jump_depth >= walk.high then walk.jump_id else walk.parent_id end
        where walk.depth > walk.low
    )
    select {columns(Message, "message.")}, walk.key, walk.leaf_depth
    from walk join message on message.id = walk.id where walk.depth <= walk.high
    order by walk.key, message.depth
""")  # noqa: S608 - a constant


async def fetch_branches(
    executor: Executor, owner_id: str, asked: Sequence[tuple[Branch, Window]]
) -> list[Page[Message]]:
    """A page of each branch, oldest first, all in one statement; a window's keys are depths.

    A branch that the owner does not have, or that is not there, gives an empty page.
    """
    windows = [window for _, window in asked]
    parameters: dict[str, Any] = {
        "owner_id": owner_id,
        "conversation_ids": [branch.conversation_id for branch, _ in asked],
        "leaf_ids": [branch.leaf_id for branch, _ in asked],
        "limits": [window.limit for window in windows],
        "from_end": [window.from_end for window in windows],
        "after": [window.after and window.after[0] for window in windows],
        "before": [window.before and window.before[0] for window in windows],
    }
    found: list[list[Message]] = [[] for _ in asked]
    leaf_depths: dict[int, int] = {}
    for *values, key, leaf_depth in await fetch(executor, WALK, parameters):
        found[key - 1].append(new_row(Message, zip(Message.model_fields, values, strict=True)))
        leaf_depths[key - 1] = leaf_depth
    return [
        Page(
            rows,
            has_previous=rows[0].depth > 0 if rows else window.after is not None,
            has_next=rows[-1].depth < leaf_depths[index] if rows else window.before is not None,
        )
        for index, (rows, window) in enumerate(zip(found, windows, strict=True))
    ]
