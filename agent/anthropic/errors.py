"""What goes wrong with the Messages API, in words for a user."""

from anthropic import APIConnectionError, APIError, APIStatusError

from agent.model import ModelError
from agent.text import on_one_line

#: Characters that the log has of the API's own words.
LONGEST_REASON = 200


def unavailable(message: str, retry_after: float | None = None, *, reason: str = "") -> ModelError:
    """The model cannot be asked now, or has not answered as it should: worth another try, after so many seconds."""
    return ModelError("MODEL_UNAVAILABLE", message, retryable=True, retry_after=retry_after, reason=reason)


def model_error(error: APIError) -> ModelError:
    """What an error of the SDK means to a user. The API's own words stay in the log: they may name the account."""
    problem = _translate(error)
    problem.reason = describe(error)
    return problem


def describe(error: Exception) -> str:
    """What the log may say of an error: no text that may quote the request, and with it what was said.

    Gateways do that. The words of an error in the form of the API are its own.
    """
    if not isinstance(error, APIStatusError):
        kind = type(error).__name__
        return kind if error.__cause__ is None else f"{kind}, {type(error.__cause__).__name__}"
    words = ["status", str(error.status_code)]
    match error.body:
        case {"type": "error", "error": {"type": str(type_), "message": str(message)}}:
            words += [type_, message]
    return on_one_line(" ".join(words), LONGEST_REASON)


def _translate(error: APIError) -> ModelError:
    if isinstance(error, APIConnectionError):
        return unavailable("The model could not be reached.")
    if not isinstance(error, APIStatusError):
        return unavailable("The model's answer could not be read.")
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
        return unavailable("The model is not available right now.", retry_after)
    if status == 413 or (status == 400 and "prompt is too long" in str(error.message)):
        return ModelError("CONTEXT_TOO_LONG", "The conversation is too long for the model.", retryable=False)
    return ModelError("MODEL_REJECTED_REQUEST", "The model rejected the request.", retryable=False)


def _retry_after(error: APIStatusError) -> float | None:
    try:
        return float(error.response.headers.get("retry-after", ""))
    except ValueError:
        return None
