"""The messages of graphql-transport-ws to the letter.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

import json
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from server.transport.sockets import fit_reason
from tests.acceptance.peer import VIEWER, Sources, endpoint_of, knock, no_traceback, signed_in, sources
from tests.client import Client
from tests.conftest import RunningServer, until

__all__ = ["no_traceback", "sources"]


# Messages of the connection


async def test_nothing_is_handled_once_the_close_has_begun(ann: Client, sources: Sources) -> None:
    async with signed_in(ann) as peer:
        # In one piece, so that they are all there when the first is read.
        await peer.send({"type": "nonsense"}, {"type": "ping"})
        await peer.subscribe("1", "subscription { silence }")
        with pytest.raises(ConnectionClosed):
            await peer.receive()
        assert peer.connection.close_code == 4400
        assert sources.running == 0


@pytest.mark.parametrize("payload", [{}, {"payload": None}, {"payload": {"at": [1, "é\u2028"]}}])
async def test_a_ping_is_answered_with_its_payload(server: RunningServer, payload: dict[str, Any]) -> None:
    async with knock(server.url) as peer:
        await peer.send({"type": "ping", **payload})
        answer = await peer.receive()
    assert answer == {"type": "pong", **({} if payload.get("payload") is None else payload)}


@pytest.mark.parametrize("payload", ['{"a": "\\ud800"}', '{"a": 1e999, "b": 99999999999999999999}'])
async def test_a_ping_whose_payload_cannot_be_repeated_is_answered(server: RunningServer, payload: str) -> None:
    async with knock(server.url) as peer:
        await peer.send(f'{{"type": "ping", "payload": {payload}}}')
        assert (await peer.receive())["type"] == "pong"


async def test_a_pong_that_nobody_asked_for_is_no_mistake(ann: Client) -> None:
    async with signed_in(ann) as peer:
        await peer.send({"type": "pong"}, {"type": "pong", "payload": {"a": 1}})
        assert await peer.is_served()


# Operations: their ids, documents and results


async def test_two_operations_of_one_id_close_the_socket(ann: Client, sources: Sources) -> None:
    async with signed_in(ann) as peer:
        for _ in range(2):
            await peer.subscribe("one", "subscription { silence }")
        assert await peer.close_code() == 4409
        assert peer.connection.close_reason == "Subscriber for one already exists"
    await until(lambda: sources.running == 0)


async def test_an_id_that_does_not_fit_into_a_close_frame_is_cut(ann: Client, sources: Sources) -> None:
    async with signed_in(ann) as peer:
        for _ in range(2):
            await peer.subscribe("\n" + "🦔" * 120, "subscription { silence }")
        assert await peer.close_code() == 4409
        reason = peer.connection.close_reason or ""
    assert reason.startswith("Subscriber for \ufffd🦔")
    assert len(reason.encode()) <= 123


def test_a_reason_is_cut_between_characters() -> None:
    assert fit_reason("é" * 100) == "é" * 61
    assert fit_reason("\ud800\x00a") == "\ufffd\ufffda"


#: Payloads whose document cannot be run, by what is wrong with them.
BAD_DOCUMENTS: dict[str, dict[str, Any]] = {
    "a syntax error": {"query": "{ viewer {"},
    "an empty text": {"query": ""},
    "only a comment": {"query": "# nothing"},
    "an unknown field": {"query": "{ nothing }"},
    "an unknown operation": {"query": VIEWER, "operationName": "Other"},
    "several operations and no name": {"query": "query A { viewer { id } } query B { viewer { id } }"},
    "only a fragment": {"query": "fragment F on Viewer { id }"},
    "a type": {"query": "type T { id: ID }"},
    "a missing variable": {"query": "query ($id: ID!) { message(id: $id) { id } }"},
    "an infinite variable": {
        "query": "query ($n: Int) { conversations(first: $n) { __typename } }",
        "variables": {"n": float("inf")},
    },
    "half a surrogate pair": {"query": '{ message(id: "\ud800") { id } }'},
    "half a surrogate pair outside of a text": {"query": "{ \ud800 }"},
    "no text but an id": {"documentId": "sha256:nothing"},
    "no text but a hash": {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "0" * 64}}},
}


@pytest.mark.parametrize("reason", BAD_DOCUMENTS)
async def test_a_document_that_cannot_be_run_ends_its_operation_alone(ann: Client, reason: str) -> None:
    message = json.dumps({"type": "subscribe", "id": "bad", "payload": BAD_DOCUMENTS[reason]})
    async with signed_in(ann) as peer:
        # A number beyond all numbers is JSON; the word for it is not.
        await peer.send(message.replace("Infinity", "1e999"))
        answer = await peer.receive()
        assert (answer["type"], answer["id"]) == ("error", "bad")
        assert answer["payload"]
        for error in answer["payload"]:
            assert error["message"]
            assert error["extensions"]["code"] in ("BAD_USER_INPUT", "PERSISTED_QUERY_NOT_SUPPORTED")
        # No `complete` follows an `error`, and the id is free.
        await peer.subscribe("bad")
        assert [(await peer.receive())["type"] for _ in range(2)] == ["next", "complete"]


async def test_an_empty_operation_name_is_none(ann: Client) -> None:
    async with signed_in(ann) as peer:
        await peer.subscribe("1", operationName="", variables=None, extensions=None)
        assert (await peer.receive())["payload"] == {"data": {"viewer": {"id": "ann"}}}


async def test_a_document_may_be_asked_for_by_its_id(server: RunningServer, ann: Client) -> None:
    asked: list[dict[str, Any]] = []

    def find_document(payload: dict[str, Any]) -> str:
        asked.append(payload)
        return VIEWER

    endpoint = endpoint_of(server)
    endpoint.find_document = find_document
    persisted = {"persistedQuery": {"version": 1, "sha256Hash": "abc"}}
    try:
        async with signed_in(ann) as peer:
            for payload in ({"documentId": "abc"}, {"extensions": persisted}, {"query": None, "documentId": "abc"}):
                await peer.send({"type": "subscribe", "id": "1", "payload": payload})
                assert (await peer.receive())["payload"] == {"data": {"viewer": {"id": "ann"}}}
                assert (await peer.receive())["type"] == "complete"
    finally:
        del endpoint.find_document
    assert [(payload.get("documentId"), payload.get("extensions")) for payload in asked] == [
        ("abc", None),
        (None, persisted),
        ("abc", None),
    ]


async def test_what_fails_in_the_middle_has_a_code(ann: Client, sources: Sources) -> None:
    async with signed_in(ann) as peer:
        await peer.subscribe("1", "subscription { broken }")
        assert (await peer.receive())["payload"] == {"data": {"broken": "one"}}
        answer = await peer.receive()
        assert answer["type"] == "error"
        assert await peer.is_alive()
    [error] = answer["payload"]
    assert (error["message"], error["extensions"]) == ("two: is too much", {"code": "BAD_USER_INPUT"})


async def test_a_result_that_cannot_be_written_is_an_error_of_its_operation(
    ann: Client, sources: Sources, caplog: pytest.LogCaptureFixture
) -> None:
    async with signed_in(ann) as peer:
        await peer.subscribe("1", "{ unwritable }")
        answer = await peer.receive()
        assert (answer["type"], answer["id"]) == ("error", "1")
        assert [error["extensions"]["code"] for error in answer["payload"]] == ["INTERNAL_SERVER_ERROR"]
        assert await peer.is_alive()
    assert answer["payload"][0]["extensions"]["id"] in caplog.text
    caplog.clear()


# Complete


async def test_complete_ends_an_operation_that_waits(ann: Client, sources: Sources) -> None:
    async with signed_in(ann) as peer:
        await peer.subscribe("1", "subscription { silence }")
        await until(lambda: sources.running == 1)
        await peer.send({"type": "complete", "id": "1"})
        await until(lambda: sources.running == 0)
        # Nothing is said to it, and its id is free.
        assert await peer.is_alive()
        await peer.subscribe("1", "subscription { broken }")
        assert (await peer.receive())["id"] == "1"


async def test_complete_ends_a_replay_in_the_middle(ann: Client, sources: Sources) -> None:
    async with signed_in(ann) as peer:
        await peer.subscribe("1", "subscription { replay }")
        for _ in range(100):
            assert (await peer.receive())["type"] == "next"
        await peer.send({"type": "complete", "id": "1"}, {"type": "ping"})
        seen = 0
        while (await peer.receive())["type"] == "next":
            seen += 1
        # What was already under way, and the rest of a million not.
        assert seen < 5_000
        await until(lambda: sources.running == 0)


async def test_nothing_is_sent_after_complete_whatever_the_operation_does(ann: Client, sources: Sources) -> None:
    async with signed_in(ann) as peer:
        await peer.subscribe("1", "subscription { stubborn }")
        assert await peer.is_alive()
        await peer.send({"type": "complete", "id": "1"})
        # The new one of the same id is not ended by the old one either.
        await peer.subscribe("1", "subscription { silence }")
        await until(lambda: sources.running == 1)
        assert await peer.is_alive()
        assert sources.running == 1


async def test_completing_what_is_unknown_or_over_is_no_mistake(ann: Client) -> None:
    async with signed_in(ann) as peer:
        await peer.send({"type": "complete", "id": "never"})
        assert await peer.is_served()
        await peer.send({"type": "complete", "id": "served"})
        assert await peer.is_served()
