"""Verifiers of tokens that trust a key server of the test's own."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from server.auth import ClaimRules, InvalidToken, KeySetVerifier
from server.jwks import RemoteKeySet
from tests.conftest import PATIENCE
from tests.keyserver import KeyServer, run_key_server

Connect = Callable[..., KeySetVerifier]


@pytest.fixture
async def key_server() -> AsyncIterator[KeyServer]:
    """A key server that has published nothing yet."""
    async with run_key_server() as server:
        yield server


@pytest.fixture
async def connect(key_server: KeyServer) -> AsyncIterator[Connect]:
    """Makes verifiers that trust the key server; times in seconds."""
    verifiers: list[KeySetVerifier] = []

    def connect(
        url: str | None = None,
        *,
        refresh_every: float = 600,
        cool_down: float = 0,
        fetch_timeout: float = PATIENCE,
        **rules: Any,
    ) -> KeySetVerifier:
        keys = RemoteKeySet(
            url or key_server.url, refresh_every=refresh_every, cool_down=cool_down, fetch_timeout=fetch_timeout
        )
        verifiers.append(KeySetVerifier(keys, ClaimRules(**rules)))
        return verifiers[-1]

    yield connect
    for verifier in verifiers:
        await verifier.close()


async def owner(verifier: KeySetVerifier, authorization: str) -> str:
    """Whose token it is; `InvalidToken` where it is refused."""
    return (await verifier.verify(authorization)).owner_id


async def is_refused(verifier: KeySetVerifier, authorization: str) -> bool:
    """Whether a token is refused, without a word of why."""
    try:
        await verifier.verify(authorization)
    except InvalidToken as refusal:
        # Nothing in it, behind it or before it tells why.
        return not refusal.args and refusal.__cause__ is None
    return False
