"""What a client asks over HTTP, read from its request."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, Request

from server.transport.accept import parse_parameters

#: Seconds within which a request has to be there whole.
BODY_TIMEOUT = 30.0


_TYPES: dict[str, tuple[type, str]] = {
    "query": (str, "a string"),
    "documentId": (str, "a string"),
    "operationName": (str, "a string"),
    "variables": (dict, "an object"),
    "extensions": (dict, "an object"),
}


class UnreadableRequest(Exception):
    """A request that is no GraphQL request; the text tells the client why, `status` is the answer's."""

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(problem)
        self.status = status


@dataclass(frozen=True, slots=True)
class GraphQLRequest:
    """The parameters of a request (https://graphql.github.io/graphql-over-http/draft/#sec-Request-Parameters)."""

    payload: dict[str, Any]

    @property
    def variables(self) -> dict[str, Any] | None:
        return self.payload.get("variables")

    @property
    def operation_name(self) -> str | None:
        # An empty name is none: some clients send it.
        return self.payload.get("operationName") or None


async def read_request(request: Request, body_limit: int) -> GraphQLRequest:
    """Read it from the body of a POST or the address of a GET. Raises `UnreadableRequest`."""
    payload = _read_address(request) if request.method == "GET" else await _read_body(request, body_limit)
    if problem := find_wrong_type(payload):
        raise UnreadableRequest(400, problem)
    return GraphQLRequest(payload)


def find_wrong_type(payload: dict[str, Any]) -> str | None:
    """What is wrong with the types of a request's parameters, if anything is."""
    for name, (type, meaning) in _TYPES.items():
        if payload.get(name) is not None and not isinstance(payload[name], type):
            return f"{name}: must be {meaning}"
    return None


def parse_json(data: str | bytes) -> Any:
    """The value of a JSON text. Raises `ValueError` for whatever is none."""
    try:
        return json.loads(data, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


def _read_address(request: Request) -> dict[str, Any]:
    payload: dict[str, Any] = {key: value for key, value in request.query_params.items() if value != ""}
    for key in ("variables", "extensions"):
        if key in payload:
            try:
                payload[key] = parse_json(payload[key])
            except ValueError:
                raise UnreadableRequest(400, f"{key}: must be an object, written as JSON") from None
    return payload


async def _read_body(request: Request, limit: int) -> dict[str, Any]:
    type, parameters = parse_parameters(request.headers.get("content-type", ""))
    if type != "application/json":
        raise UnreadableRequest(415, "Send the request as application/json.")
    if parameters.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
        raise UnreadableRequest(415, "Send the request in UTF-8.")
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            body = await _read_bytes(request, limit)
    except TimeoutError:
        raise UnreadableRequest(408, "The request did not come within time.") from None
    except ClientDisconnect:
        raise UnreadableRequest(400, "The request did not come whole.") from None
    try:
        payload = parse_json(body)
    except ValueError:
        raise UnreadableRequest(400, "The body must be JSON.") from None
    if isinstance(payload, list):
        raise UnreadableRequest(400, "The body must be one JSON object: batches are not offered.")
    if not isinstance(payload, dict):
        raise UnreadableRequest(400, "The body must be a JSON object.")
    return payload


async def _read_bytes(request: Request, limit: int) -> bytes:
    length = request.headers.get("content-length", "")
    chunks, size = [], int(length) if length.isdecimal() and len(length) < 20 else 0
    if size <= limit:
        size = 0
        async for chunk in request.stream():
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                break
    if size > limit:
        raise UnreadableRequest(413, f"A request may have at most {limit:,} bytes.")
    return b"".join(chunks)
