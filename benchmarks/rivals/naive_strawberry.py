"""A chat server as Strawberry's and the model's documentation lead to it: one event for each token.

With SHARED_REPLIES=1 a reply may have several readers, and each has a queue.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated
from uuid import uuid4

import strawberry
from anthropic import AsyncAnthropic
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute
from strawberry.asgi import GraphQL

SHARED = os.environ.get("SHARED_REPLIES") == "1"
client = AsyncAnthropic(api_key="none", base_url=os.environ["MODEL_URL"])


@strawberry.type
class Conversation:
    id: strawberry.ID
    title: str
    model: str
    created_at: str
    updated_at: str
    message_count: int


@strawberry.type
class SendMessagePayload:
    run_id: strawberry.ID
    message_id: strawberry.ID


@strawberry.input
class SendMessageInput:
    conversation_id: strawberry.ID
    text: str


@strawberry.type
class TextDelta:
    message_id: strawberry.ID
    offset: int
    text: str


@strawberry.type
class RunFinished:
    message_id: strawberry.ID
    stop_reason: str
    output_tokens: int


RunEvent = Annotated[TextDelta | RunFinished, strawberry.union("RunEvent")]


class SharedReply:
    """The events so far, and the queues of those who read on."""

    def __init__(self) -> None:
        self.events: list[TextDelta | RunFinished] = []
        self.queues: set[asyncio.Queue[TextDelta | RunFinished]] = set()

    async def write(self, prompt: str, message_id: str) -> None:
        async for event in think(prompt, message_id):
            self.events.append(event)
            for queue in self.queues:
                queue.put_nowait(event)

    async def read(self) -> AsyncIterator[TextDelta | RunFinished]:
        queue: asyncio.Queue[TextDelta | RunFinished] = asyncio.Queue()
        for event in self.events:
            queue.put_nowait(event)
        self.queues.add(queue)
        try:
            while True:
                event = await queue.get()
                yield event
                if isinstance(event, RunFinished):
                    return
        finally:
            self.queues.discard(queue)


prompts: dict[str, tuple[str, str]] = {}
shared: dict[str, SharedReply] = {}
writers: set[asyncio.Task[None]] = set()
conversations = [
    Conversation(
        id=strawberry.ID(f"conversation-{number:06d}"),
        title=f"Conversation number {number}",
        model="claude-stand-in",
        created_at="2026-11-02T10:11:12Z",
        updated_at="2026-11-03T10:11:12Z",
        message_count=number,
    )
    for number in range(100)
]


async def think(prompt: str, message_id: str) -> AsyncIterator[TextDelta | RunFinished]:
    offset = 0
    async with client.messages.stream(
        model="claude-stand-in", max_tokens=4096, messages=[{"role": "user", "content": prompt}]
    ) as stream:
        async for text in stream.text_stream:
            yield TextDelta(message_id=strawberry.ID(message_id), offset=offset, text=text)
            offset += len(text)
        final = await stream.get_final_message()
    yield RunFinished(
        message_id=strawberry.ID(message_id),
        stop_reason=final.stop_reason or "",
        output_tokens=final.usage.output_tokens,
    )


@strawberry.type
class Query:
    @strawberry.field
    async def conversations(self, first: int) -> list[Conversation]:
        return conversations[:first]


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def send_message(self, input: SendMessageInput) -> SendMessagePayload:
        run_id, message_id = uuid4().hex, uuid4().hex
        prompts[run_id] = (input.text, message_id)
        if SHARED:
            reply = shared[run_id] = SharedReply()
            writer = asyncio.create_task(reply.write(input.text, message_id))
            writers.add(writer)
            writer.add_done_callback(writers.discard)
        return SendMessagePayload(run_id=strawberry.ID(run_id), message_id=strawberry.ID(message_id))


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def run_events(self, run_id: strawberry.ID) -> AsyncGenerator[RunEvent, None]:
        events = shared[run_id].read() if SHARED else think(*prompts[run_id])
        async for event in events:
            yield event


schema = strawberry.Schema(Query, Mutation, Subscription)
graphql = GraphQL[object, None](schema, graphql_ide=None)
app = Starlette(routes=[Route("/graphql", graphql, methods=["GET", "POST"]), WebSocketRoute("/graphql", graphql)])
