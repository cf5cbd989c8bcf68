"""What a script can answer to a request: an answer of blocks, with what goes wrong in it, or a refusal."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from agent.stand_in.rules import JSON


@dataclass(frozen=True, slots=True)
class Text:
    """A text block; `tokens` are the exact deltas to send, otherwise the text is cut into words."""

    text: str
    tokens: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Thinking:
    """A thinking block: its deltas, then its signature."""

    text: str
    signature: str = "cmVoZWFyc2Fs"


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call of a tool; `raw` is streamed in place of the parameters, to send malformed arguments."""

    tool: str
    parameters: Mapping[str, Any]
    id: str | None = None
    raw: str | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong in a stream once `after_tokens` deltas are out, or before its end if it has fewer.

    `cut` drops the connection; `malformed_json` and `unknown_event` send one such event and go on;
    `overloaded` and `api_error` end with an error event; `stall` sends nothing more; `no_stop` ends the body
    as if all were said. Without streaming `cut` and `stall` give no answer, `overloaded` and `api_error` a
    refusal, `malformed_json` a body that is no JSON, and the other two mean nothing.
    """

    after_tokens: int
    kind: Literal["cut", "malformed_json", "unknown_event", "overloaded", "api_error", "stall", "no_stop"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP error in place of an answer; `retry_after` in seconds."""

    status: int
    type: str
    message: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says.

    `stop_reason` defaults to `tool_use` when a tool is called, else `end_turn`; `first_token_delay` is in
    seconds; a rate of None is the server's. Token counts default to the number of deltas sent, four
    characters of the request a token, and nothing cached.
    """

    blocks: Sequence[Text | Thinking | ToolUse]
    stop_reason: str | None = None
    first_token_delay: float = 0.0
    tokens_per_second: float | None = None
    fault: Fault | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None


Respond: TypeAlias = Callable[[JSON], Answer | Refusal]
"""From the request's JSON body to what the model does."""

FAILURES = {
    "overloaded": Refusal(529, "overloaded_error", "Overloaded"),
    "api_error": Refusal(500, "api_error", "Internal server error"),
}
