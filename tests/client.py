"""A client as a front end has one: GraphQL over HTTP and over a real WebSocket."""

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from server.auth import issue_token
from tests.model import SECRET

STREAM = """
subscription Stream($messageId: ID!, $after: String) {
  messageStream(messageId: $messageId, after: $after) {
    __typename
    cursor
    ... on TextDelta { part offset text }
    ... on ReasoningDelta { part offset text }
    ... on ToolCallStarted { part toolCall { ...call } }
    ... on ToolCallAwaitingApproval { part toolCall { ...call } }
    ... on ToolCallFinished { part toolCall { ...call } }
    ... on StreamRestarted { part }
    ... on MessageFinished { message { id status text error { code retryable } } }
  }
}
fragment call on ToolCallPart { id tool parameters status result }
"""

SEND = """
mutation Send($input: SendMessageInput!) {
  sendMessage(input: $input) {
    conversation { id title }
    message { id text role status parent { id } }
    reply { id status cursor parent { id } }
  }
}
"""


class GraphQLFailed(Exception):
    """An answer with errors; `codes` has the code of each."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__(json.dumps(errors))
        self.errors = errors
        self.codes = [error.get("extensions", {}).get("code") for error in errors]


@dataclass
class Sent:
    """What `sendMessage` answered."""

    conversation: str
    message: str
    reply: str


@dataclass
class Reading:
    """A reply as a front end builds it from events; a delta says where it goes."""

    texts: dict[int, str] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    cursor: str | None = None
    finished: dict[str, Any] | None = None

    def take(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        self.cursor = event["cursor"]
        match event["__typename"]:
            case "TextDelta":
                before = _utf16_prefix(self.texts.get(event["part"], ""), event["offset"])
                self.texts[event["part"]] = before + event["text"]
            case "StreamRestarted":
                self.texts = {part: text for part, text in self.texts.items() if part < event["part"]}
            case "MessageFinished":
                self.finished = event["message"]

    @property
    def text(self) -> str:
        return "".join(self.texts[part] for part in sorted(self.texts))


def _utf16_prefix(text: str, units: int) -> str:
    encoded = text.encode("utf-16-le")
    assert len(encoded) >= 2 * units, "a delta lies beyond the text before it: something was lost"
    return encoded[: 2 * units].decode("utf-16-le")


class Socket:
    """One WebSocket with the graphql-transport-ws protocol."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self._ids = itertools.count(1)
        self._inboxes: dict[str, asyncio.Queue[dict[str, Any] | None]] = {}
        self._reader = asyncio.create_task(self._read())

    async def send(self, message: Any) -> None:
        await self.connection.send(json.dumps(message))

    async def subscribe(self, query: str, variables: dict[str, Any] | None = None) -> AsyncGenerator[dict[str, Any]]:
        """The `data` of each result; raises `GraphQLFailed` for errors, ConnectionClosed with the socket."""
        id = str(next(self._ids))
        inbox = self._inboxes[id] = asyncio.Queue()
        await self.send({"id": id, "type": "subscribe", "payload": {"query": query, "variables": variables}})
        ended = False
        try:
            while True:
                message = await inbox.get()
                if message is None:
                    ended = True
                    raise ConnectionClosed(None, None)
                if message["type"] == "complete":
                    ended = True
                    return
                if message["type"] == "error":
                    ended = True
                    raise GraphQLFailed(message["payload"])
                if message["payload"].get("errors"):
                    raise GraphQLFailed(message["payload"]["errors"])
                yield message["payload"]["data"]
        finally:
            del self._inboxes[id]
            if not ended:
                await self.send({"id": id, "type": "complete"})

    async def _read(self) -> None:
        try:
            async for text in self.connection:
                message = json.loads(text)
                if inbox := self._inboxes.get(message.get("id")):
                    inbox.put_nowait(message)
        finally:
            for inbox in self._inboxes.values():
                inbox.put_nowait(None)


class Client:
    """One user of a server at `url`."""

    def __init__(self, url: str, owner: str = "ann", *, lifetime: float = 3600) -> None:
        self.url = url
        self.owner = owner
        self.token = issue_token(SECRET, owner, lifetime)
        self.http = httpx2.AsyncClient(base_url=url, headers=self.headers, timeout=30)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    async def execute(self, query: str, /, **variables: Any) -> dict[str, Any]:
        """The `data` of an operation; raises `GraphQLFailed` where there are errors."""
        response = await self.http.post("/graphql", json={"query": query, "variables": variables})
        body = response.json()
        if body.get("errors"):
            raise GraphQLFailed(body["errors"])
        data: dict[str, Any] = body["data"]
        return data

    async def send(self, text: str, **more: Any) -> Sent:
        payload = (await self.execute(SEND, input={"text": text, **more}))["sendMessage"]
        return Sent(payload["conversation"]["id"], payload["message"]["id"], payload["reply"]["id"])

    async def ask(self, text: str, **more: Any) -> tuple[Sent, dict[str, Any]]:
        """Send and wait for the whole reply: text, status, parts, error."""
        sent = await self.send(text, **more)
        return sent, await self.finished(sent.reply)

    async def finished(self, message_id: str) -> dict[str, Any]:
        """The message once it has finished, read by its stream and then by a query."""
        await self.read(message_id)
        return await self.message(message_id)

    async def message(self, id: str) -> dict[str, Any]:
        data = await self.execute(
            """query ($id: ID!) { message(id: $id) {
                id role status text cursor model finishedAt rating
                error { code message retryable }
                usage { inputTokens outputTokens cacheReadTokens cacheWriteTokens }
                parts {
                    __typename
                    ... on TextPart { text }
                    ... on ReasoningPart { reasoning: text }
                    ... on ToolCallPart { id tool parameters status result }
                }
            } }""",
            id=id,
        )
        message: dict[str, Any] = data["message"]
        return message

    @asynccontextmanager
    async def socket(self, **more: str) -> AsyncIterator[Socket]:
        """A signed-in WebSocket, with `more` in its `connection_init`."""
        address = self.url.replace("http", "ws", 1) + "/graphql"
        async with connect(address, subprotocols=["graphql-transport-ws"], max_size=None) as connection:  # type: ignore[list-item]
            await connection.send(json.dumps({"type": "connection_init", "payload": {**self.headers, **more}}))
            assert json.loads(await connection.recv())["type"] == "connection_ack"
            socket = Socket(connection)
            try:
                yield socket
            finally:
                socket._reader.cancel()

    async def stream(self, message_id: str, after: str | None = None) -> AsyncGenerator[dict[str, Any]]:
        """The events of a message, over a socket of its own."""
        async with self.socket() as socket:
            results = socket.subscribe(STREAM, {"messageId": message_id, "after": after})
            try:
                async for data in results:
                    yield data["messageStream"]
            finally:
                await results.aclose()

    async def read(self, message_id: str, reading: Reading | None = None) -> Reading:
        """Follow a message to its end, going on where `reading` is."""
        reading = reading or Reading()
        async for event in self.stream(message_id, reading.cursor):
            reading.take(event)
        return reading

    async def close(self) -> None:
        await self.http.aclose()
