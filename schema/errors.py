"""Which errors speak to clients: refusals and mistakes in the request do, with a code; all others are masked."""

import logging
import uuid
from typing import Any

from graphql import GraphQLError
from strawberry.exceptions import MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types.graphql import OperationType

from agent.text import clean
from resolvers.errors import Refusal

#: Characters of a message: many quote the request, which may be long.
LONGEST_MESSAGE = 500

logger = logging.getLogger(__name__)

#: What is wrong with the request itself: its text is the library's, written for clients.
REQUEST_ERRORS = (GraphQLError, MissingQueryError, CannotGetOperationTypeError, InvalidOperationTypeError)


def code_errors(errors: list[GraphQLError]) -> None:
    """Give each error its `extensions.code`, in place; what is our fault becomes an id that the log has too."""
    for index, error in enumerate(errors):
        errors[index] = _coded(error)


def _coded(error: GraphQLError) -> GraphQLError:
    cause = _cause(error)
    if isinstance(cause, Refusal):
        extensions: dict[str, Any] = {"code": cause.code}
        if cause.retry_after is not None:
            extensions["retryAfter"] = cause.retry_after
        return _replace(error, str(cause), extensions)
    if isinstance(cause, InvalidOperationTypeError):
        return _replace(error, explain_operation_type(cause.operation_type), {"code": "BAD_USER_INPUT"})
    if cause is None or isinstance(cause, REQUEST_ERRORS):
        return _replace(error, error.message, {"code": "BAD_USER_INPUT", **(error.extensions or {})})
    incident = uuid.uuid4().hex[:12]
    logger.error("incident %s at %s", incident, error.path, exc_info=cause)
    return _replace(error, "Something went wrong on the server.", {"code": "INTERNAL_SERVER_ERROR", "id": incident})


def explain_operation_type(type: OperationType) -> str:
    """What a client can do whose operation is not of a type that its request allows."""
    if type is OperationType.SUBSCRIPTION:
        return (
            "A subscription has many results: use a WebSocket (graphql-transport-ws), or accept text/event-stream "
            "or multipart/mixed;subscriptionSpec=1.0."
        )
    return "A mutation changes something: send it by POST."


def _cause(error: GraphQLError) -> BaseException | None:
    """The exception that a resolver raised; None where the request itself is at fault."""
    cause: BaseException | None = error
    while isinstance(cause, GraphQLError):
        cause = cause.original_error
    return cause


def _replace(error: GraphQLError, message: str, extensions: dict[str, Any]) -> GraphQLError:
    return GraphQLError(
        # It may quote the request, which may hold what cannot be written as UTF-8.
        clean(_shorten(message)),
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        path=error.path,
        extensions=extensions,
        # Kept for the transports, which tell some kinds apart; it is never sent.
        original_error=error.original_error,
    )


def _shorten(message: str) -> str:
    return message if len(message) <= LONGEST_MESSAGE else message[: LONGEST_MESSAGE - 1] + "…"
