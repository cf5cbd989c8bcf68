"""Tokens that an identity provider signs: its published keys are trusted, and nothing that a token says of itself."""

import asyncio
import gc
import gzip
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest

from server import jwks
from server.auth import ClaimRules, InvalidToken, KeySetVerifier, create_verifier, issue_token
from server.jwks import MAX_BYTES, MAX_KEYS, RemoteKeySet
from tests.acceptance.test_auth import REFUSAL, VIEWER, close_code, knock, post, sign_in
from tests.conftest import PATIENCE, Clock, StartServer, until
from tests.keyserver import (
    ALGORITHMS,
    Algorithm,
    KeyServer,
    SigningKey,
    claims_of,
    create_key,
    encode,
    forge,
    hmac_by,
    run_key_server,
)
from tests.model import SECRET, ScriptedModel

Connect = Callable[..., KeySetVerifier]


@pytest.fixture
async def key_server() -> AsyncIterator[KeyServer]:
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
    return (await verifier.verify(authorization)).owner_id


async def is_refused(verifier: KeySetVerifier, authorization: str) -> bool:
    try:
        await verifier.verify(authorization)
    except InvalidToken as refusal:
        # Nothing in it, behind it or before it tells why.
        return not refusal.args and refusal.__cause__ is None
    return False


# --- The keys


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


# --- Attacks


def attacks(key: SigningKey) -> dict[str, str]:
    """Tokens for ann that the holder of no private key can make."""
    thief = create_key(key.algorithm, "thief")
    good = key.issue()
    head, body, signature = good.split(".")
    header = {"typ": "JWT", "kid": key.id}
    hs256 = {**header, "alg": "HS256"}
    return {
        "alg none": forge({**header, "alg": "none"}, claims_of(), lambda _: b""),
        "alg none, with the signature of another token": forge({**header, "alg": "none"}, claims_of(), key.sign),
        "alg None": forge({**header, "alg": None}, claims_of(), key.sign),
        "alg missing": forge(header, claims_of(), key.sign),
        "alg in lower case": forge({**header, "alg": key.algorithm.lower()}, claims_of(), key.sign),
        "alg is a list": forge({**header, "alg": [key.algorithm]}, claims_of(), key.sign),
        "HS256 by the key's file": forge(hs256, claims_of(), hmac_by(key.pem)),
        "HS256 by the key's file, stripped": forge(hs256, claims_of(), hmac_by(key.pem.strip())),
        "HS256 by the JWK": forge(hs256, claims_of(), hmac_by(json.dumps(key.jwk).encode())),
        "HS256 by nothing": forge(hs256, claims_of(), hmac_by(b"")),
        "HS256 by a JWK of its own": forge(
            {**hs256, "jwk": {"kty": "oct", "k": encode(b"k" * 40)}}, claims_of(), hmac_by(b"k" * 40)
        ),
        "HS256 by the secret of this server": issue_token(SECRET, "ann", 3600),
        **{
            f"the right key under {other}": forge({**header, "alg": other}, claims_of(), key.sign)
            for other in ("RS256", "RS384", "PS256", "ES256", "ES384", "ES256K", "EdDSA", "Ed25519", "HS256")
            if other != key.algorithm
        },
        "another key under this name": SigningKey(key.algorithm, key.id, thief.private).issue(),
        "another key under its own name": thief.issue(),
        "another key, in the header": SigningKey(key.algorithm, key.id, thief.private).issue(header={"jwk": thief.jwk}),
        "another key, at an address": SigningKey(key.algorithm, key.id, thief.private).issue(
            header={"jku": "http://127.0.0.1:9/jwks.json", "x5u": "http://127.0.0.1:9/", "x5c": ["AA=="]}
        ),
        "an extension that must be understood": key.issue(header={"crit": ["x"], "x": 1}),
        "an extension that libraries understand": key.issue(header={"crit": ["b64"], "b64": True}),
        "an empty list of extensions": key.issue(header={"crit": []}),
        "kid is a number": key.issue(header={"kid": 1}),
        "kid is null": key.issue(header={"kid": None}),
        "kid is empty": key.issue(header={"kid": ""}),
        "kid is a path": key.issue(header={"kid": "../../../../dev/null"}),
        "kid is a query": key.issue(header={"kid": "x' or '1'='1"}),
        "no signature": f"{head}.{body}.",
        "a cut signature": good[:-4],
        "a padded signature": f"{good}{'=' * (-len(signature) % 4 or 4)}",
        "another payload": f"{head}.{encode(json.dumps(claims_of('bob')).encode())}.{signature}",
        "a signature of zeros": forge({**header, "alg": key.algorithm}, claims_of(), lambda _: b"\0" * 64),
    }


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_no_token_chooses_how_it_is_verified(
    algorithm: Algorithm, key_server: KeyServer, connect: Connect
) -> None:
    key = create_key(algorithm)
    # Two keys, so that a token without a name is not taken for theirs.
    key_server.publish(key, create_key("RS256", "another"))
    verifier = connect()
    for name, token in attacks(key).items():
        assert await is_refused(verifier, f"Bearer {token}"), name
    assert await owner(verifier, key.bearer()) == "ann"


async def test_a_token_is_not_verified_by_a_key_that_it_brings(key_server: KeyServer, connect: Connect) -> None:
    async with run_key_server() as thiefs:
        thief = create_key("RS256", "thief")
        thiefs.publish(thief)
        key_server.publish(create_key("RS256"))
        verifier = connect()
        assert await is_refused(verifier, thief.bearer(header={"jku": thiefs.url, "x5u": thiefs.url}))
        assert thiefs.requests == 0


async def test_other_headers_do_no_harm(key_server: KeyServer, connect: Connect) -> None:
    key = create_key("RS256")
    key_server.publish(key)
    verifier = connect()
    assert await owner(verifier, key.bearer(header={"typ": "at+jwt", "x5t": "abc", "jku": "http://x"})) == "ann"
    assert await owner(verifier, key.bearer(header={"typ": ...})) == "ann"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_the_claims_are_checked_as_those_of_a_secret_are(
    algorithm: Algorithm, key_server: KeyServer, connect: Connect
) -> None:
    key = create_key(algorithm)
    key_server.publish(key)
    verifier = connect(issuer="https://login.example.org", audience="loquent", longest_life=7200)
    valid: dict[str, Any] = {"iss": "https://login.example.org", "aud": ["loquent", "other"]}
    now = int(time.time())
    assert await owner(verifier, key.bearer(**valid, iat=now + 5, nbf=now + 5)) == "ann"
    wrong: list[dict[str, Any]] = [
        {"iss": ...},
        {"iss": "https://other.example.org"},
        {"aud": ...},
        {"aud": "other"},
        {"exp": now - 1},
        {"exp": now + 7300},
        {"exp": ...},
        {"nbf": now + 60},
        {"iat": now + 60},
    ]
    for change in wrong:
        assert await is_refused(verifier, key.bearer(**{**valid, **change})), change
    assert await is_refused(verifier, key.bearer("", **valid))
    assert await is_refused(verifier, key.bearer(**valid, padding="x" * 8192))


# --- Rotation, outage, load


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_new_key_is_accepted_as_soon_as_a_token_names_it(
    algorithm: Algorithm, key_server: KeyServer, connect: Connect
) -> None:
    old, new = create_key(algorithm, "old"), create_key(algorithm, "new")
    key_server.publish(old)
    verifier = connect()
    assert await owner(verifier, old.bearer()) == "ann"
    key_server.publish(old, new)
    assert await owner(verifier, new.bearer()) == "ann"
    assert await owner(verifier, old.bearer()) == "ann"
    assert key_server.requests == 2
    key_server.publish(new)
    assert await is_refused(verifier, create_key(algorithm, "unknown").bearer())
    assert await is_refused(verifier, old.bearer())


async def test_a_key_that_is_no_longer_published_is_forgotten_without_being_asked_for(
    key_server: KeyServer, connect: Connect
) -> None:
    old, new = create_key("EdDSA", "old"), create_key("EdDSA", "new")
    key_server.publish(old)
    verifier = connect(refresh_every=0.05)
    verifier.start()
    await until(lambda: verifier.is_ready)
    assert await owner(verifier, old.bearer()) == "ann"
    key_server.publish(new)
    await until(lambda: is_refused(verifier, old.bearer()))
    assert await owner(verifier, new.bearer()) == "ann"


FAILURES: dict[str, Callable[[KeyServer], None]] = {
    "status 500": lambda server: server.answer({}, status=500),
    "status 404, with keys": lambda server: server.answer({"keys": [create_key("RS256", "new").jwk]}, status=404),
    "a broken connection": lambda server: server.drop(),
    "silence": lambda server: server.hang(),
    "an answer without an end": lambda server: server.drip(),
    "a flood": lambda server: server.drip(b" " * 65536, pause=0),
    "too long an answer": lambda server: server.answer(b'{"keys": []' + b" " * MAX_BYTES + b"}"),
    "too long an answer, compressed": lambda server: server.answer(
        gzip.compress(b'{"keys": []' + b" " * 100_000_000 + b"}"), headers="Content-Encoding: gzip\r\n"
    ),
    "no gzip": lambda server: server.answer(b'{"keys": []}', headers="Content-Encoding: gzip\r\n"),
    "nothing": lambda server: server.answer(b""),
    "no JSON": lambda server: server.answer(b"<html>Sign in</html>"),
    "no text": lambda server: server.answer(b"\xff\xfe\x00"),
    "half of it": lambda server: server.answer(b'{"keys": ['),
    "null": lambda server: server.answer(None),
    "a list": lambda server: server.answer([create_key("RS256", "new").jwk]),
    "a number": lambda server: server.answer(10**400),
    "no keys": lambda server: server.answer({"error": "x"}),
    "keys that are none": lambda server: server.answer({"keys": {"1": create_key("RS256", "new").jwk}}),
    "a bottomless list": lambda server: server.answer(b"[" * 200_000),
}


#: Those that only the time-out ends: seconds in which a busy machine asks for a set and gets it.
ENDLESS = dict.fromkeys(("silence", "an answer without an end"), 3.0)


@pytest.mark.parametrize("failure", FAILURES)
async def test_the_last_key_set_stays_in_use_while_the_key_server_fails(
    failure: str, key_server: KeyServer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    key, new = create_key("RS256"), create_key("RS256", "new")
    key_server.publish(key)
    verifier = connect(fetch_timeout=ENDLESS.get(failure, PATIENCE))
    assert await owner(verifier, key.bearer()) == "ann"
    FAILURES[failure](key_server)
    with caplog.at_level(logging.WARNING, "server.jwks"):
        assert await is_refused(verifier, new.bearer())
    assert key_server.requests == 2
    (warning,) = caplog.records
    assert "the last one stays in use" in warning.getMessage()
    assert await owner(verifier, key.bearer()) == "ann"
    assert verifier.is_ready
    key_server.publish(new)
    assert await owner(verifier, new.bearer()) == "ann"


@pytest.mark.parametrize("failure", FAILURES)
async def test_no_token_is_accepted_before_there_was_a_key_set(
    failure: str, key_server: KeyServer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    new = create_key("RS256", "new")
    FAILURES[failure](key_server)
    verifier = connect(fetch_timeout=0.5 if failure in ENDLESS else PATIENCE)
    with caplog.at_level(logging.WARNING, "server.jwks"):
        assert await is_refused(verifier, new.bearer())
    assert not verifier.is_ready
    (warning,) = caplog.records
    assert "no token can be verified" in warning.getMessage()
    assert new.issue() not in caplog.text


async def test_keys_are_not_fetched_from_where_a_redirect_leads(key_server: KeyServer, connect: Connect) -> None:
    key = create_key("RS256")
    async with run_key_server() as elsewhere:
        elsewhere.publish(key)
        key_server.answer({}, status=302, headers=f"Location: {elsewhere.url}\r\n")
        assert await is_refused(connect(), key.bearer())
        assert elsewhere.requests == 0


async def test_an_outage_at_the_start_ends_by_itself(connect: Connect, key_server: KeyServer) -> None:
    key = create_key("ES256")
    key_server.answer({}, status=503)
    verifier = connect(cool_down=0.05)
    verifier.start()
    await until(lambda: key_server.requests > 2)
    assert not verifier.is_ready
    key_server.publish(key)
    await until(lambda: verifier.is_ready)
    asked = key_server.requests
    assert await owner(verifier, key.bearer()) == "ann"
    await asyncio.sleep(0.2)
    assert key_server.requests == asked


async def test_an_outage_is_looked_at_again_sooner_than_a_fresh_key_set(
    connect: Connect, key_server: KeyServer
) -> None:
    key_server.publish(create_key("ES256"))
    verifier = connect(refresh_every=1, cool_down=0.05)
    verifier.start()
    await until(lambda: verifier.is_ready)
    key_server.answer({}, status=503)
    await until(lambda: key_server.requests >= 2)
    # As seldom as a fresh set it would be asked for in 10 s.
    await until(lambda: key_server.requests >= 12, seconds=8)


async def test_nobody_at_the_address_is_an_outage_too(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    verifier = connect("http://name:word@127.0.0.1:9/jwks.json?key=word")
    with caplog.at_level(logging.DEBUG, "server"):
        assert await is_refused(verifier, create_key("ES256").bearer())
    assert "127.0.0.1" in caplog.text
    assert "word" not in caplog.text


async def test_a_set_without_keys_takes_away_those_before_it(key_server: KeyServer, connect: Connect) -> None:
    key = create_key("ES256")
    key_server.publish(key)
    verifier = connect()
    assert await owner(verifier, key.bearer()) == "ann"
    key_server.publish()
    assert await is_refused(verifier, create_key("ES256", "unknown").bearer())
    assert await is_refused(verifier, key.bearer())
    assert not verifier.is_ready


async def test_of_a_set_with_thousands_of_keys_only_the_first_are_read(key_server: KeyServer, connect: Connect) -> None:
    first, last = create_key("EdDSA", "first"), create_key("EdDSA", "last")
    key_server.publish(first, *[{**create_key("EdDSA").jwk, "kid": str(n)} for n in range(MAX_KEYS)], last)
    verifier = connect()
    assert await owner(verifier, first.bearer()) == "ann"
    assert await is_refused(verifier, last.bearer())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time by which sets are fetched again."""
    clock = Clock()
    monkeypatch.setattr(jwks, "time", clock)
    return clock


async def test_a_thousand_tokens_of_unknown_keys_make_one_fetch(
    key_server: KeyServer, connect: Connect, clock: Clock
) -> None:
    key = create_key("EdDSA")
    key_server.publish(key)
    verifier = connect(cool_down=30)
    assert await owner(verifier, key.bearer()) == "ann"
    clock.now += 30
    key_server.answer({"keys": [key.jwk]}, delay=0.2)
    unknown = [key.bearer(header={"kid": f"unknown {n}"}) for n in range(1000)]
    assert all(await asyncio.gather(*[is_refused(verifier, token) for token in unknown]))
    # Once the fetch is over, the cool-down holds.
    assert all(await asyncio.gather(*[is_refused(verifier, token) for token in unknown]))
    assert key_server.requests == 2


async def test_after_the_cool_down_the_set_is_fetched_again(
    key_server: KeyServer, connect: Connect, clock: Clock
) -> None:
    old, new = create_key("EdDSA", "old"), create_key("EdDSA", "new")
    key_server.publish(old)
    verifier = connect(cool_down=30)
    assert await owner(verifier, old.bearer()) == "ann"
    key_server.publish(old, new)
    clock.now += 29.9
    assert await is_refused(verifier, new.bearer())
    assert key_server.requests == 1
    clock.now += 0.1
    assert await owner(verifier, new.bearer()) == "ann"
    assert key_server.requests == 2


async def test_first_requests_share_one_fetch(key_server: KeyServer, connect: Connect) -> None:
    key = create_key("EdDSA")
    key_server.answer({"keys": [key.jwk]}, delay=0.1)
    verifier = connect()
    verifier.start()
    owners = await asyncio.gather(*[owner(verifier, key.bearer(f"user {n}")) for n in range(100)])
    assert owners == [f"user {n}" for n in range(100)]
    assert key_server.requests == 1


async def test_a_slow_key_server_delays_no_token_of_a_known_key(key_server: KeyServer, connect: Connect) -> None:
    key = create_key("EdDSA")
    key_server.publish(key)
    verifier = connect()
    assert await owner(verifier, key.bearer()) == "ann"
    key_server.hang()
    strangers = [asyncio.create_task(is_refused(verifier, create_key("EdDSA", f"{n}?").bearer())) for n in range(20)]
    await until(lambda: key_server.requests == 2)
    bearer = key.bearer()
    async with asyncio.timeout(30):
        for _ in range(200):
            assert await owner(verifier, bearer) == "ann"
            await asyncio.sleep(0)
    # The fetch still goes on.
    assert not any(stranger.done() for stranger in strangers)
    await verifier.close()
    assert all(await asyncio.gather(*strangers))


async def test_a_request_that_is_given_up_does_not_end_the_fetch_of_others(
    key_server: KeyServer, connect: Connect
) -> None:
    key = create_key("EdDSA")
    key_server.answer({"keys": [key.jwk]}, delay=0.2)
    verifier = connect()
    impatient = asyncio.create_task(owner(verifier, key.bearer()))
    await until(lambda: key_server.requests == 1)
    patient = asyncio.create_task(owner(verifier, key.bearer("bob")))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == "bob"
    assert impatient.cancelled()
    assert key_server.requests == 1


async def test_closing_lets_go_of_everything(key_server: KeyServer, caplog: pytest.LogCaptureFixture) -> None:
    key_server.hang()
    verifier = KeySetVerifier(RemoteKeySet(key_server.url, cool_down=0, fetch_timeout=600), ClaimRules())
    verifier.start()
    waiting = asyncio.create_task(is_refused(verifier, create_key("EdDSA").bearer()))
    await until(lambda: key_server.requests == 1)
    async with asyncio.timeout(60):
        await verifier.close()
        assert await waiting
        assert await is_refused(verifier, create_key("EdDSA").bearer())
    assert key_server.requests == 1
    # A task that failed is told of when it is forgotten.
    del verifier, waiting
    gc.collect()
    assert not caplog.records


# --- Which of both


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,{}", "jwks.json", "http://", "", "http://a:b:c", "\0"]
)
async def test_only_an_http_address_can_have_the_key_set(url: str) -> None:
    with pytest.raises(ValueError):
        create_verifier(secret=None, jwks_url=url, issuer=None, audience=None, longest_life=60)


async def test_a_secret_and_a_key_set_are_not_both_believed(key_server: KeyServer) -> None:
    for secret, url in ((SECRET, key_server.url), (None, None)):
        with pytest.raises(ValueError):
            create_verifier(secret=secret, jwks_url=url, issuer=None, audience=None, longest_life=60)


async def test_a_server_with_a_key_set_lets_in_who_the_key_server_knows(
    start_server: StartServer, model: ScriptedModel, key_server: KeyServer
) -> None:
    key, new = create_key("EdDSA"), create_key("RS256", "new")
    key_server.publish(key)
    async with start_server(jwks_url=key_server.url, jwt_secret=None) as server:
        headers = {"Authorization": key.bearer("ann")}
        response = await post(server.url, headers)
        assert (response.status_code, response.json()) == (200, {"data": {"viewer": {"id": "ann"}}})
        async with knock(server.url) as connection:
            assert await sign_in(connection, headers) == "connection_ack"
        for name, token in {**attacks(key), "an unknown key": new.issue()}.items():
            headers = {"Authorization": f"Bearer {token}"}
            response = await post(server.url, headers)
            assert (response.status_code, response.json()) == (401, REFUSAL), name
            async with knock(server.url) as connection:
                assert await sign_in(connection, headers) == 4403, name
                assert await close_code(connection) == 4403
        assert key_server.requests <= 2


async def test_a_server_says_that_it_has_no_keys_yet(
    start_server: StartServer, model: ScriptedModel, key_server: KeyServer
) -> None:
    key_server.answer({}, status=500)
    async with start_server(jwks_url=key_server.url, jwt_secret=None) as server, httpx2.AsyncClient() as client:
        await until(lambda: key_server.requests == 1)
        assert (await client.get(f"{server.url}/readyz")).status_code == 503
        assert (await client.get(f"{server.url}/healthz")).status_code == 200
        headers = {"Authorization": create_key("EdDSA").bearer()}
        response = await client.post(f"{server.url}/graphql", headers=headers, json={"query": VIEWER})
        assert (response.status_code, response.json()) == (401, REFUSAL)
