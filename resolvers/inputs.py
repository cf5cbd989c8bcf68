"""Checks of what users give, each naming the argument it refuses."""

from agent.model import OfferedModels
from resolvers.errors import BadUserInput

#: What the Int of GraphQL can hold.
LARGEST_INT = 2**31 - 1

#: Characters.
LONGEST_MESSAGE = 32_000
LONGEST_TITLE = 200
LONGEST_NOTES = 10_000
LONGEST_COMMENT = 2_000
LONGEST_SEARCH = 200
LONGEST_KEY = 200


def check_text(argument: str, value: str, longest: int) -> str:
    """The value, where it says something, fits, and PostgreSQL can store it."""
    if not value.strip():
        raise BadUserInput(argument, "must not be empty")
    return check_optional_text(argument, value, longest) or value


def check_optional_text(argument: str, value: str | None, longest: int) -> str | None:
    """As `check_text`, for a value that may be empty or missing."""
    if value is None:
        return None
    if len(value) > longest:
        raise BadUserInput(argument, f"must have at most {longest:,} characters")
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise BadUserInput(argument, "must not contain NUL or half of a surrogate pair")
    return value


def check_model(argument: str, name: str | None, models: OfferedModels) -> str | None:
    """The name, where such a model is offered; None is the default."""
    if name is not None and name not in models.names:
        raise BadUserInput(argument, f"must be one of {', '.join(models.names)}")
    return name
