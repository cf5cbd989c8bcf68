"""What the Anthropic Messages API refuses, as far as it catches mistakes of ours."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from typing import Any, TypeAlias

JSON: TypeAlias = dict[str, Any]

NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
ID = re.compile(r"[a-zA-Z0-9_-]+")


def find_complaint(request: JSON) -> str | None:
    """The first sentence with which the API would refuse a request, or None if it would take it."""
    return next(_complaints(request), None)


def _complaints(request: JSON) -> Iterator[str]:
    # Each rule relies on those before it, which is sound because only the first complaint is ever drawn.
    for field, type in ("model", str), ("max_tokens", int), ("messages", list):
        if not isinstance(request.get(field), type):
            yield f"{field}: Field required"
    messages = _blocks(request["messages"])
    if not messages or len(messages) < len(request["messages"]):
        yield "messages: Input should be one message or more"
    yield from _tool_complaints(_blocks(request.get("tools")))
    for index, block in enumerate(_blocks(request.get("system"))):
        yield from _block_complaints(f"system.{index}", block)
    yield from _message_complaints(messages)
    yield from _pairing_complaints(messages)
    yield from _mark_complaints(request, [block for message in messages for block in _said(message)])


def _blocks(content: Any) -> list[JSON]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def _said(message: JSON) -> list[JSON]:
    return _blocks(message.get("content"))


def _tool_complaints(tools: Sequence[JSON]) -> Iterator[str]:
    names = [str(tool.get("name")) for tool in tools]
    for index, tool in enumerate(tools):
        if not NAME.fullmatch(names[index]):
            yield f"tools.{index}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
        schema = tool.get("input_schema")
        if not isinstance(schema, dict) or schema.get("type") != "object":
            yield f"tools.{index}.custom.input_schema.type: Input should be 'object'"
    if len(set(names)) < len(names):
        yield "tools: Tool names must be unique."


def _message_complaints(messages: Sequence[JSON]) -> Iterator[str]:
    if messages[0].get("role") != "user":
        yield 'messages: first message must use the "user" role'
    for index, message in enumerate(messages):
        role, is_last = message.get("role"), index == len(messages) - 1
        if role not in ("user", "assistant", "system"):
            yield f"messages.{index}.role: Input should be 'user', 'assistant' or 'system'"
        if not _said(message) and not (role == "assistant" and is_last):
            rule = "all messages must have non-empty content except for the optional final assistant message"
            yield f"messages.{index}: {rule}"
        for place, block in enumerate(_said(message)):
            yield from _block_complaints(f"messages.{index}.content.{place}", block)


def _block_complaints(where: str, block: JSON) -> Iterator[str]:
    match block.get("type"):
        case None:
            yield f"{where}.type: Field required"
        case "text" if not block.get("text"):
            yield f"{where}: text content blocks must be non-empty"
        case "text" if not str(block["text"]).strip():
            yield f"{where}: text content blocks must contain non-whitespace text"
        case "thinking" if not block.get("signature"):
            yield f"{where}.thinking.signature: Field required"
        case "thinking" if block.get("cache_control"):
            yield f"{where}.thinking.cache_control: Extra inputs are not permitted"
        case "tool_use" if not isinstance(block.get("input"), dict):
            yield f"{where}.tool_use.input: Input should be a valid dictionary"
        case "tool_use" if not NAME.fullmatch(str(block.get("name"))):
            yield f"{where}.tool_use.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
        case "tool_use" if not ID.fullmatch(str(block.get("id"))):
            yield f"{where}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"


def _pairing_complaints(messages: Sequence[JSON]) -> Iterator[str]:
    calls: list[str] = []
    seen: set[str] = set()
    for index, message in enumerate([*messages, {}]):
        results = _ids(_said(message), "tool_result", "tool_use_id")
        # Only results that lead their message count: the API does not look behind other blocks.
        leading = takewhile(lambda block: block.get("type") == "tool_result", _said(message))
        answered = _ids(leading, "tool_result", "tool_use_id")
        if missing := [id for id in calls if id not in answered]:
            yield (
                f"messages.{index - 1}: `tool_use` ids were found without `tool_result` blocks immediately "
                f"after: {', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` "
                "block in the next message."
            )
        if stray := [id for id in results if id not in calls]:
            yield (
                f"messages.{index}: unexpected `tool_use_id` found in `tool_result` blocks: "
                f"{', '.join(stray)}. Each `tool_result` block must have a corresponding `tool_use` block in "
                "the previous message."
            )
        if len(set(results)) < len(results):
            yield f"messages.{index}: each tool_use must have a single result"
        calls = _ids(_said(message), "tool_use", "id")
        if len(set(calls)) < len(calls) or seen.intersection(calls):
            yield "messages: `tool_use` ids must be unique"
        seen.update(calls)


def _ids(blocks: Iterable[JSON], type: str, key: str) -> list[str]:
    return [str(block.get(key)) for block in blocks if block.get("type") == type]


def _mark_complaints(request: JSON, said: Sequence[JSON]) -> Iterator[str]:
    results = [part for block in said if block.get("type") == "tool_result" for part in _said(block)]
    places = [request, *_blocks(request.get("tools")), *_blocks(request.get("system")), *said, *results]
    marks = sum(bool(place.get("cache_control")) for place in places)
    if marks > 4:
        yield f"A maximum of 4 blocks with cache_control may be provided. Found {marks}."
