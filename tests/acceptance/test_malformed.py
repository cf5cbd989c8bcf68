"""What no well-behaved client sends: refused with a code, and nothing breaks."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from tests.acceptance.peer import VIEWER, knock
from tests.client import Client


@pytest.mark.parametrize("body", ["null", "1", '"x"', "true", "[]", "{", "", "[" * 50_000, '{"query": 5}', "{}"])
async def test_a_body_that_is_no_request_is_refused(ann: Client, body: str) -> None:
    response = await ann.http.post("/graphql", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert [error["extensions"]["code"] for error in response.json()["errors"]] == ["BAD_USER_INPUT"]
    assert "data" not in response.json()


async def test_of_several_operations_one_must_be_named(ann: Client) -> None:
    query = "query A { viewer { id } } mutation B { createConversation(input: {}) { conversation { id } } }"
    response = await ann.http.post("/graphql", json={"query": query})
    [error] = response.json()["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert "operationName" in error["message"]
    named = await ann.http.post("/graphql", json={"query": query, "operationName": "A"})
    assert named.json()["data"] == {"viewer": {"id": "ann"}}


async def test_a_subscription_by_plain_http_is_refused(ann: Client) -> None:
    query = 'subscription { messageStream(messageId: "x") { cursor } }'
    response = await ann.http.post("/graphql", json={"query": query})
    assert response.status_code == 400
    assert [error["extensions"]["code"] for error in response.json()["errors"]] == ["BAD_USER_INPUT"]


INIT: dict[str, Any] = {"type": "connection_init"}
SUBSCRIBE: dict[str, Any] = {"type": "subscribe", "id": "1", "payload": {"query": VIEWER}}
DEEP = "[" * 20_000 + "]" * 20_000
LONG_NUMBER = "1" * 100_000


def each(message: dict[str, Any], key: str, *values: Any) -> list[dict[str, Any]]:
    """The message with each of these values in this place."""
    return [{**message, key: value} for value in values]


def subscribe(key: str, *values: Any, **payload: Any) -> list[dict[str, Any]]:
    return [{**SUBSCRIBE, "payload": each(payload, key, value)[0]} for value in values]


#: Messages that the protocol does not know, before the sign-in as after it.
MALFORMED: list[Any] = [
    None,
    True,
    1,
    "x",
    [],
    [INIT],
    {},
    *each({"id": "1"}, "type", None, [], {}, 1, "", "PING", "no such type", "\ud800" * 200, "x" * 10_000),
    # What a server says, and what a client of the older protocol does.
    *each({"id": "1", "payload": {}}, "type", "connection_ack", "next", "error", "start", "stop"),
    *each({"type": "ping"}, "payload", "x", [], 0, False),
    *each({"type": "pong"}, "payload", "x", [], 0, False),
    *each(INIT, "payload", "x", [], 0, False),
    {"type": "complete"},
    *each({"type": "complete"}, "id", None, 1, [], {}, "", "\udfff"),
    {"type": "subscribe"},
    {"type": "subscribe", "id": "1"},
    {"type": "subscribe", "payload": {"query": VIEWER}},
    *each(SUBSCRIBE, "id", None, 1, True, [], {}, "", "\ud800", "x" * 129),
    *each(SUBSCRIBE, "payload", None, "x", 1, [], [VIEWER], {}),
    *subscribe("query", None, 5, True, [], {}, [VIEWER]),
    *subscribe("variables", "x", 1, False, [], [{}], query=VIEWER),
    *subscribe("variables", None, {}),
    *subscribe("extensions", "x", 1, False, [], query=VIEWER),
    *subscribe("operationName", 1, False, [], {}, query=VIEWER),
    *subscribe("documentId", 1, [], {}),
    *subscribe("extensions", {}, *each({}, "persistedQuery", None, "x", [], {}, {"sha256Hash": 1})),
]
#: Texts that are no JSON, or more of it than is read.
NO_JSON = [
    "",
    " ",
    "{",
    "nonsense",
    "{'type': 'ping'}",
    '{"type": "ping"} {"type": "ping"}',
    "\ufeff{}",
    "NaN",
    '{"type": "ping", "payload": {"a": NaN}}',
    '{"type": "pong", "payload": {"a": -Infinity}}',
    f'{{"type": "pong", "payload": {{"a": {DEEP}}}}}',
    f'{{"type": "pong", "payload": {{"a": {LONG_NUMBER}}}}}',
    "[" * 60_000,
    LONG_NUMBER,
]


@pytest.mark.parametrize("is_signed_in", [True, False])
@pytest.mark.parametrize("message", [*map(json.dumps, MALFORMED), *NO_JSON, b"{}", b"\xff"], ids=lambda text: text[:60])
async def test_a_malformed_message_closes_the_socket_with_4400(
    ann: Client, message: str | bytes, is_signed_in: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with knock(ann.url) as peer:
        if is_signed_in:
            await peer.sign_in(ann)
        await peer.send(message)
        assert await peer.close_code() == 4400
        # Words of ours: nothing that the client said.
        assert (peer.connection.close_reason or "").isascii()
    assert not [record for record in caplog.records if record.exc_info or record.levelname == "ERROR"]


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.just(10**40),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(ANY_TEXT, values, max_size=3),
    max_leaves=6,
)


def mostly(*usual: Any) -> st.SearchStrategy[Any]:
    """One of these values, and now and then any other."""
    return st.sampled_from(usual) | st.sampled_from(usual) | st.sampled_from(usual) | ANY_JSON


QUERIES = (
    VIEWER,
    "{",
    "",
    "query A { __typename } query B { __typename }",
    "query ($n: Int) { conversations(first: $n) { __typename } }",
    'subscription { messageStream(messageId: "x") { cursor } }',
)
PAYLOADS = st.fixed_dictionaries(
    {},
    optional={
        "query": mostly(*QUERIES),
        "variables": mostly(None, {}, {"n": 1}, {"n": "x"}),
        "operationName": mostly(None, "", "A"),
        "extensions": mostly(None, {}, {"persistedQuery": {"version": 1, "sha256Hash": "x"}}),
        "documentId": mostly(None, "x"),
    },
)
NEAR_MESSAGES = st.fixed_dictionaries(
    {"type": mostly("subscribe", "subscribe", "ping", "pong", "complete", "connection_init", "next")},
    optional={"id": mostly("1", "2", ""), "payload": PAYLOADS | PAYLOADS | ANY_JSON, "extra": ANY_JSON},
)
ANY_MESSAGE = NEAR_MESSAGES | NEAR_MESSAGES | NEAR_MESSAGES | ANY_JSON


@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(messages=st.lists(ANY_MESSAGE, min_size=1, max_size=4), is_signed_in=st.booleans())
async def test_whatever_a_client_says_it_is_answered_by_the_protocol(
    ann: Client, bob: Client, caplog: pytest.LogCaptureFixture, messages: list[Any], is_signed_in: bool
) -> None:
    async with knock(ann.url) as peer, knock(bob.url) as bystander:
        if is_signed_in:
            await peer.sign_in(ann)
        with contextlib.suppress(ConnectionClosed):
            await peer.send(*map(json.dumps, [*messages, {"type": "ping", "payload": {"last": True}}]))
        ids = [message.get("id") for message in messages if isinstance(message, dict)]
        try:
            while (answer := await peer.receive()) != {"type": "pong", "payload": {"last": True}}:
                assert answer["type"] == "pong" or (is_signed_in and answer["id"] in ids)
                assert answer["type"] in ("pong", "next", "error", "complete")
                for error in answer["payload"] if answer["type"] == "error" else ():
                    assert error["extensions"]["code"]
        except ConnectionClosed:
            assert peer.connection.close_code in (4400, 4401, 4403, 4409, 4429)
        await bystander.sign_in(bob)
        assert await bystander.is_served()
    assert not [record for record in caplog.records if record.exc_info or record.levelname == "ERROR"]
