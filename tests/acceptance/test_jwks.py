"""Tokens that an identity provider signs: its published keys are trusted, and nothing that a token says of itself."""

import json
import time
from typing import Any

import httpx2
import pytest

from server.auth import create_verifier, issue_token
from tests.acceptance.test_auth import REFUSAL, VIEWER, close_code, knock, post, sign_in
from tests.acceptance.verifiers import Connect, connect, is_refused, key_server, owner
from tests.conftest import StartServer, until
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

__all__ = ["connect", "key_server"]


# Attacks


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


# A key set or a secret


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
