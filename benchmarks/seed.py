"""Fills a database fast with conversations as the server would have stored them."""

import argparse
import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from persistence.branches import Place, place_below
from persistence.database import Database
from server.settings import load_settings

#: Words of a question and of a reply; texts of each kind that differ; words to choose from.
_QUESTION_WORDS, _REPLY_WORDS, _TEXTS, _VOCABULARY = 12, 48, 500, 5000
#: From this many messages on, building their search index anew is faster than adding to it.
_MANY = 10_000


@dataclass(frozen=True)
class Amount:
    """How much: the messages are spread evenly, question and reply in turn; owners are `user0`, `user1`, …"""

    conversations: int
    messages: int
    owners: int = 1

    @property
    def depth(self) -> int:
        """Messages of each conversation: at least a question and its reply."""
        return max(2, self.messages // self.conversations // 2 * 2)


# Version 7, as `new_id` makes them: by time, so that a conversation's messages lie side by side in the index.
_MAKE_IDENTIFIER = """
    create function pg_temp.identifier(number bigint, moment timestamptz, place integer) returns uuid
    language sql immutable
    return (
        lpad(to_hex((extract(epoch from moment) * 1000)::bigint), 12, '0')
        || '7' || lpad(to_hex(place & 4095), 3, '0') || '8' || lpad(to_hex(number), 15, '0')
    )::uuid
"""
# Oldest first, one a minute; one with n messages has its newest message n × 10 ms later.
_MAKE_PLAN = """
    create temporary table plan on commit drop as
    select
        number, 'user' || (number % :owners) as owner_id, moment,
        pg_temp.identifier(number, moment, 4095) as id
    from (
        select (select count(*) from conversation) + n as number,
            date_trunc('milliseconds', now()) - (:conversations - n) * interval '1 minute' as moment
        from generate_series(0, :conversations - 1) as n
    ) as numbered
"""
_INSERT_CONVERSATIONS = """
    insert into conversation (
        id, owner_id, title, created_at, updated_at, newest_message_id, revision, changed_revision,
        input_tokens, output_tokens
    )
    select
        id, owner_id, 'Conversation number ' || number, moment, moment + (:depth - 1) * interval '10 ms',
        pg_temp.identifier(number, moment + (:depth - 1) * interval '10 ms', :depth - 1),
        :depth, 1, :depth * 50, :depth * 40
    from plan
"""
_INSERT_MESSAGES = """
    insert into message (
        id, conversation_id, owner_id, parent_id, depth, jump_id, jump_depth, role, status, parts, attempt,
        model, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens,
        added_revision, changed_revision, created_at, finished_at, search
    )
    select
        pg_temp.identifier(number, moment + depth * interval '10 ms', depth), id, owner_id,
        case when depth > 0 then pg_temp.identifier(number, moment + (depth - 1) * interval '10 ms', depth - 1) end,
        depth, pg_temp.identifier(number, moment + jump_depth * interval '10 ms', jump_depth), jump_depth,
        case when asks then 'USER' else 'ASSISTANT' end, 'COMPLETE',
        json_build_array(json_build_object('type', 'text', 'text', body)), case when asks then 0 else 1 end,
        case when not asks then 'claude-stand-in' end,
        case when not asks then 100 end, case when not asks then 80 end,
        case when not asks then 0 end, case when not asks then 0 end,
        depth + 1, depth + 1, moment + depth * interval '10 ms', moment + depth * interval '10 ms',
        searchable(owner_id, body)
    from plan
    cross join unnest(cast(:jump_depths as integer[])) with ordinality as jumps (jump_depth, ordinal)
    cross join lateral (select (ordinal - 1)::integer as depth, ordinal % 2 = 1 as asks) as place
    cross join lateral (
        select (case when asks then cast(:questions as text[]) else cast(:replies as text[]) end)
            [1 + (number * 7919 + depth) % :texts] || ' conversation' || number as body
    ) as spoken
"""
_SEARCH_INDEX = "select indexdef from pg_indexes where indexname = 'message_search'"


async def seed(url: str, amount: Amount) -> None:
    """Add the conversations to the migrated database at this URL (SQLAlchemy's)."""
    # Not the server's own engine: a server's statement may not take as long as these do.
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            await _insert(connection, amount)
        async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            await connection.execute(text("vacuum (analyze) conversation, message"))
            await connection.execute(text("checkpoint"))
    finally:
        await engine.dispose()


async def _insert(connection: AsyncConnection, amount: Amount) -> None:
    words = random.Random(7)  # noqa: S311 - the same texts each time
    parameters = {
        "conversations": amount.conversations,
        "owners": amount.owners,
        "depth": amount.depth,
        "jump_depths": jump_depths(amount.depth),
        "texts": _TEXTS,
        "questions": [_write_text(words, _QUESTION_WORDS) for _ in range(_TEXTS)],
        "replies": [_write_text(words, _REPLY_WORDS) for _ in range(_TEXTS)],
    }
    index = await connection.scalar(text(_SEARCH_INDEX)) if amount.messages >= _MANY else None
    if index is not None:
        await connection.execute(text("drop index message_search"))
    for statement in (_MAKE_IDENTIFIER, _MAKE_PLAN, _INSERT_CONVERSATIONS, _INSERT_MESSAGES):
        await connection.execute(text(statement), parameters)
    if index is not None:
        await connection.execute(text(index))


def jump_depths(length: int) -> list[int]:
    """The depths to which the messages of an unbranched conversation jump, from the first to the last."""
    places: list[Place] = []
    for depth in range(length):
        above: Sequence[Place] = ()
        if depth:
            parent = places[-1]
            above = (parent, places[parent.jump_depth])
        places.append(place_below(above, UUID(int=depth)))
    return [place.jump_depth for place in places]


def _write_text(words: random.Random, length: int) -> str:
    return " ".join(f"word{words.randrange(_VOCABULARY)}" for _ in range(length))


async def _seed_from_settings(amount: Amount) -> None:
    url = load_settings().database_url
    if url is None:
        raise SystemExit("LOQUENT_DATABASE_URL is missing: where PostgreSQL is")
    database = Database(url)
    try:
        await database.migrate()
    finally:
        await database.close()
    await seed(url, amount)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.seed", description="Fill the database LOQUENT_DATABASE_URL.")
    parser.add_argument("--conversations", type=int, default=100_000)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--owners", type=int, default=1000)
    chosen = parser.parse_args()
    asyncio.run(_seed_from_settings(Amount(chosen.conversations, chosen.messages, chosen.owners)))


if __name__ == "__main__":
    main()
