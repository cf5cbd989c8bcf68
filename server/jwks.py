"""The public keys of whoever issues the tokens: a JSON Web Key Set, fetched over HTTP and kept."""

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import aclosing

import httpx2
import orjson
from jwt import PyJWK, PyJWTError

logger = logging.getLogger(__name__)

#: A set of a few keys with their certificates has some 10 kB.
MAX_BYTES = 256 * 1024
MAX_KEYS = 100
MIN_RSA_BITS = 2048


class _Unusable(Exception):
    """The key server's answer is no key set; the text says why, and is for the log."""


class KeySet:
    """Keys that verify tokens, each for one algorithm."""

    def __init__(self, keys: Sequence[PyJWK] = ()) -> None:
        self._keys = keys
        self._by_id: dict[str, PyJWK] = {}
        for key in keys:
            if key.key_id is not None:
                self._by_id.setdefault(key.key_id, key)

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, key_id: str | None) -> PyJWK | None:
        """The first key of this name; a token that names none must mean the only one there is."""
        if key_id is not None:
            return self._by_id.get(key_id)
        return self._keys[0] if len(self._keys) == 1 else None


def parse_key_set(body: bytes) -> KeySet:
    """The usable keys of a JWK Set (RFC 7517); the others are passed over. Raises `ValueError` if it is none."""
    document = orjson.loads(body)
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError("it is not a JWK Set")
    return KeySet([key for jwk in document["keys"][:MAX_KEYS] if (key := parse_key(jwk)) is not None])


def parse_key(jwk: object) -> PyJWK | None:
    """The public key in a JWK, bound to the one algorithm of its kind; None if it must not verify tokens."""
    if not isinstance(jwk, dict) or not isinstance(jwk.get("kid"), str | None):
        return None
    match jwk.get("kty"), jwk.get("crv"):
        case "RSA", _:
            algorithm = "RS256"
        case "EC", "P-256":
            algorithm = "ES256"
        case "OKP", "Ed25519":
            algorithm = "EdDSA"
        case _:
            return None
    # A private key that is published is anyone's.
    if not _is_for_signatures(jwk, algorithm) or "d" in jwk:
        return None
    try:
        key = PyJWK(jwk, algorithm)
    except PyJWTError:
        return None
    return None if algorithm == "RS256" and key.key.key_size < MIN_RSA_BITS else key


def _is_for_signatures(jwk: dict[str, object], algorithm: str) -> bool:
    operations = jwk.get("key_ops")
    return (
        jwk.get("alg") in (None, algorithm)
        and jwk.get("use") in (None, "sig")
        and (operations is None or (isinstance(operations, list) and "verify" in operations))
    )


def _parse_address(url: str) -> httpx2.URL:
    try:
        address = httpx2.URL(url)
    except httpx2.InvalidURL:
        raise ValueError("the address of the key set is no URL") from None
    if address.scheme not in ("http", "https") or not address.host:
        raise ValueError("the address of the key set must begin with https:// or http://")
    return address


class RemoteKeySet:
    """The key set at an address: as it was fetched last, for as long as the key server is away."""

    def __init__(
        self, url: str, *, refresh_every: float = 600, cool_down: float = 30, fetch_timeout: float = 5
    ) -> None:
        """All in seconds; between the beginnings of two fetches lies a `cool_down`. Raises `ValueError` for the URL."""
        self._url = _parse_address(url)
        self._refresh_every = refresh_every
        self._cool_down = cool_down
        self._fetch_timeout = fetch_timeout
        # No redirects: keys are trusted for coming from this address. Minutes lie between two fetches.
        limits = httpx2.Limits(max_connections=1, max_keepalive_connections=0)
        # The time-out is of a whole fetch, below: the client's own would begin anew with every byte.
        self._client = httpx2.AsyncClient(follow_redirects=False, limits=limits, timeout=None)
        self._keys = KeySet()
        self._failed = False
        self._next_fetch = 0.0
        self._fetch: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def is_ready(self) -> bool:
        """Whether there is any key to verify tokens with."""
        return len(self._keys) > 0

    def start(self) -> None:
        """Fetch the set now, and again every few minutes, in the background; needs a running event loop."""
        self._keeper = asyncio.create_task(self._keep_fresh())

    async def close(self) -> None:
        self._next_fetch = float("inf")
        tasks = [task for task in (self._keeper, self._fetch) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    async def find(self, key_id: str | None) -> PyJWK | None:
        """The key of a token; where it is not known, the set is fetched again, but not before the cool-down is over."""
        key = self._keys.find(key_id)
        if key is None:
            await self._refresh()
            key = self._keys.find(key_id)
        return key

    async def _keep_fresh(self) -> None:
        while True:
            await self._refresh()
            await asyncio.sleep(self._refresh_every if self.is_ready and not self._failed else self._cool_down)

    async def _refresh(self) -> None:
        """Fetch the set, unless that was tried a moment ago; who asks while a fetch is under way shares it."""
        if self._fetch is None or self._fetch.done():
            if time.monotonic() < self._next_fetch:
                return
            self._next_fetch = time.monotonic() + self._cool_down
            self._fetch = asyncio.create_task(self._replace_keys())
        # A request that is given up must not take the fetch of the others with it: wait does not cancel.
        await asyncio.wait([self._fetch])

    async def _replace_keys(self) -> None:
        self._failed = True
        try:
            async with asyncio.timeout(self._fetch_timeout):
                keys = parse_key_set(await self._download())
        except (httpx2.HTTPError, TimeoutError, ValueError, _Unusable) as error:
            fallback = "the last one stays in use" if self.is_ready else "no token can be verified"
            reason = str(error) if isinstance(error, _Unusable) else type(error).__name__
            logger.warning("No key set from %s (%s): %s", self._url.host, reason, fallback)
            return
        self._keys, self._failed = keys, False
        if not keys:
            logger.warning("The key set from %s has no usable key: no token can be verified", self._url.host)

    async def _download(self) -> bytes:
        async with self._client.stream("GET", self._url, headers={"Accept": "application/json"}) as response:
            if response.status_code != 200:
                raise _Unusable(f"status {response.status_code}")
            body = bytearray()
            async with aclosing(response.aiter_bytes()) as pieces:
                async for piece in pieces:
                    body += piece
                    if len(body) > MAX_BYTES:
                        raise _Unusable(f"more than {MAX_BYTES} bytes")
            return bytes(body)
