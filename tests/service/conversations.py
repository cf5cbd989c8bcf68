"""Conversations as tests make, change, read and list them."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text

from persistence.database import Database
from tests.client import Client

CREATE = """
mutation ($title: String) { createConversation(input: {title: $title}) { conversation { ...all } } }
fragment all on Conversation {
  id title createdAt updatedAt archivedAt
  usage { inputTokens outputTokens cacheReadTokens cacheWriteTokens }
  messages { edges { node { id } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } }
}
"""

UPDATE = """
mutation ($input: UpdateConversationInput!) {
  updateConversation(input: $input) { conversation { id title updatedAt archivedAt } }
}
"""
DELETE = "mutation ($id: ID!) { deleteConversation(input: {id: $id}) { deletedId } }"

READ = """
query ($id: ID!) { conversation(id: $id) {
  id title updatedAt archivedAt usage { inputTokens outputTokens cacheReadTokens cacheWriteTokens }
} }
"""

LIST = """
query ($first: Int, $after: String, $last: Int, $before: String, $search: String, $archived: Boolean! = false) {
  conversations(
    first: $first, after: $after, last: $last, before: $before, search: $search, archived: $archived
  ) {
    edges { cursor node { id title updatedAt archivedAt } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""
TASK = "task { id title notes done createdAt updatedAt }"
Read = Callable[..., Awaitable[dict[str, Any]]]


async def create(client: Client, title: str | None = None) -> str:
    """A new conversation's id."""
    data = await client.execute(CREATE, title=title)
    return str(data["createConversation"]["conversation"]["id"])


async def update(client: Client, id: str, **changes: Any) -> dict[str, Any]:
    """The conversation after it was changed."""
    data = await client.execute(UPDATE, input={"id": id, **changes})
    conversation: dict[str, Any] = data["updateConversation"]["conversation"]
    return conversation


async def read(client: Client, id: str) -> dict[str, Any]:
    """The conversation as it is stored."""
    conversation: dict[str, Any] = (await client.execute(READ, id=id))["conversation"]
    return conversation


async def list_titles(client: Client, **arguments: Any) -> list[str]:
    """The titles on one page of conversations."""
    edges = (await client.execute(LIST, **arguments))["conversations"]["edges"]
    return [edge["node"]["title"] for edge in edges]


def lister(client: Client, **fixed: Any) -> Read:
    """Reads pages of the list of conversations."""

    async def read_page(**window: Any) -> dict[str, Any]:
        page: dict[str, Any] = (await client.execute(LIST, **fixed, **window))["conversations"]
        return page

    return read_page


async def walk(
    read_page: Read, size: int, *, backwards: bool, between: Callable[[], Awaitable[Any]] | None = None
) -> list[dict[str, Any]]:
    """All nodes in list order, read page by page; no page is empty and each tells truly whether there is more."""
    ahead, behind, end = ("Previous", "Next", "startCursor") if backwards else ("Next", "Previous", "endCursor")
    nodes: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = await read_page(**({"last": size, "before": cursor} if backwards else {"first": size, "after": cursor}))
        info, edges = page["pageInfo"], page["edges"]
        assert info[f"has{behind}Page"] is (cursor is not None)
        assert 1 <= len(edges) <= size
        assert [info["startCursor"], info["endCursor"]] == [edges[0]["cursor"], edges[-1]["cursor"]]
        found = [edge["node"] for edge in edges]
        nodes = found + nodes if backwards else nodes + found
        if not info[f"has{ahead}Page"]:
            return nodes
        cursor = info[end]
        if between is not None:
            await between()


async def insert_conversations(database: Database, owner: str, count: int, *, archived: bool = False) -> list[str]:
    """Conversations of which five at a time share their moment of activity; gives their ids in list order."""
    ids = [uuid4() for _ in range(count)]
    statement = text("""
        insert into conversation (id, owner_id, title, updated_at, archived_at)
        values (:id, :owner, :title, timestamptz '2020-01-01' + make_interval(secs => :second),
            case when :archived then now() end)
    """)
    rows = [
        {"id": id, "owner": owner, "title": f"{n:02}", "second": n // 5, "archived": archived}
        for n, id in enumerate(ids)
    ]
    async with database.connection() as connection:
        await connection.execute(statement, rows)

    def newest_first(n: int) -> tuple[int, UUID]:
        return n // 5, ids[n]

    return [str(ids[n]) for n in sorted(range(count), key=newest_first, reverse=True)]
