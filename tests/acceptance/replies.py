"""Replies that tests ask for and read to their end, and what was asked of the model for them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text

from agent.stand_in.answers import Text
from persistence.database import Database
from tests.client import Client, Reading, Sent

SENTENCE = Text("one two three four")


@dataclass(frozen=True)
class Watched:
    """A reply that was read live to its end, and as it was saved."""

    sent: Sent
    live: Reading
    saved: dict[str, Any]

    @property
    def status(self) -> str:
        return str(self.saved["status"])

    @property
    def text(self) -> str:
        return str(self.saved["text"])

    @property
    def error(self) -> tuple[str, bool] | None:
        """Code, and whether the same question may be asked again."""
        error = self.saved["error"]
        return error and (error["code"], error["retryable"])

    @property
    def calls(self) -> list[dict[str, Any]]:
        return [part for part in self.saved["parts"] if part["__typename"] == "ToolCallPart"]

    @property
    def told(self) -> list[str]:
        """The kinds of events, a row of deltas as one."""
        kinds = [str(event["__typename"]) for event in self.live.events]
        return [kind for index, kind in enumerate(kinds) if kinds[index - 1 : index] != [kind]]


async def watch(client: Client, question: str, **more: Any) -> Watched:
    """Ask, and read the reply live; what was streamed must be what is saved."""
    async with asyncio.timeout(60):
        sent = await client.send(question, **more)
        live = await client.read(sent.reply)
        saved = await client.message(sent.reply)
    assert live.text == saved["text"]
    assert live.finished == {
        "id": sent.reply,
        "status": saved["status"],
        "text": saved["text"],
        "error": saved["error"] and {key: saved["error"][key] for key in ("code", "retryable")},
    }
    return Watched(sent, live, saved)


async def ask_on(client: Client, before: Watched) -> Watched:
    """Ask once more in the same conversation."""
    return await watch(client, "And now?", conversationId=before.sent.conversation)


async def stop(client: Client, message_id: str) -> dict[str, Any]:
    """Stop a reply; gives it as the user is told."""
    data = await client.execute(
        "mutation ($id: ID!) { stopMessage(input: {messageId: $id}) { message { id status text } } }", id=message_id
    )
    message: dict[str, Any] = data["stopMessage"]["message"]
    return message


async def add_task(client: Client, title: str) -> str:
    """A new task's id."""
    data = await client.execute("mutation ($t: String!) { addTask(input: {title: $t}) { task { id } } }", t=title)
    return str(data["addTask"]["task"]["id"])


async def list_tasks(client: Client) -> list[tuple[str, bool]]:
    """Title and whether done, of each task."""
    data = await client.execute("{ tasks { edges { node { title done } } } }")
    return [(edge["node"]["title"], edge["node"]["done"]) for edge in data["tasks"]["edges"]]


@asynccontextmanager
async def task_locked(database: Database, task_id: str) -> AsyncIterator[None]:
    """Hold a task's row, so that a tool call that changes it has to wait."""
    async with database.transaction() as session:
        await session.execute(text("select from task where id = :id for update"), {"id": UUID(task_id)})
        yield


USAGE = "usage { inputTokens outputTokens cacheReadTokens cacheWriteTokens }"


async def spent(client: Client) -> dict[str, int]:
    """Today's tokens of a user."""
    usage: dict[str, int] = (await client.execute(f"{{ viewer {{ {USAGE} }} }}"))["viewer"]["usage"]
    return usage


def blocks(request: dict[str, Any], type: str) -> list[dict[str, Any]]:
    """All blocks of a kind in the messages of a request."""
    return [block for message in request["messages"] for block in message["content"] if block["type"] == type]


def texts(request: dict[str, Any]) -> list[str]:
    """All texts in the messages of a request."""
    return [block["text"] for block in blocks(request, "text")]


def results(request: dict[str, Any]) -> list[tuple[bool, Any]]:
    """What the tools of the step before gave back: whether each failed, and its JSON."""
    content = request["messages"][-1]["content"]
    return [(block["is_error"], orjson.loads(block["content"])) for block in content if block["type"] == "tool_result"]
