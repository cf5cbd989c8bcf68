"""Bearer tokens: who is asking, and until when."""

import time
from dataclasses import dataclass

import jwt


class InvalidToken(Exception):
    """The token is missing, malformed, expired or not ours; which of these is not told."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The subject of a valid token; `expires_at` in seconds since 1970."""

    owner_id: str
    expires_at: float


class TokenVerifier:
    """Checks tokens that are signed with one secret by HMAC-SHA-256."""

    def __init__(self, secret: str, *, issuer: str | None = None, audience: str | None = None) -> None:
        self._secret = secret
        self._issuer = issuer
        self._audience = audience

    def verify(self, authorization: object) -> Identity:
        """Who a value like `Bearer eyJ…` speaks for. Raises `InvalidToken`."""
        if not isinstance(authorization, str):
            raise InvalidToken
        scheme, _, token = authorization.strip().partition(" ")
        if scheme.lower() != "bearer":
            raise InvalidToken
        try:
            claims = jwt.decode(
                token.strip(),
                self._secret,
                # Pinned: a token must not choose how it is checked.
                algorithms=["HS256"],
                issuer=self._issuer,
                audience=self._audience,
                options={"require": ["exp", "sub"], "verify_aud": self._audience is not None},
            )
            subject, expires_at = claims["sub"], float(claims["exp"])
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError):
            raise InvalidToken from None
        if not subject.strip() or len(subject) > 255 or not subject.isprintable():
            raise InvalidToken
        return Identity(subject, expires_at)


def issue_token(
    secret: str,
    subject: str,
    lifetime: float,
    *,
    issuer: str | None = None,
    audience: str | None = None,
) -> str:
    """A token for `subject`, valid for `lifetime` seconds: for development and scripts."""
    now = int(time.time())
    claims = {"sub": subject, "iat": now, "exp": now + int(lifetime), "iss": issuer, "aud": audience}
    return jwt.encode({k: v for k, v in claims.items() if v is not None}, secret, algorithm="HS256")
