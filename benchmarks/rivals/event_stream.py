"""A chat endpoint as FastAPI's tutorials write it: a StreamingResponse over the SDK's stream.

FastAPI's StreamingResponse is Starlette's, and so is all that runs for each token.
"""

import os
from collections.abc import AsyncIterator

import orjson
from anthropic import AsyncAnthropic
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

client = AsyncAnthropic(api_key="none", base_url=os.environ["MODEL_URL"])


async def think(prompt: str) -> AsyncIterator[bytes]:
    async with client.messages.stream(
        model="claude-stand-in", max_tokens=4096, messages=[{"role": "user", "content": prompt}]
    ) as stream:
        async for text in stream.text_stream:
            yield b"data: " + orjson.dumps({"text": text}) + b"\n\n"
    yield b"data: [DONE]\n\n"


async def chat(request: Request) -> StreamingResponse:
    return StreamingResponse(think((await request.json())["text"]), media_type="text/event-stream")


app = Starlette(routes=[Route("/chat", chat, methods=["POST"])])
