"""The models behind the Anthropic Messages API, by its SDK."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Any
from urllib.request import getproxies

import httpx2
import orjson
from anthropic import APIConnectionError, APIError, APIStatusError, APITimeoutError, AsyncAnthropic, AsyncStream

from agent.anthropic.answer import MESSAGES_PATH, REQUEST, Answer
from agent.anthropic.errors import describe, model_error, unavailable
from agent.http.connection import Take
from agent.http.transport import AnswerBody, PreparedRequest, StreamingTransport
from agent.model import ModelEvent, ModelRequest, TellPiece, Usage

#: Seconds to connect, and of silence in an answer: the API sends a ping every few seconds.
CONNECT_TIMEOUT, READ_TIMEOUT = 5.0, 60.0


class AnthropicModel:
    """The models of one API. Retries are the loop's: it knows whether a reader has seen a token."""

    def __init__(self, *, api_key: str, base_url: str | None, max_output_tokens: int) -> None:
        self.max_output_tokens = max_output_tokens
        # A transport of our own would silence the proxies of the environment: where there are some, the library's is
        # used.
        proxied = {"http", "https", "all"} & getproxies().keys()
        self._transport = None if proxied else StreamingTransport()
        timeout = httpx2.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT)
        self._client = AsyncAnthropic(
            api_key=api_key,
            base_url=base_url,
            max_retries=0,
            timeout=timeout,
            http_client=httpx2.AsyncClient(
                transport=self._transport,
                # By default the library's pool ends at 100 connections; a reply holds one for its whole length.
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=100),
                timeout=timeout,
                follow_redirects=True,
            ),
        )
        #: What the SDK has made of a request; None until one was answered.
        self._prepared: PreparedRequest | None = None

    async def stream(self, request: ModelRequest, usage: Usage, tell: TellPiece) -> AsyncIterator[ModelEvent]:
        """The events of the answer, as `agent.model.Model` says."""
        answer = Answer(tell)
        try:
            body = _body_of(await self._ask(request))
            # All that was said before may be long, and the answer takes its time.
            del request
            async with aclosing(body):
                while await body.feed(answer.take):
                    for event in answer.read_events():
                        yield event
        except APIError as error:
            raise model_error(error) from error
        except httpx2.HTTPError as error:
            raise unavailable("The connection to the model broke.", reason=describe(error)) from error
        finally:
            usage.add(answer.usage)
        if not answer.ended:
            raise unavailable("The model's answer ended too early.")

    async def _ask(self, request: ModelRequest) -> httpx2.Response:
        """Send the request; raises `APIError`."""
        body = _write_json(
            {
                "model": request.model,
                "max_tokens": self.max_output_tokens,
                "messages": request.messages,
                "system": request.system,
                "tools": request.tools,
                "stream": True,
            }
        )
        if self._prepared is not None:
            response = await _send(self._prepared, body)
            if response.status_code < 300:
                return response
            await response.aclose()
        response = await self._ask_by_sdk(body)
        if self._transport is not None and not response.history:
            # Its address, key, version and time-outs are the same each time, and to have them made again would be a
            # sixth of what a short reply costs.
            response.request.headers.pop("Cookie", None)
            self._prepared = PreparedRequest(self._transport, response.request)
        else:
            self._prepared = None
        return response

    async def _ask_by_sdk(self, body: bytes) -> httpx2.Response:
        # Not `messages.create`: it walks through the whole request, and builds an object for each event of the answer.
        response: Any = await self._client.post(
            MESSAGES_PATH,
            content=body,
            cast_to=httpx2.Response,
            options={"headers": {"Accept-Encoding": "identity"}},
            stream=True,
            stream_cls=AsyncStream[Any],
        )
        assert isinstance(response, httpx2.Response)
        return response

    async def close(self) -> None:
        await self._client.close()


async def _send(prepared: PreparedRequest, content: bytes) -> httpx2.Response:
    """Send a request as the SDK does; raises `APIError`, and `httpx2.HTTPError` in the middle of an error's body."""
    try:
        response = await prepared.send(content)
    except httpx2.TimeoutException as error:
        raise APITimeoutError(REQUEST) from error
    except httpx2.TransportError as error:
        raise APIConnectionError(request=REQUEST) from error
    if response.status_code < 300 or response.has_redirect_location:
        return response
    async with aclosing(response):
        await response.aread()
    response.request = REQUEST
    body: object = response.text.strip()
    with suppress(ValueError, RecursionError):
        body = json.loads(response.text)
    raise APIStatusError(f"Error code: {response.status_code} - {body}", response=response, body=body)


def _write_json(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        # It writes no deeper than 254 levels; the parameters of a tool call may be nested as deep as that.
        return json.dumps(value).encode()


def _body_of(response: httpx2.Response) -> "AnswerBody | _OtherBody":
    """The body, which needs nothing else of the response: that has all of the request."""
    body = response.extensions.get("answer_body")
    if isinstance(body, AnswerBody) and "content-encoding" not in response.headers:
        return body
    return _OtherBody(response)


class _OtherBody:
    """As `AnswerBody`, of a response that came by a proxy, or compressed."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self._pieces = response.aiter_bytes()

    async def feed(self, take: Take) -> bool:
        async for piece in self._pieces:
            if not take(piece):
                return True
        return False

    async def aclose(self) -> None:
        await self._response.aclose()
