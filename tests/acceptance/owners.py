"""Users with one of everything: what they are answered over each transport, and what is stored of theirs."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlmodel import SQLModel

from agent.stand_in.answers import Answer, ToolUse
from persistence.database import Database
from tests.client import Client, GraphQLFailed
from tests.model import ScriptedModel, say


@dataclass
class User:
    """A user with one of everything; all their texts have `secret` in them."""

    client: Client
    owned: dict[str, str]
    secret: str

    def is_seen_in(self, answer: object) -> bool:
        """Whether an answer has an id or a word of theirs."""
        shown = json.dumps(answer)
        return any(own in shown for own in (*self.owned.values(), self.secret))


@dataclass(frozen=True)
class Operation:
    """A document with its variables; `kind` is query, mutation or subscription."""

    kind: str
    document: str
    variables: dict[str, Any]


async def over_http(user: User, operation: Operation) -> Any:
    """The body, with the status of the response as `status`."""
    body = {"query": operation.document, "variables": operation.variables}
    response = await user.client.http.post("/graphql", json=body)
    return _unplaced(response.json()) | {"status": response.status_code}


async def over_socket(user: User, operation: Operation, *, patience: float = 10) -> Any:
    """The first result over a WebSocket; None where nothing comes for `patience` seconds."""
    async with user.client.socket() as socket:
        results = socket.subscribe(operation.document, operation.variables)
        try:
            async with asyncio.timeout(patience):
                async for data in results:
                    return {"data": data}
                return {"data": None}
        except TimeoutError:
            return None
        except GraphQLFailed as failure:
            return _unplaced({"errors": failure.errors})
        finally:
            await results.aclose()


def _unplaced(body: dict[str, Any]) -> dict[str, Any]:
    """The answer without the places of its errors."""
    for error in body.get("errors") or ():
        error.pop("path", None)
        error.pop("locations", None)
    return body


async def over_both(user: User, operation: Operation) -> list[Any]:
    """What the user is answered over every transport that the operation has."""
    told = [await over_socket(user, operation)]
    if operation.kind != "subscription":
        told.append(await over_http(user, operation))
    return told


async def answer(user: User, operation: Operation, *, patience: float = 10) -> Any:
    """What the user is answered; None where a subscription has nothing to say for `patience` seconds."""
    if operation.kind == "subscription":
        return await over_socket(user, operation, patience=patience)
    return await over_http(user, operation)


def codes(answer: Any) -> list[str]:
    """The codes of the errors in an answer."""
    return [error["extensions"]["code"] for error in (answer or {}).get("errors") or ()]


async def stored(database: Database, owner: str = "") -> list[str]:
    """All rows, or an owner's, as text."""
    rows: list[str] = []
    async with database.connection() as connection:
        for table in SQLModel.metadata.sorted_tables:
            found = await connection.scalars(text(f"select to_jsonb(t)::text from {table.name} t"))
            rows += [f"{table.name} {row}" for row in found if not owner or f'"owner_id": "{owner}"' in row]
    return sorted(rows)


FURNISH = """
mutation ($title: String!, $text: String!) {
  addTask(input: {title: $title, notes: $title}) { task { id } }
  sendMessage(input: {text: $text}) { conversation { id } message { id } reply { id } finishedReply { status } }
}
"""


async def furnish(client: Client, model: ScriptedModel) -> User:
    """Give a user one of everything, and wait until nothing is under way."""
    secret, tool_call = f"secret of {client.owner}", f"toolu_{client.owner}"
    model.script(Answer([ToolUse("tasks", {}, id=tool_call)]), say(f"Here is the {secret}."))
    made = await client.execute(FURNISH, title=secret, text=f"Tell me the {secret}.")
    sent = made["sendMessage"]
    assert sent["finishedReply"]["status"] == "COMPLETE"
    owned = {
        "conversation": sent["conversation"]["id"],
        "message": sent["reply"]["id"],
        "question": sent["message"]["id"],
        "task": made["addTask"]["task"]["id"],
        "tool call": tool_call,
    }
    return User(client, owned, secret)
