"""Refusals that a user is told of; any other exception is our fault and told to the log alone."""

from typing import ClassVar


class Refusal(Exception):
    """A request that is refused for a reason that the user may know; `code` is for programs, the text for people."""

    code: ClassVar[str]
    #: Seconds after which the same request may be granted; None where waiting does not help.
    retry_after: int | None = None


class Forbidden(Refusal):
    """The object is another user's, or there is none: which of the two is not told."""

    code = "FORBIDDEN"

    def __init__(self) -> None:
        super().__init__("There is no such object, or it is not yours.")


class BadUserInput(Refusal):
    """An argument that cannot be used; the text names it."""

    code = "BAD_USER_INPUT"

    def __init__(self, argument: str, problem: str) -> None:
        super().__init__(f"{argument}: {problem}")


class Conflict(Refusal):
    """The object is in a state that does not allow this."""

    code = "CONFLICT"


class ClientLeft(Refusal):
    """Nobody is there any more to be told."""

    code = "CLIENT_LEFT"


class RateLimited(Refusal):
    """More than a user may have in a time, or at once."""

    code = "RATE_LIMITED"

    def __init__(self, retry_after: int, what: str = "messages") -> None:
        super().__init__(f"Too many {what}. Try again in {retry_after} s.")
        self.retry_after = retry_after


class QuotaExceeded(Refusal):
    """The tokens of the day are spent; there are new ones at midnight UTC."""

    code = "QUOTA_EXCEEDED"

    def __init__(self, retry_after: int) -> None:
        super().__init__("Your tokens for today are used up. There are new ones at 00:00 UTC.")
        self.retry_after = retry_after
