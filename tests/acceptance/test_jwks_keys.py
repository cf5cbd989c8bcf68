"""Which of the keys that a key server publishes verifies a token, and which never does."""

import time
from typing import Any

import pytest

from server.jwks import MAX_KEYS
from tests.acceptance.verifiers import Connect, connect, is_refused, key_server, owner
from tests.keyserver import ALGORITHMS, Algorithm, KeyServer, SigningKey, create_key, encode

__all__ = ["connect", "key_server"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_token_that_a_published_key_signed_is_accepted(
    algorithm: Algorithm, key_server: KeyServer, connect: Connect
) -> None:
    key = create_key(algorithm)
    key_server.publish(create_key("RS256", "other"), key, create_key("ES256", "third"))
    verifier = connect()
    end = int(time.time()) + 1000
    identity = await verifier.verify(key.bearer("ánn 🦔@example.org", exp=end))
    assert (identity.owner_id, identity.expires_at) == ("ánn 🦔@example.org", end)
    assert await owner(verifier, key.bearer("bob")) == "bob"
    assert key_server.requests == 1
    assert await is_refused(verifier, SigningKey(algorithm, "1", create_key(algorithm, "thief").private).bearer())


async def test_keys_are_found_among_those_that_cannot_be_used(key_server: KeyServer, connect: Connect) -> None:
    key = create_key("EdDSA")
    unusable: list[Any] = [
        None,
        7,
        "key",
        [],
        {},
        {"kty": "oct", "k": encode(b"k" * 40), "alg": "HS256", "kid": "1"},
        {"kty": "oct", "k": encode(b"k" * 40), "kid": "1"},
        {"kty": ["RSA"], "kid": "1"},
        {"kty": "RSA", "kid": "1"},
        {"kty": "RSA", "n": 7, "e": 3, "kid": "1"},
        {"kty": "RSA", "n": "", "e": "", "kid": "1"},
        {"kty": "RSA", "n": "!!", "e": "AQAB", "kid": "1"},
        {"kty": "EC", "crv": "P-256", "x": encode(b"x" * 32), "y": encode(b"y" * 32), "kid": "1"},
        {"kty": "EC", "crv": "P-521", "x": "", "y": "", "kid": "1"},
        {"kty": "OKP", "crv": "Ed25519", "x": encode(b"short"), "kid": "1"},
        {"kty": "OKP", "crv": "X25519", "x": encode(b"x" * 32), "kid": "1"},
        {"kty": "AKP", "alg": "ML-DSA-44", "pub": "", "kid": "1"},
        {**key.jwk, "use": "enc"},
        {**key.jwk, "key_ops": ["sign"]},
        {**key.jwk, "key_ops": "verify"},
        {**key.jwk, "alg": "RS256"},
        {**key.jwk, "alg": ["EdDSA"]},
        {**key.jwk, "kid": 1},
    ]
    key_server.publish(*unusable, key)
    verifier = connect()
    assert await owner(verifier, key.bearer("ann")) == "ann"
    key_server.publish(*unusable)
    other = connect()
    assert await is_refused(other, key.bearer("ann"))
    assert not other.is_ready


@pytest.mark.parametrize("change", [{"use": "enc"}, {"key_ops": ["encrypt"]}, {"alg": "RS512"}, {"alg": "HS256"}])
async def test_a_key_for_something_else_verifies_no_token(
    change: dict[str, Any], key_server: KeyServer, connect: Connect
) -> None:
    key = create_key("RS256")
    key_server.publish({**key.jwk, **change})
    assert await is_refused(connect(), key.bearer())


async def test_a_small_rsa_key_verifies_no_token(key_server: KeyServer, connect: Connect) -> None:
    key = create_key("RS256", "small", bits=1024)
    key_server.publish(key)
    assert await is_refused(connect(), key.bearer())


async def test_a_private_key_that_was_published_verifies_no_token(key_server: KeyServer, connect: Connect) -> None:
    for algorithm in ALGORITHMS:
        key = create_key(algorithm)
        key_server.publish({**key.jwk, **key.private_jwk, "key_ops": ["sign", "verify"]})
        assert await is_refused(connect(), key.bearer())


async def test_keys_that_do_not_say_what_they_are_for_are_used(key_server: KeyServer, connect: Connect) -> None:
    for algorithm in ALGORITHMS:
        key = create_key(algorithm)
        key_server.publish({name: value for name, value in key.jwk.items() if name not in ("alg", "use", "key_ops")})
        assert await owner(connect(), key.bearer()) == "ann"


async def test_a_token_that_names_no_key_means_the_only_one(key_server: KeyServer, connect: Connect) -> None:
    key, other = create_key("ES256"), create_key("EdDSA", "2")
    verifier = connect()
    key_server.publish(key, {"kty": "oct", "k": encode(b"k" * 40)})
    assert await owner(verifier, key.bearer(header={"kid": ...})) == "ann"
    key_server.publish(key, other)
    verifier = connect()
    assert await is_refused(verifier, key.bearer(header={"kid": ...}))
    assert await owner(verifier, key.bearer()) == "ann"


async def test_of_two_keys_with_one_name_the_first_counts(key_server: KeyServer, connect: Connect) -> None:
    first, second = create_key("ES256"), create_key("EdDSA")
    key_server.publish(first, second)
    verifier = connect()
    assert await owner(verifier, first.bearer()) == "ann"
    assert await is_refused(verifier, second.bearer())


async def test_a_token_that_names_a_key_does_not_mean_one_without_a_name(
    key_server: KeyServer, connect: Connect
) -> None:
    key = create_key("EdDSA", None)
    key_server.publish(key)
    verifier = connect()
    assert await owner(verifier, key.bearer()) == "ann"
    assert await is_refused(verifier, key.bearer(header={"kid": "1"}))


async def test_of_a_set_with_thousands_of_keys_only_the_first_are_read(key_server: KeyServer, connect: Connect) -> None:
    first, last = create_key("EdDSA", "first"), create_key("EdDSA", "last")
    key_server.publish(first, *[{**create_key("EdDSA").jwk, "kid": str(n)} for n in range(MAX_KEYS)], last)
    verifier = connect()
    assert await owner(verifier, first.bearer()) == "ann"
    assert await is_refused(verifier, last.bearer())
