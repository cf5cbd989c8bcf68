"""Bearer tokens: who is asking, and until when."""

import base64
import re
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import jwt

if TYPE_CHECKING:
    from server.jwks import RemoteKeySet

#: Characters of an `Authorization`.
MAX_LENGTH = 8192
#: Seconds that the clock of whoever issues the tokens may be ahead of ours. A token's end is its end.
LEEWAY = 10.0

_BEARER = re.compile(r"\s*bearer +([\w-]+\.[\w-]+\.[\w-]+)\s*", re.ASCII | re.IGNORECASE)


class InvalidToken(Exception):
    """The token is missing, malformed, expired or not ours; which of these is not told."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The subject of a valid token; `expires_at` in seconds since 1970."""

    owner_id: str
    expires_at: float


class Verifier(Protocol):
    """Checks bearer tokens."""

    @property
    def is_ready(self) -> bool:
        """Whether tokens can be judged at all; until then every one is refused."""

    def start(self) -> None:
        """Begin what goes on beside requests; needs a running event loop."""

    async def verify(self, authorization: object) -> Identity:
        """Who a value like `Bearer eyJ…` speaks for. Raises `InvalidToken`."""

    async def close(self) -> None: ...


def create_verifier(
    *,
    secret: str | None,
    jwks_url: str | None,
    issuer: str | None,
    audience: str | None,
    longest_life: float,
) -> Verifier:
    """Checks tokens that are signed with the secret, or by a key of the set at the URL: one of them is given.

    Without issuer or audience, that claim is not checked; `longest_life` is in seconds.
    Raises `ValueError` for an URL that is none.
    """
    rules = ClaimRules(issuer, audience, longest_life)
    if jwks_url is not None:
        # Whoever knows a secret that is left over could speak for anyone.
        if secret is not None:
            raise ValueError("a secret and a key set are given: one of them must go")
        # Here, since who has a secret needs no HTTP client.
        from server.jwks import RemoteKeySet

        return KeySetVerifier(RemoteKeySet(jwks_url), rules)
    if secret is None:
        raise ValueError("neither a secret nor a key set is given")
    return SecretVerifier(secret, rules)


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """What a token must say; it may last `longest_life` more seconds at the most."""

    issuer: str | None = None
    audience: str | None = None
    longest_life: float = 86_400

    def check(self, token: str, key: jwt.PyJWK) -> Identity:
        """The subject of a token that is signed by this key, with this key's algorithm. Raises `InvalidToken`."""
        identity = _decode(token, key, self)
        # However long it is remembered.
        self.check_end(identity.expires_at)
        return identity

    def check_end(self, exp: object) -> float:
        """The end of a token, which is still to come, but not too far away. Raises `InvalidToken`."""
        now = time.time()
        # Written so that NaN is refused, for which every comparison is false.
        if isinstance(exp, int | float) and now < exp <= now + self.longest_life + LEEWAY:
            return float(exp)
        raise InvalidToken


# A client shows the same token with each request. Only valid ones are remembered, each with the key that it is signed
# with: a token whose key is no longer published does not get here.
@lru_cache(maxsize=2048)
def _decode(token: str, key: jwt.PyJWK, rules: ClaimRules) -> Identity:
    try:
        decoded = jwt.decode_complete(
            token,
            key,
            # Pinned: a token must not choose how it is checked.
            algorithms=[key.algorithm_name],
            issuer=rules.issuer,
            audience=rules.audience,
            leeway=LEEWAY,
            options={"require": ["exp", "sub"], "verify_aud": rules.audience is not None},
        )
    except jwt.PyJWTError:
        raise InvalidToken from None
    # No extension is understood here, not even the one that the library knows.
    if "crit" in decoded["header"]:
        raise InvalidToken
    claims = decoded["payload"]
    return Identity(_check_subject(claims["sub"]), rules.check_end(claims["exp"]))


def _check_subject(subject: str) -> str:
    if not subject.strip() or len(subject) > 255 or not subject.isprintable():
        raise InvalidToken
    return subject


def _read_token(authorization: object) -> str:
    if not isinstance(authorization, str) or len(authorization) > MAX_LENGTH:
        raise InvalidToken
    match = _BEARER.fullmatch(authorization)
    if match is None:
        raise InvalidToken
    return match[1]


def _read_key_id(token: str) -> str | None:
    """The key that the token says it is signed with: a name to look up, believed in nothing else."""
    try:
        key_id: str | None = jwt.get_unverified_header(token).get("kid")
    except jwt.PyJWTError:
        raise InvalidToken from None
    return key_id


class SecretVerifier:
    """Checks tokens that are signed with one secret by HMAC-SHA-256."""

    is_ready = True

    def __init__(self, secret: str, rules: ClaimRules) -> None:
        encoded = base64.urlsafe_b64encode(secret.encode()).decode().rstrip("=")
        self._key = jwt.PyJWK({"kty": "oct", "k": encoded}, "HS256")
        self._rules = rules

    def start(self) -> None:
        """Nothing goes on beside requests."""

    async def verify(self, authorization: object) -> Identity:
        return self._rules.check(_read_token(authorization), self._key)

    async def close(self) -> None:
        """Nothing is open."""


class KeySetVerifier:
    """Checks tokens that are signed by a key of a published set: RS256, ES256 or EdDSA, as the key is."""

    def __init__(self, keys: "RemoteKeySet", rules: ClaimRules) -> None:
        self._keys = keys
        self._rules = rules

    @property
    def is_ready(self) -> bool:
        return self._keys.is_ready

    def start(self) -> None:
        self._keys.start()

    async def verify(self, authorization: object) -> Identity:
        token = _read_token(authorization)
        key = await self._keys.find(_read_key_id(token))
        if key is None:
            raise InvalidToken
        return self._rules.check(token, key)

    async def close(self) -> None:
        await self._keys.close()


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
