"""gql, the GraphQL client of Python, against the real server: over WebSocket and over HTTP."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest
from gql import Client as GQLClient
from gql import GraphQLRequest
from gql.client import AsyncClientSession
from gql.transport.exceptions import TransportConnectionFailed, TransportQueryError
from gql.transport.httpx import HTTPXAsyncTransport
from gql.transport.websockets import WebsocketsTransport

from agent.stand_in.answers import Answer, Text
from server.auth import issue_token
from tests.client import SEND, STREAM, Client, Reading
from tests.conftest import ConnectClient, RunningServer, until
from tests.model import SECRET, ScriptedModel

VIEWER = "query { viewer { id } }"
WORDS = tuple(f"{number}👍🏽 é " for number in range(150))

Connect = Callable[..., GQLClient]


def over_websocket(url: str, token: str) -> WebsocketsTransport:
    return WebsocketsTransport(
        url=f"{url.replace('http', 'ws', 1)}/graphql",
        subprotocols=["graphql-transport-ws"],
        init_payload={"Authorization": f"Bearer {token}"},
        close_timeout=1,
    )


def over_http(url: str, token: str) -> HTTPXAsyncTransport:
    return HTTPXAsyncTransport(url=f"{url}/graphql", headers={"Authorization": f"Bearer {token}"})


@pytest.fixture(autouse=True)
def _slow_model(model: ScriptedModel) -> None:
    model.script(Answer([Text("".join(WORDS), tokens=WORDS)], tokens_per_second=200))


@pytest.fixture(params=[over_websocket, over_http])
def connect(request: pytest.FixtureRequest, server: RunningServer) -> Connect:
    """Makes clients of each transport: `connect("bob")`, or one whose token has ended by `lifetime`."""

    def connect(owner: str = "ann", lifetime: float = 60) -> GQLClient:
        return GQLClient(transport=request.param(server.url, issue_token(SECRET, owner, lifetime)))

    return connect


@pytest.fixture
async def session(server: RunningServer, ann: Client) -> AsyncIterator[AsyncClientSession]:
    """Ann, over WebSocket."""
    async with GQLClient(transport=over_websocket(server.url, ann.token)) as session:
        yield session


async def follow(
    session: AsyncClientSession, message_id: str, reading: Reading | None = None
) -> AsyncGenerator[Reading]:
    """The reply after each event, going on where `reading` is."""
    reading = reading or Reading()
    variables = {"messageId": message_id, "after": reading.cursor}
    async with aclosing(session.subscribe(GraphQLRequest(STREAM, variable_values=variables))) as results:
        async for data in results:
            reading.take(data["messageStream"])
            yield reading


async def read(session: AsyncClientSession, message_id: str) -> Reading:
    return [reading async for reading in follow(session, message_id)][-1]


async def open_subscriptions(client: Client) -> float:
    metrics = (await client.http.get("/metrics")).text
    return sum(
        float(line.split()[-1]) for line in metrics.splitlines() if line.startswith("loquent_open_subscriptions")
    )


async def test_a_query_and_a_mutation(connect: Connect) -> None:
    async with connect() as session:
        assert await session.execute(GraphQLRequest(VIEWER)) == {"viewer": {"id": "ann"}}
        request = GraphQLRequest(SEND, variable_values={"input": {"text": "Write."}})
        sent = (await session.execute(request))["sendMessage"]
    assert sent["message"]["text"] == "Write."
    assert sent["reply"]["status"] in ("QUEUED", "STREAMING")


async def test_three_streams_at_once_give_the_text_that_is_saved(session: AsyncClientSession, ann: Client) -> None:
    replies = [(await ann.send("Write.")).reply for _ in range(3)]
    readings = await asyncio.gather(*(read(session, reply) for reply in replies))
    assert [reading.text for reading in readings] == ["".join(WORDS)] * 3
    assert [(await ann.message(reply))["text"] for reply in replies] == ["".join(WORDS)] * 3


async def test_unsubscribing_in_the_middle_releases_the_stream(
    session: AsyncClientSession, ann: Client, model: ScriptedModel
) -> None:
    model.script(Answer([Text("".join(WORDS * 10), tokens=WORDS * 10)], tokens_per_second=100))

    async def is_open(count: float) -> bool:
        return await open_subscriptions(ann) == count

    await until(lambda: is_open(0))
    sent = await ann.send("Write.")
    stream = follow(session, sent.reply)
    await anext(stream)
    await until(lambda: is_open(1))
    await stream.aclose()
    await until(lambda: is_open(0))
    assert (await ann.message(sent.reply))["status"] == "STREAMING"
    assert await session.execute(GraphQLRequest(VIEWER)) == {"viewer": {"id": "ann"}}


async def test_a_connection_that_is_cut_and_going_on_after_the_cursor(server: RunningServer, ann: Client) -> None:
    sent = await ann.send("Write.")
    reading = Reading()
    for length in (20, 100, 200):
        transport = over_websocket(server.url, ann.token)
        with pytest.raises(TransportConnectionFailed):
            async with GQLClient(transport=transport) as session:
                async for _ in follow(session, sent.reply, reading):
                    if len(reading.text) > length:
                        cut(transport)
        assert reading.finished is None
    async with GQLClient(transport=over_websocket(server.url, ann.token)) as session:
        async for _ in follow(session, sent.reply, reading):
            pass
    deltas = [event["text"] for event in reading.events if event["__typename"] == "TextDelta"]
    assert "".join(deltas) == "".join(WORDS)
    assert (await ann.message(sent.reply))["text"] == "".join(WORDS)


def cut(transport: WebsocketsTransport) -> None:
    assert transport.adapter.websocket is not None
    transport.adapter.websocket.transport.abort()


async def test_an_expired_token_is_refused_over_http(server: RunningServer) -> None:
    transport = over_http(server.url, issue_token(SECRET, "ann", -60))
    with pytest.raises(TransportQueryError) as refused:
        async with GQLClient(transport=transport) as session:
            await session.execute(GraphQLRequest(VIEWER))
    assert codes(refused.value) == ["UNAUTHENTICATED"]


async def test_an_expired_token_closes_the_socket(server: RunningServer) -> None:
    transport = over_websocket(server.url, issue_token(SECRET, "ann", -60))
    with pytest.raises(TransportConnectionFailed) as refused:
        async with GQLClient(transport=transport):
            pass
    assert refused.value.__cause__.rcvd.code == 4403  # type: ignore[union-attr]


async def test_the_stream_of_another_user_is_forbidden(
    server: RunningServer, ann: Client, connect_client: ConnectClient
) -> None:
    sent = await ann.send("Write.")
    async with GQLClient(transport=over_websocket(server.url, connect_client("bob").token)) as session:
        with pytest.raises(TransportQueryError) as refused:
            await read(session, sent.reply)
        assert codes(refused.value) == ["FORBIDDEN"]
        assert await session.execute(GraphQLRequest(VIEWER)) == {"viewer": {"id": "bob"}}


def codes(error: TransportQueryError) -> list[Any]:
    return [error["extensions"]["code"] for error in error.errors or []]
