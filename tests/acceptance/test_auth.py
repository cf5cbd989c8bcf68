"""Who has no valid token learns nothing, not even why; who has one is let in until it ends, and no longer."""

import asyncio
import base64
import hmac
import json
import logging
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from agent.stand_in.answers import Answer, Text
from server.auth import issue_token
from server.cli import main
from tests.client import STREAM, Client
from tests.conftest import ConnectClient, RunningServer, StartServer, until
from tests.model import SECRET, ScriptedModel

VIEWER = "{ viewer { id } }"
REFUSAL = {"errors": [{"message": "A valid bearer token is needed.", "extensions": {"code": "UNAUTHENTICATED"}}]}
HASHES = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512", "RS256": "sha256"}


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def sign(payload: str | bytes, *, alg: str = "HS256", secret: str = SECRET, **header: Any) -> str:
    """A token with this payload: built by hand, for a library refuses to build wrong ones."""
    payload = payload.encode() if isinstance(payload, str) else payload
    signed = f"{encode(json.dumps({'alg': alg, 'typ': 'JWT', **header}).encode())}.{encode(payload)}"
    name = HASHES.get(alg)
    signature = hmac.new(secret.encode(), signed.encode(), name).digest() if name else b""
    return f"{signed}.{encode(signature)}"


def claim(**claims: Any) -> str:
    """The payload of a valid token for ann, but for these claims; `...` leaves one out."""
    valid = {"sub": "ann", "exp": int(time.time()) + 3600, **claims}
    return json.dumps({name: value for name, value in valid.items() if value is not ...})


GOOD = issue_token(SECRET, "ann", 36_000)
_HEAD, _BODY, _SIGNATURE = GOOD.split(".")

#: Tokens, each wrong in its way.
TOKENS = {
    "no token at all": "nonsense",
    "three empty pieces": "..",
    "no base64": "a.b.c",
    "four pieces": f"{GOOD}.{_SIGNATURE}",
    "no signature": f"{_HEAD}.{_BODY}.",
    "a cut signature": GOOD[:-4],
    "another's signature": f"{_HEAD}.{encode(claim(sub='bob').encode())}.{_SIGNATURE}",
    "another secret": sign(claim(), secret="x" * 40),
    "no secret": sign(claim(), secret=""),
    "alg none": sign(claim(), alg="none"),
    "alg nOnE": sign(claim(), alg="nOnE"),
    "alg none, signed": f"{sign('', alg='none').split('.')[0]}.{_BODY}.{_SIGNATURE}",
    "alg HS384": sign(claim(), alg="HS384"),
    "alg HS512": sign(claim(), alg="HS512"),
    "alg RS256, signed with the secret": sign(claim(), alg="RS256"),
    "a key of its own": sign(claim(), secret="k" * 40, jwk={"kty": "oct", "k": encode(b"k" * 40)}),
    "an extension that must be understood": sign(claim(), crit=["x"], x=1),
    "an extension that libraries understand": sign(claim(), crit=["b64"], b64=True),
    "padded": f"{GOOD}=",
    "expired": sign(claim(exp=int(time.time()) - 1)),
    "expired long ago": sign(claim(exp=0)),
    "expired before 1970": sign(claim(exp=-(10**12))),
    "without exp": sign(claim(exp=...)),
    "exp is null": sign(claim(exp=None)),
    "exp is text": sign(claim(exp="for ever")),
    "exp is a list": sign(claim(exp=[9e9])),
    "exp is infinite": sign(claim(exp=math.inf)),
    "exp is not a number": sign(claim(exp=math.nan)),
    "exp is beyond all numbers": sign(claim(exp=10**400)),
    "exp is a numeral": sign(claim(exp=str(int(time.time()) + 3600))),
    "lasts too long": sign(claim(exp=int(time.time()) + 2 * 86_400)),
    "lasts for ever": sign(claim(exp=10**17)),
    "is very long": sign(claim(padding="x" * 8192)),
    "issued in the future": sign(claim(iat=int(time.time()) + 3600)),
    "iat is text": sign(claim(iat="yesterday")),
    "not yet valid": sign(claim(nbf=int(time.time()) + 3600)),
    "without sub": sign(claim(sub=...)),
    "sub is null": sign(claim(sub=None)),
    "sub is empty": sign(claim(sub="")),
    "sub is a number": sign(claim(sub=7)),
    "sub is true": sign(claim(sub=True)),
    "sub is a list": sign(claim(sub=["ann"])),
    "sub is an object": sign(claim(sub={"id": "ann"})),
    "sub is too long": sign(claim(sub="a" * 256)),
    "sub has a NUL": sign(claim(sub="ann\0")),
    "sub has half a surrogate pair": sign(claim(sub="ann\ud800")),
    "the payload is a list": sign('["ann"]'),
    "the payload is no JSON": sign("ann"),
    "the payload is no text": sign(b"\xff\xfe"),
}
#: What a client may give as `Authorization`.
REFUSED: dict[str, str | None] = {
    "missing": None,
    "empty": "",
    "a scheme alone": "Bearer",
    "another scheme": f"Basic {GOOD}",
    "no scheme": GOOD,
    "a scheme that begins like it": f"Bearers {GOOD}",
    "two tokens": f"Bearer {GOOD} {GOOD}",
    **{reason: f"Bearer {token}" for reason, token in TOKENS.items()},
}


async def post(url: str, headers: dict[str, str], body: Any = None) -> httpx2.Response:
    async with httpx2.AsyncClient(verify=False) as client:
        return await client.post(f"{url}/graphql", headers=headers, json=body or {"query": VIEWER})


@asynccontextmanager
async def knock(url: str) -> AsyncIterator[ClientConnection]:
    """A WebSocket on which nothing is said yet."""
    address = f"{url.replace('http', 'ws', 1)}/graphql"
    async with connect(address, subprotocols=["graphql-transport-ws"]) as connection:  # type: ignore[list-item]
        yield connection


async def close_code(connection: ClientConnection) -> int | None:
    """The code that the server closes with; whatever it says before is passed over."""
    try:
        async with asyncio.timeout(60):
            while True:
                await connection.recv()
    except ConnectionClosed:
        return connection.close_code


async def sign_in(connection: ClientConnection, payload: Any) -> Any:
    """The type of the answer to a `connection_init`, or the code that the server closes with."""
    await connection.send(json.dumps({"type": "connection_init", "payload": payload}))
    try:
        answer: str = json.loads(await asyncio.wait_for(connection.recv(), 60))["type"]
    except ConnectionClosed:
        return connection.close_code
    return answer


@pytest.mark.parametrize("reason", REFUSED)
async def test_no_http_request_is_answered_without_a_valid_token(
    reason: str, server: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    given = REFUSED[reason]
    with caplog.at_level(logging.INFO):
        response = await post(server.url, {} if given is None else {"Authorization": given})
    assert response.status_code == 401
    assert response.headers["www-authenticate"].split()[0] == "Bearer"
    # The same for every reason, so that none is told.
    assert response.json() == REFUSAL
    assert SECRET not in caplog.text
    assert TOKENS.get(reason, GOOD) not in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("reason", REFUSED)
async def test_no_websocket_is_let_in_without_a_valid_token(reason: str, server: RunningServer) -> None:
    async with knock(server.url) as connection:
        assert await sign_in(connection, {"Authorization": REFUSED[reason]}) == 4403
        assert connection.close_reason == "Forbidden"


@pytest.mark.parametrize(
    "payload",
    [{}, {"token": GOOD}, {"Authorization": "Bearer "}, {"Authorization": 7}, {"Authorization": [f"Bearer {GOOD}"]}],
)
async def test_a_websocket_whose_payload_has_no_token_is_closed(payload: dict[str, Any], server: RunningServer) -> None:
    async with knock(server.url) as connection:
        assert await sign_in(connection, payload) == 4403


async def test_a_connection_init_without_a_payload_is_closed(server: RunningServer) -> None:
    async with knock(server.url) as connection:
        await connection.send(json.dumps({"type": "connection_init"}))
        assert await close_code(connection) == 4403


async def test_a_connection_init_whose_payload_is_null_is_closed_as_one_without(server: RunningServer) -> None:
    async with knock(server.url) as connection:
        assert await sign_in(connection, None) == 4403


@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION", "aUTHORIZATION"])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_a_valid_token_is_taken_in_any_letter_case_of_its_name(
    name: str, scheme: str, server: RunningServer
) -> None:
    headers = {name: f"{scheme} {GOOD}"}
    response = await post(server.url, headers)
    assert response.status_code == 200
    assert response.json() == {"data": {"viewer": {"id": "ann"}}}
    async with knock(server.url) as connection:
        assert await sign_in(connection, headers) == "connection_ack"


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": time.time() + 3600.5},
        {"exp": int(time.time()) + 86_400},
        {"iat": time.time() + 2, "nbf": time.time() + 2},
        {"sub": "a" * 255},
        {"sub": "ánn 🦔@example.org"},
        {"aud": "x"},
    ],
)
async def test_unusual_but_valid_claims_are_taken(claims: dict[str, Any], server: RunningServer) -> None:
    headers = {"Authorization": f"Bearer {sign(claim(**claims), kid='7')}"}
    response = await post(server.url, headers)
    assert response.json() == {"data": {"viewer": {"id": claims.get("sub", "ann")}}}
    async with knock(server.url) as connection:
        assert await sign_in(connection, headers) == "connection_ack"


async def test_issuer_and_audience_must_be_those_that_are_set(start_server: StartServer, model: ScriptedModel) -> None:
    valid = {"iss": "https://login.example.org", "aud": "loquent"}
    wrong: list[dict[str, Any]] = [
        {"iss": None},
        {"iss": ...},
        {"iss": "https://other.example.org"},
        {"iss": "https://login.example.org/"},
        {"iss": ["https://login.example.org"]},
        {"iss": ""},
        {"aud": None},
        {"aud": ...},
        {"aud": "other"},
        {"aud": ["other"]},
        {"aud": []},
        {"aud": 7},
        {"iss": ..., "aud": ...},
    ]
    async with start_server(jwt_issuer=valid["iss"], jwt_audience=valid["aud"]) as server:
        for change in wrong:
            headers = {"Authorization": f"Bearer {sign(claim(**{**valid, **change}))}"}
            response = await post(server.url, headers)
            assert (response.status_code, response.json()) == (401, REFUSAL), change
            async with knock(server.url) as connection:
                assert await sign_in(connection, headers) == 4403, change
        for change in ({}, {"aud": ["other", "loquent"]}):
            headers = {"Authorization": f"Bearer {sign(claim(**{**valid, **change}))}"}
            assert (await post(server.url, headers)).json() == {"data": {"viewer": {"id": "ann"}}}
            async with knock(server.url) as connection:
                assert await sign_in(connection, headers) == "connection_ack"


async def test_the_longest_life_of_a_token_can_be_set(start_server: StartServer, model: ScriptedModel) -> None:
    async with start_server(jwt_longest_life=600) as server:
        for lifetime, status, answer in ((600, 200, "connection_ack"), (700, 401, 4403), (86_400, 401, 4403)):
            headers = {"Authorization": f"Bearer {issue_token(SECRET, 'ann', lifetime)}"}
            assert (await post(server.url, headers)).status_code == status
            async with knock(server.url) as connection:
                assert await sign_in(connection, headers) == answer


def test_the_command_makes_no_token_that_a_server_would_refuse_for_its_length(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOQUENT_JWT_SECRET", SECRET)
    monkeypatch.setenv("LOQUENT_JWT_LONGEST_LIFE", "7200")
    assert main(["token", "--sub", "ann", "--ttl", "2h"]) == 0
    assert capsys.readouterr().out.count(".") == 2
    assert main(["token", "--sub", "ann", "--ttl", "7201s"]) == 2
    refusal = capsys.readouterr()
    assert not refusal.out
    assert "--ttl is longer than LOQUENT_JWT_LONGEST_LIFE (7200 seconds)" in refusal.err


def test_the_command_makes_no_token_where_a_key_server_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LOQUENT_JWT_SECRET", raising=False)
    monkeypatch.setenv("LOQUENT_JWKS_URL", "https://login.example.org/jwks.json")
    assert main(["token", "--sub", "ann"]) == 2
    assert "LOQUENT_JWKS_URL" in capsys.readouterr().err


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"query": "{ nothing }"}', b'{"query": "{ __typename }"}']
)
async def test_the_token_comes_before_the_body(body: bytes, server: RunningServer) -> None:
    async with httpx2.AsyncClient(verify=False) as client:
        headers = {"Content-Type": "application/json"}
        response = await client.post(f"{server.url}/graphql", headers=headers, content=body)
    assert (response.status_code, response.json()) == (401, REFUSAL)


async def test_a_request_by_get_needs_a_token_too(server: RunningServer) -> None:
    async with httpx2.AsyncClient(verify=False) as client:
        for url in (f"{server.url}/graphql", f"{server.url}/graphql?query={{__typename}}"):
            response = await client.get(url, headers={"Accept": "text/html"})
            assert (response.status_code, response.json()) == (401, REFUSAL)


async def test_an_operation_before_the_sign_in_closes_the_socket(server: RunningServer) -> None:
    async with knock(server.url) as connection:
        await connection.send(json.dumps({"id": "1", "type": "subscribe", "payload": {"query": VIEWER}}))
        assert await close_code(connection) == 4401


async def test_a_socket_cannot_become_another_users(server: RunningServer, ann: Client, bob: Client) -> None:
    async with knock(server.url) as connection:
        assert await sign_in(connection, ann.headers) == "connection_ack"
        assert await sign_in(connection, bob.headers) == 4429


async def test_a_token_that_ends_while_its_socket_is_open_ends_both(
    ann: Client, connect_client: ConnectClient, model: ScriptedModel
) -> None:
    model.script(Answer([Text("word " * 3000)], tokens_per_second=50))
    sent = await ann.send("Write for a minute.")
    began = time.time()
    # Whole seconds count: it lasts for four to five, in which also a busy machine signs in.
    guest = connect_client("ann", lifetime=5)
    seen = 0
    async with asyncio.timeout(45), guest.socket() as socket:
        with pytest.raises(ConnectionClosed):
            async for _ in socket.subscribe(STREAM, {"messageId": sent.reply}):
                seen += 1
        await socket.connection.wait_closed()
        assert socket.connection.close_code == 4403
    assert time.time() - began >= 4
    assert seen > 1
    assert (await post(guest.url, guest.headers)).status_code == 401
    # The reply is the user's, not the token's: it goes on.
    assert (await ann.message(sent.reply))["status"] == "STREAMING"
    await ann.execute("mutation ($id: ID!) { stopMessage(input: {messageId: $id}) { __typename } }", id=sent.reply)
    await until(lambda: model.open_streams == 0)


async def test_a_socket_without_operations_is_closed_too_when_its_token_ends(
    server: RunningServer, connect_client: ConnectClient
) -> None:
    async with knock(server.url) as connection:
        assert await sign_in(connection, connect_client("ann", lifetime=5).headers) == "connection_ack"
        assert await close_code(connection) == 4403
