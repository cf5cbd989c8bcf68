"""Answers by HTTP: one result in the form that the client likes best."""

from collections.abc import Mapping
from typing import Any, TypeVar

import orjson
from starlette.responses import Response
from strawberry.types import ExecutionResult

from agent.text import clean
from server.transport.accept import Form

AnyResponse = TypeVar("AnyResponse", bound=Response)


def write_result(result: ExecutionResult, form: Form) -> Response:
    """The response for a result; one that has no data, for nothing was executed, is a request error.

    Status codes: https://graphql.github.io/graphql-over-http/draft/#sec-Status-Codes
    """
    body = format_result(result)
    if "data" in body:
        return _respond(body, 200, form)
    codes = [error["extensions"].get("code") for error in body["errors"]]
    if "INTERNAL_SERVER_ERROR" in codes:
        return _respond(body, 500, form)
    beyond_limit = any("limit" in error["extensions"] for error in body["errors"])
    return _respond(body, 200 if form is Form.LEGACY_JSON and not beyond_limit else 400, form)


def format_result(result: ExecutionResult) -> dict[str, Any]:
    """The result as a map; without `data` where nothing was executed."""
    errors = result.errors or []
    body: dict[str, Any] = {}
    if is_executed(result):
        body["data"] = result.data
    if errors:
        body["errors"] = [error.formatted for error in errors]
    if result.extensions:
        body["extensions"] = result.extensions
    return body


def is_executed(result: ExecutionResult) -> bool:
    """Whether an operation was begun at all; else the request itself was refused, or its stream broke off."""
    # A field that fails has a path.
    return result.data is not None or not result.errors or any(error.path for error in result.errors)


class RefusalResponse(Response):
    """The answer to a request that is not executed, with the code of its error."""

    code: str


def refuse(
    status: int,
    code: str,
    message: str,
    *,
    form: Form = Form.ANY_JSON,
    headers: Mapping[str, str] | None = None,
    retry_after: int | None = None,
) -> RefusalResponse:
    """A request that is not executed: no data, one error; `retry_after` in seconds."""
    error = format_error(code, message)
    if retry_after is not None:
        error["extensions"]["retryAfter"] = retry_after
        headers = {**(headers or {}), "Retry-After": str(retry_after)}
    response = _respond({"errors": [error]}, status, form, headers, RefusalResponse)
    response.code = code
    return response


def format_error(code: str, message: str) -> dict[str, Any]:
    return {"message": clean(message), "extensions": {"code": code}}


def encode_json(value: object) -> bytes:
    return orjson.dumps(value)


def _respond(
    body: dict[str, Any],
    status: int,
    form: Form,
    headers: Mapping[str, str] | None = None,
    kind: type[AnyResponse] = Response,  # type: ignore[assignment]
) -> AnyResponse:
    newer = form is Form.RESPONSE_JSON
    media_type = "application/graphql-response+json" if newer else "application/json"
    return kind(
        encode_json(body),
        status_code=status,
        headers={**(headers or {}), "Content-Type": f"{media_type}; charset=utf-8", "Vary": "Accept"},
    )
