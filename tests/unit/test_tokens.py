"""A valid token or `InvalidToken`: there is no third way out of a verifier, whatever it is given."""

import json
import math
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.auth import ClaimRules, Identity, InvalidToken, KeySetVerifier, SecretVerifier, Verifier, issue_token
from server.jwks import RemoteKeySet, parse_key, parse_key_set
from tests.keyserver import ALGORITHMS, SigningKey, claims_of, create_key, encode, forge, hmac_by, run_key_server
from tests.model import SECRET

#: No deadline: other work on the machine is no failure.
quick = settings(deadline=None, max_examples=150)

KINDS = ("HS256", *ALGORITHMS)

ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**400), 2**63, math.nan, math.inf, -math.inf, 1e308, "", "0", "NaN", "ann"])
    | st.floats()
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
CLAIMS = st.dictionaries(
    st.sampled_from(["sub", "exp", "iat", "nbf", "iss", "aud", "jti", "scope"]) | st.text(max_size=5), ANYTHING
)
HEADERS = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "cty", "crit", "b64", "jku", "jwk", "x5u", "x5c", "zip", "enc"])
    | st.text(max_size=5),
    st.sampled_from(["none", "HS256", "RS256", "ES256", "EdDSA", "1", "JWT", "DEF"]) | ANYTHING,
)


def sign(kind: str, header: dict[str, Any], claims: dict[str, Any]) -> str:
    """A token whose signature is right, whatever it says."""
    if kind == "HS256":
        return forge({"alg": "HS256", **header}, claims, hmac_by(SECRET.encode()))
    key = _key(kind)
    return forge({"alg": kind, "kid": key.id, **header}, claims, key.sign)


def _key(kind: str) -> SigningKey:
    return next(create_key(algorithm, algorithm) for algorithm in ALGORITHMS if algorithm == kind)


@pytest.fixture(scope="session")
async def verifiers() -> AsyncIterator[dict[str, Verifier]]:
    """A verifier for each kind of token; those for keys share one published set."""
    async with run_key_server() as server:
        server.publish(*[_key(algorithm) for algorithm in ALGORITHMS])
        published = KeySetVerifier(RemoteKeySet(server.url), ClaimRules())
        yield {"HS256": SecretVerifier(SECRET, ClaimRules()), **dict.fromkeys(ALGORITHMS, published)}
        await published.close()


async def judge(verifier: Verifier, authorization: object) -> Identity | None:
    """Who is let in, or None; any error but `InvalidToken` fails the test."""
    try:
        return await verifier.verify(authorization)
    except InvalidToken:
        return None


@pytest.mark.parametrize("kind", KINDS)
@quick
@given(st.data())
async def test_a_token_with_one_change_in_it_is_refused(
    kind: str, verifiers: dict[str, Verifier], data: st.DataObject
) -> None:
    token = sign(kind, {}, claims_of())
    assert await judge(verifiers[kind], f"Bearer {token}")
    place = data.draw(st.integers(0, len(token)))
    length = data.draw(st.integers(0, 3))
    put = data.draw(st.text("ABCDEFGHIJwxyz0129-_.=+/ \n\0é", max_size=3) | st.text(max_size=3))
    changed = token[:place] + put + token[place + length :]
    # White space around a token is no part of it.
    if changed.strip() != token:
        assert await judge(verifiers[kind], f"Bearer {changed}") is None


@pytest.mark.parametrize("kind", KINDS)
async def test_a_token_with_one_bit_flipped_is_refused(kind: str, verifiers: dict[str, Verifier]) -> None:
    token = sign(kind, {}, {"sub": "ann", "exp": int(time.time()) + 60})
    for place in range(len(token)):
        for bit in (1, 2, 4, 32):
            changed = token[:place] + chr(ord(token[place]) ^ bit) + token[place + 1 :]
            assert await judge(verifiers[kind], f"Bearer {changed}") is None, (place, bit)


@pytest.mark.parametrize("kind", KINDS)
@quick
@given(st.text() | st.text("eyJ.-_=aA0 ") | st.binary() | ANYTHING)
@example("Bearer " + "." * 5000)
@example("Bearer " + " " * 8000 + "x")
@example(" " * 8192)
@example("Bearer " + "e" * 10_000_000)
@example(f"Bearer {encode(b'[' * 3000)}.{encode(b'[' * 2000)}.x")
@example(f"Bearer {encode(b'{' + b'{' * 3000)}.e30.x")
@example(f"Bearer {encode(b'1' * 5000)}.e30.x")
@example("Bearer \ud800.\ud800.\ud800")
@example("Bearer é.é.é")
@example("Bearer ٣.٣.٣")
async def test_anything_but_a_token_is_refused(kind: str, verifiers: dict[str, Verifier], given: object) -> None:
    assert await judge(verifiers[kind], given) is None
    assert await judge(verifiers[kind], f"Bearer {given}") is None


@pytest.mark.parametrize("kind", KINDS)
@quick
@given(st.binary(max_size=200), st.binary(max_size=200), st.binary(max_size=80))
async def test_three_pieces_of_anything_are_no_token(
    kind: str, verifiers: dict[str, Verifier], header: bytes, payload: bytes, signature: bytes
) -> None:
    assert await judge(verifiers[kind], f"Bearer {encode(header)}.{encode(payload)}.{encode(signature)}") is None


@pytest.mark.parametrize("kind", KINDS)
@quick
@given(HEADERS)
@example({"b64": False, "crit": ["b64"]})
@example({"kid": "x" * 4000})
async def test_no_header_makes_a_wrong_signature_right(
    kind: str, verifiers: dict[str, Verifier], header: dict[str, Any]
) -> None:
    token = forge({"alg": kind, "kid": kind, **header}, claims_of(), lambda _: b"\1" * 64)
    assert await judge(verifiers[kind], f"Bearer {token}") is None


@pytest.mark.parametrize("kind", KINDS)
@quick
@given(HEADERS)
async def test_a_signed_header_of_anything_lets_in_its_subject_or_nobody(
    kind: str, verifiers: dict[str, Verifier], header: dict[str, Any]
) -> None:
    identity = await judge(verifiers[kind], f"Bearer {sign(kind, header, claims_of('ann'))}")
    if identity:
        assert identity.owner_id == "ann"
        assert header.get("alg", kind) == kind
        assert "crit" not in header


@pytest.mark.parametrize("kind", KINDS)
@quick
@given(CLAIMS)
async def test_signed_claims_of_anything_let_in_their_subject_until_their_end_or_nobody(
    kind: str, verifiers: dict[str, Verifier], drawn: dict[str, Any]
) -> None:
    claims = {**claims_of("ann"), **drawn}
    identity = await judge(verifiers[kind], f"Bearer {sign(kind, {}, claims)}")
    if identity:
        assert (identity.owner_id, identity.expires_at) == (claims["sub"], claims["exp"])
        assert type(claims["exp"]) in (int, float)
        assert time.time() < identity.expires_at <= time.time() + 86_400 + 10
        assert identity.owner_id.isprintable() and 0 < len(identity.owner_id) <= 255


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("payload", [b"[" * 4000, b"1" * 4000, b"null", b"\xff", b'"sub"', b'{"sub":' * 700, b""])
async def test_a_signed_payload_that_is_no_object_is_refused(
    payload: bytes, kind: str, verifiers: dict[str, Verifier]
) -> None:
    header = encode(json.dumps({"alg": kind, "kid": kind}).encode())
    signed = f"{header}.{encode(payload)}"
    make = hmac_by(SECRET.encode()) if kind == "HS256" else _key(kind).sign
    assert await judge(verifiers[kind], f"Bearer {signed}.{encode(make(signed.encode()))}") is None


@quick
@given(st.integers(-100, 200_000))
async def test_a_token_is_taken_until_its_end_if_that_is_near_enough(left: int) -> None:
    verifier = SecretVerifier(SECRET, ClaimRules(longest_life=100_000))
    now = int(time.time())
    identity = await judge(verifier, f"Bearer {sign('HS256', {}, {'sub': 'ann', 'exp': now + left})}")
    # A moment passes while it is judged, and clocks may differ by some seconds.
    if left not in range(-1, 30) and left not in range(100_000, 100_015):
        assert (identity is not None) == (0 < left <= 100_000)


async def test_clocks_may_differ_by_some_seconds_but_an_end_is_an_end() -> None:
    verifier = SecretVerifier(SECRET, ClaimRules(longest_life=3600))
    now = int(time.time())
    for claims, is_valid in (
        ({"iat": now + 5, "nbf": now + 5}, True),
        ({"iat": now + 20}, False),
        ({"nbf": now + 20}, False),
        ({"exp": now + 3605}, True),
        ({"exp": now + 3620}, False),
        ({"exp": now - 1}, False),
    ):
        token = sign("HS256", {}, claims_of("ann", **claims))
        assert (await judge(verifier, f"Bearer {token}") is not None) == is_valid, claims


async def test_a_token_that_is_remembered_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    verifier = SecretVerifier(SECRET, ClaimRules())
    now = int(time.time())
    bearer = f"Bearer {sign('HS256', {}, claims_of('ann', exp=now + 100))}"
    assert [await judge(verifier, bearer) is not None for _ in range(2)] == [True, True]
    monkeypatch.setattr(time, "time", lambda: now + 101.0)
    assert await judge(verifier, bearer) is None


async def test_what_is_remembered_of_a_token_goes_by_its_key_and_the_rules() -> None:
    bearer = f"Bearer {sign('HS256', {}, claims_of('ann'))}"
    assert await judge(SecretVerifier(SECRET, ClaimRules()), bearer) is not None
    assert await judge(SecretVerifier(SECRET[::-1], ClaimRules()), bearer) is None
    assert await judge(SecretVerifier(SECRET, ClaimRules(issuer="https://other.example.org")), bearer) is None


@quick
@given(st.text(min_size=1, max_size=255).filter(lambda text: bool(text.strip()) and text.isprintable()))
async def test_a_token_that_is_issued_here_is_valid_here(subject: str) -> None:
    rules = ClaimRules("https://login.example.org", "loquent", 3600)
    token = issue_token(SECRET, subject, 3600, issuer=rules.issuer, audience=rules.audience)
    identity = await SecretVerifier(SECRET, rules).verify(f"Bearer {token}")
    assert identity.owner_id == subject
    assert 3590 < identity.expires_at - time.time() <= 3600


@quick
@given(st.binary() | st.recursive(ANYTHING, lambda inner: st.fixed_dictionaries({"keys": inner})).map(json.dumps))
async def test_a_key_set_of_anything_is_a_set_or_a_value_error(body: bytes | str) -> None:
    try:
        parse_key_set(body if isinstance(body, bytes) else body.encode())
    except ValueError:
        return


@quick
@given(
    st.sampled_from([create_key(algorithm).jwk for algorithm in ALGORITHMS]),
    st.dictionaries(st.sampled_from(["kty", "crv", "n", "e", "x", "y", "alg", "use", "key_ops", "kid"]), ANYTHING),
)
async def test_a_key_of_anything_is_usable_or_passed_over(jwk: dict[str, Any], drawn: dict[str, Any]) -> None:
    key = parse_key({**jwk, **drawn})
    if key is not None:
        assert key.algorithm_name == jwk["alg"]


def test_a_key_set_is_read_whatever_else_it_says() -> None:
    jwk = create_key("ES256").jwk
    keys = parse_key_set(orjson.dumps({"issuer": "x", "keys": [{**jwk, "x5c": ["AA=="], "exp": 1}]}))
    assert (found := keys.find("1")) is not None
    assert found.algorithm_name == "ES256"
    assert keys.find("2") is None
    assert keys.find(None) is found
