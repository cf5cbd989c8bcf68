"""What the loop asks of a model, and what it gets back."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, TypeAlias

ErrorCode = Literal[
    "MODEL_UNAVAILABLE",
    "MODEL_RATE_LIMITED",
    "MODEL_REFUSED",
    "MODEL_REJECTED_REQUEST",
    "CONTEXT_TOO_LONG",
    "STEP_LIMIT",
    "OUTPUT_LIMIT",
    "INTERNAL",
]


class ModelError(Exception):
    """A call of the model that failed, in words that are meant for users."""

    def __init__(
        self, code: ErrorCode, message: str, *, retryable: bool, retry_after: float | None = None, reason: str = ""
    ) -> None:
        super().__init__(message)
        self.code: ErrorCode = code
        self.message = message
        #: Whether the same request may succeed later.
        self.retryable = retryable
        #: Seconds that the model asked to wait.
        self.retry_after = retry_after
        #: What the log may say of it beside.
        self.reason = reason


@dataclass(slots=True)
class Usage:
    """Tokens, summed over the calls of one reply."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0

    def as_columns(self) -> dict[str, int]:
        """The counts by name."""
        return asdict(self)

    def add(self, other: "Usage") -> None:
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.cache_read_tokens += other.cache_read_tokens
        self.cache_write_tokens += other.cache_write_tokens


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One call: the model's name; messages, system prompt and tools in the shapes of the Anthropic Messages API."""

    model: str
    messages: Sequence[Mapping[str, Any]]
    system: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class OfferedModels:
    """The models that users may choose from, by name; the first is the default."""

    names: tuple[str, ...]

    @property
    def default(self) -> str:
        return self.names[0]

    def choose(self, name: str | None) -> str:
        """The model of this name as long as it is offered, else the default."""
        return name if name in self.names else self.default


# One is made for each token, and to freeze it would take three times as long.
@dataclass(slots=True)
class TextPiece:
    text: str


@dataclass(slots=True)
class ReasoningPiece:
    text: str


@dataclass(frozen=True, slots=True)
class BlockEnded:
    """The text or reasoning that came before is whole; of reasoning, with what proves it is the model's own."""

    signature: str = ""
    redacted: str | None = None


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A whole tool call; `raw` is the JSON text of its parameters."""

    id: str
    tool: str
    raw: str


@dataclass(frozen=True, slots=True)
class ModelStarted:
    """The model has taken the call; `model` is its full name."""

    model: str


@dataclass(frozen=True, slots=True)
class ModelEnded:
    """The call has ended; `reason` is the API's stop_reason."""

    reason: str


Piece = TextPiece | ReasoningPiece
ModelEvent = ModelStarted | BlockEnded | ToolUse | ModelEnded
#: Is given a piece of text or reasoning right when it has come, between two events, outside of any task.
TellPiece: TypeAlias = Callable[[Piece], None]


class Model(Protocol):
    """What answers requests piece by piece: all models of one API, each request naming its own."""

    def stream(self, request: ModelRequest, usage: Usage, tell: TellPiece) -> AsyncIterator[ModelEvent]:
        """The events of the answer as they come, `ModelEnded` last; its text and reasoning go to `tell`.

        All is told in its order: nothing that comes after an event before the next one is asked for. Adds to `usage`
        whatever the call cost, also when it fails. Raises `ModelError`, and what `tell` raises. Closing the
        iterator closes the connection to the model.
        """
        ...
