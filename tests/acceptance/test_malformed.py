"""What no well-behaved client sends: refused with a code, and nothing breaks."""

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

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


MALFORMED: list[Any] = [
    None,
    1,
    "x",
    [],
    {},
    {"type": []},
    {"type": "subscribe"},
    {"type": "subscribe", "id": [], "payload": {"query": "{ viewer { id } }"}},
    {"type": "subscribe", "id": "1", "payload": None},
    {"type": "subscribe", "id": "1", "payload": []},
    {"type": "subscribe", "id": "1", "payload": {"query": 5}},
    {"type": "subscribe", "id": "1", "payload": {"query": "{ viewer { id } }", "variables": []}},
    {"type": "subscribe", "id": "\ud800", "payload": {"query": "{ viewer { id } }"}},
    {"type": "complete", "id": []},
    {"type": "no such type", "id": "1"},
]


@pytest.mark.parametrize("message", [*map(json.dumps, MALFORMED), "{", "[" * 60_000], ids=lambda text: text[:60])
async def test_a_malformed_message_closes_the_socket_with_4400(ann: Client, message: str) -> None:
    address = ann.url.replace("http", "ws", 1) + "/graphql"
    async with connect(address, subprotocols=["graphql-transport-ws"]) as socket:  # type: ignore[list-item]
        await socket.send(json.dumps({"type": "connection_init", "payload": ann.headers}))
        assert json.loads(await socket.recv())["type"] == "connection_ack"
        await socket.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            async with asyncio.timeout(5):
                await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4400
