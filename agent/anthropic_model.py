"""A model behind the Anthropic Messages API, by its SDK."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
from anthropic import APIConnectionError, APIError, APIStatusError, AsyncAnthropic, AsyncStream
from anthropic.types import RawMessageStreamEvent

from agent.model import (
    BlockEnded,
    ModelEnded,
    ModelError,
    ModelEvent,
    ModelRequest,
    ModelStarted,
    ReasoningPiece,
    TextPiece,
    ToolUse,
    Usage,
)

#: Seconds to connect, and of silence in an answer: the API sends a ping every few seconds.
CONNECT_TIMEOUT, READ_TIMEOUT = 5.0, 60.0


class AnthropicModel:
    """One model of the API. Retries are the loop's: it knows whether a reader has seen a token."""

    def __init__(self, *, api_key: str, base_url: str | None, name: str, max_output_tokens: int) -> None:
        self.name = name
        self.max_output_tokens = max_output_tokens
        self._client = AsyncAnthropic(
            api_key=api_key,
            base_url=base_url,
            max_retries=0,
            timeout=httpx2.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT),
            # The SDK's own pool ends at 1,000 connections with 100 kept; a reply holds one for its whole length.
            http_client=httpx2.AsyncClient(
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=100),
                timeout=httpx2.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT),
                follow_redirects=True,
            ),
        )

    async def stream(self, request: ModelRequest, usage: Usage) -> AsyncIterator[ModelEvent]:
        """The pieces of the answer, as `agent.model.Model` says."""
        call = _Call()
        try:
            # Typed as what comes from JSON: the SDK's typed dictionaries name each shape that a block may have.
            create: Any = self._client.messages.create
            answer: AsyncStream[RawMessageStreamEvent] = await create(
                model=self.name,
                max_tokens=self.max_output_tokens,
                messages=request.messages,
                system=request.system,
                tools=request.tools,
                stream=True,
            )
            async with answer:
                async for event in answer:
                    for piece in call.read(event):
                        yield piece
        except APIError as error:
            raise _model_error(error) from error
        except httpx2.HTTPError as error:
            raise _unavailable("The connection to the model broke.") from error
        except (ValueError, AttributeError, TypeError, KeyError) as error:
            # The SDK reads events without checking them: a malformed one fails where it is used.
            raise _unavailable("The model's answer could not be read.") from error
        finally:
            usage.add(call.usage)
        if not call.ended:
            raise _unavailable("The model's answer ended too early.")

    async def close(self) -> None:
        await self._client.close()


class _Call:
    """Reads the events of one answer."""

    def __init__(self) -> None:
        self.usage = Usage()
        self.ended = False
        self._reason = ""
        self._block: Any = None
        self._raw: list[str] = []
        self._signature = ""

    def read(self, event: Any) -> tuple[ModelEvent, ...]:
        match event.type:
            case "content_block_delta":
                return self._read_delta(event.delta)
            case "content_block_start":
                self._block, self._raw, self._signature = event.content_block, [], ""
            case "content_block_stop":
                return (self._end_block(),)
            case "message_start":
                self._count(event.message.usage)
                return (ModelStarted(event.message.model),)
            case "message_delta":
                self._reason = event.delta.stop_reason or ""
                self._count(event.usage)
            case "message_stop":
                self.ended = True
                return (ModelEnded(self._reason),)
        return ()

    def _read_delta(self, delta: Any) -> tuple[ModelEvent, ...]:
        match delta.type:
            case "text_delta":
                return (TextPiece(delta.text),)
            case "thinking_delta":
                return (ReasoningPiece(delta.thinking),)
            case "input_json_delta":
                self._raw.append(delta.partial_json)
            case "signature_delta":
                self._signature += delta.signature
        return ()

    def _end_block(self) -> ModelEvent:
        block, self._block = self._block, None
        match block.type:
            case "tool_use":
                return ToolUse(block.id, block.name, "".join(self._raw))
            case "redacted_thinking":
                return BlockEnded(redacted=block.data)
            case _:
                return BlockEnded(signature=self._signature)

    def _count(self, usage: Any) -> None:
        # Counts of later events are totals of the call, and not every event has all of them.
        self.usage.input_tokens = _latest(usage, "input_tokens", self.usage.input_tokens)
        self.usage.output_tokens = _latest(usage, "output_tokens", self.usage.output_tokens)
        self.usage.cache_read_tokens = _latest(usage, "cache_read_input_tokens", self.usage.cache_read_tokens)
        self.usage.cache_write_tokens = _latest(usage, "cache_creation_input_tokens", self.usage.cache_write_tokens)


def _latest(usage: Any, name: str, before: int) -> int:
    value = getattr(usage, name, None)
    return before if value is None else int(value)


def _unavailable(message: str, retry_after: float | None = None) -> ModelError:
    return ModelError("MODEL_UNAVAILABLE", message, retryable=True, retry_after=retry_after)


def _model_error(error: APIError) -> ModelError:
    """What an error of the SDK means to a user. The API's own words stay in the log: they may name the account."""
    if isinstance(error, APIConnectionError):
        return _unavailable("The model could not be reached.")
    if not isinstance(error, APIStatusError):
        return _unavailable("The model's answer could not be read.")
    # An error in the middle of a stream comes with status 200: its type tells what it is.
    kind = error.type or ""
    status = error.status_code
    retry_after = _retry_after(error)
    if kind == "rate_limit_error" or status == 429:
        return ModelError(
            "MODEL_RATE_LIMITED",
            "The model is used too much right now.",
            retryable=True,
            retry_after=retry_after,
        )
    if kind in ("overloaded_error", "api_error", "timeout_error") or status >= 500:
        return _unavailable("The model is not available right now.", retry_after)
    if status == 413 or (status == 400 and "prompt is too long" in str(error.message)):
        return ModelError("CONTEXT_TOO_LONG", "The conversation is too long for the model.", retryable=False)
    return ModelError("MODEL_REJECTED_REQUEST", "The model rejected the request.", retryable=False)


def _retry_after(error: APIStatusError) -> float | None:
    try:
        return float(error.response.headers.get("retry-after", ""))
    except ValueError:
        return None
