"""When keys are fetched: they are rotated, the key server fails or is slow, and thousands ask at once."""

import asyncio
import gc
import gzip
import logging
from collections.abc import Callable

import pytest

from server import jwks
from server.auth import ClaimRules, KeySetVerifier
from server.jwks import MAX_BYTES, RemoteKeySet
from tests.acceptance.verifiers import Connect, connect, is_refused, key_server, owner
from tests.conftest import PATIENCE, Clock, until
from tests.keyserver import ALGORITHMS, Algorithm, KeyServer, create_key, run_key_server

__all__ = ["connect", "key_server"]


# Rotation


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


async def test_a_set_without_keys_takes_away_those_before_it(key_server: KeyServer, connect: Connect) -> None:
    key = create_key("ES256")
    key_server.publish(key)
    verifier = connect()
    assert await owner(verifier, key.bearer()) == "ann"
    key_server.publish()
    assert await is_refused(verifier, create_key("ES256", "unknown").bearer())
    assert await is_refused(verifier, key.bearer())
    assert not verifier.is_ready


# Outage


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


# Load


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
