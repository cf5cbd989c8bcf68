"""What a tool is, to the agent."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from agent.parts import ToolCallPart, ToolCallStatus
from agent.text import clean, clean_json

logger = logging.getLogger(__name__)

#: Seconds that one call may take, unless its tool says otherwise.
TIME_LIMIT = 30.0


class ToolFailed(Exception):
    """A call that did not work, in words that are meant for the model and the user."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Tool:
    """Something that the model may have done for the owner of the conversation."""

    name: str
    description: str
    #: JSON Schema of the parameters, an object.
    parameters: Mapping[str, Any]
    #: Does it and gives a JSON value back; raises `ToolFailed`.
    call: Callable[[Mapping[str, Any]], Awaitable[Any]]
    #: Whether doing it twice is as good as once, so that it may be begun again after a crash.
    repeatable: bool = False
    #: Whether the user must agree to each call.
    needs_approval: bool = False
    #: Seconds that one call may take; None for as many as others.
    time_limit: float | None = None


Outcome = tuple[ToolCallStatus, Any]


def parse_parameters(raw: str) -> Any:
    """What the model wrote as parameters: an object, or the text itself where it is none that can be stored."""
    try:
        parameters = orjson.loads(raw.encode("utf-8", "replace") or b"{}")
        # It reads deeper nesting than it writes.
        orjson.dumps(parameters)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return clean(raw)
    return clean_json(parameters) if isinstance(parameters, dict) else clean(raw)


async def call_tool(tools: Sequence[Tool], call: ToolCallPart) -> Outcome:
    """Run one call; whatever goes wrong becomes a result that the model can read."""
    tool = next((tool for tool in tools if tool.name == call.tool), None)
    if tool is None:
        known = ", ".join(tool.name for tool in tools) or "none"
        return _failed("UNKNOWN_TOOL", f"There is no tool of this name. Tools: {known}.")
    if not isinstance(call.parameters, dict):
        return _failed("BAD_USER_INPUT", "The parameters are not a JSON object.")
    limit = tool.time_limit or TIME_LIMIT
    try:
        async with asyncio.timeout(limit):
            return "SUCCEEDED", clean_json(await tool.call(call.parameters))
    except ToolFailed as error:
        return _failed(error.code, str(error))
    except TimeoutError:
        return _failed("TIMEOUT", f"The tool did not answer within {limit:.0f} seconds.")
    except Exception:
        logger.exception("the tool %s failed", tool.name)
        return _failed("INTERNAL_SERVER_ERROR", "The tool failed.")


def _failed(code: str, message: str) -> Outcome:
    return "FAILED", {"error": {"code": code, "message": message}}
