"""The tools of an MCP server in the form that the Messages API takes, and their results in words.

What comes from a server is not ours: one tool that the API refuses would end every reply, and one result could fill
the model's window.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from jsonschema import Draft202012Validator, SchemaError
from mcp_types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
    Tool,
)

from agent.history import UNFIT
from agent.tools import ToolFailed

#: Characters of a name and of a description, bytes of a schema, and characters of a result, at the most.
LONGEST_NAME, LONGEST_DESCRIPTION, LARGEST_SCHEMA, LONGEST_RESULT = 64, 4_000, 32_768, 50_000
#: Bytes of all schemas and descriptions of a server: each call of a model has them.
LARGEST_OFFER = 256 * 1024
PROPERTY_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,64}")


def name_tool(server: str, tool: str) -> str:
    """`server__tool`; where that is too long or has other characters, with a mark that no other tool has."""
    whole = f"{server}__{tool}"
    fit = UNFIT.sub("_", whole)
    if fit == whole and len(whole) <= LONGEST_NAME:
        return whole
    mark = hashlib.sha256(whole.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{fit[: LONGEST_NAME - 9]}_{mark}"


def find_faults(tools: Sequence[Tool]) -> list[str | None]:
    """Of each tool why it cannot be offered, None where it can. May take seconds: not for the event loop."""
    faults: list[str | None] = []
    left = LARGEST_OFFER
    for tool in tools:
        size = _size_of(tool.input_schema) + len((tool.description or "")[:LONGEST_DESCRIPTION])
        if size <= left:
            faults.append(find_fault(tool.input_schema))
            # Whether it has a fault or not: to see that takes time too.
            left -= size
        else:
            faults.append(f"it is too large, or all that the server offers has more than {LARGEST_OFFER:,} bytes")
    return faults


def _size_of(schema: Mapping[str, Any]) -> int:
    """Bytes; 0 of one that cannot be written."""
    try:
        return len(orjson.dumps(schema))
    except orjson.JSONEncodeError:
        return 0


def find_fault(schema: Mapping[str, Any]) -> str | None:
    """Why the API would refuse a tool with these parameters; None where it takes it."""
    try:
        size = len(orjson.dumps(schema))
    except orjson.JSONEncodeError:
        return "its schema is nested too deep"
    if size > LARGEST_SCHEMA:
        return f"its schema has {size:,} bytes"
    if schema.get("type") != "object":
        return "its parameters are no object"
    if combined := {"oneOf", "anyOf", "allOf"} & schema.keys():
        return f"its schema has {combined.pop()} at the top"
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError:
        return "its schema is none"
    except RecursionError:
        return "its schema is nested too deep"
    for name in schema.get("properties", {}):
        if not PROPERTY_NAME.fullmatch(name):
            return "the name of a parameter has other characters than letters, digits and . _ -, or too many"
    return None


def read_result(result: CallToolResult) -> Any:
    """What a call gave: its structured content, or else its text. Raises `ToolFailed` for a tool's own error."""
    if result.is_error:
        raise ToolFailed("TOOL_FAILED", _cut(_join(result.content)) or "The tool failed and did not say why.")
    if result.structured_content is None:
        return _cut(_join(result.content))
    try:
        text = orjson.dumps(result.structured_content).decode()
    except orjson.JSONEncodeError:
        raise ToolFailed("TOOL_FAILED", "The tool's result is nested too deep.") from None
    return result.structured_content if len(text) <= LONGEST_RESULT else _cut(text)


def _cut(text: str) -> str:
    if len(text) <= LONGEST_RESULT:
        return text
    return f"{text[:LONGEST_RESULT]}\n[Cut off: these are {LONGEST_RESULT:,} of {len(text):,} characters.]"


def _join(content: Sequence[ContentBlock]) -> str:
    return "\n".join(_words(content))


def _words(content: Iterable[ContentBlock]) -> Iterable[str]:
    for block in content:
        match block:
            case TextContent():
                yield block.text
            case ImageContent():
                yield f"[An image, {block.mime_type}, {_count(block.data)}: it cannot be shown here.]"
            case AudioContent():
                yield f"[A sound, {block.mime_type}, {_count(block.data)}: it cannot be played here.]"
            case ResourceLink():
                yield f"[A link to {block.name}: {block.uri}]"
            case EmbeddedResource(resource=TextResourceContents() as resource):
                yield f"{resource.uri}:\n{resource.text}"
            case EmbeddedResource(resource=BlobResourceContents() as resource):
                yield f"[A file, {resource.uri}, {_count(resource.blob)}: it cannot be shown here.]"


def _count(base64: str) -> str:
    return f"{len(base64) * 3 // 4:,} bytes"
