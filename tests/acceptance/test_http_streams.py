"""Subscriptions by HTTP: server-sent events and multipart, to the end, and broken off by either side."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from agent.stand_in.answers import Answer, Text
from server.transport import streaming as streams
from server.transport.graphql_http import GraphQLEndpoint
from server.transport.streaming import EventFraming, MultipartFraming
from tests.client import STREAM, Client, Reading
from tests.conftest import ConnectClient, RunningServer, StartServer, until
from tests.model import ScriptedModel, say

EVENTS = "text/event-stream"
MULTIPART = 'multipart/mixed;boundary="graphql";subscriptionSpec=1.0,application/json'
STOP = "mutation ($id: ID!) { stopMessage(input: {messageId: $id}) { message { status } } }"
#: For longer than any test.
SLOW = Answer([Text("word " * 5000)], tokens_per_second=50)


@asynccontextmanager
async def streaming(
    client: Client, query: str, variables: dict[str, Any] | None = None, *, accept: str = EVENTS
) -> AsyncIterator[httpx2.Response]:
    body = {"query": query, "variables": variables}
    async with client.http.stream("POST", "/graphql", json=body, headers={"Accept": accept}) as response:
        yield response


def split_events(body: str) -> list[tuple[str, str]]:
    """Name and data of each event; comments are left out."""
    events = []
    for block in body.split("\n\n")[:-1]:
        if not block.startswith(":"):
            name, data = block.split("\n")
            events.append((name.removeprefix("event: "), data.removeprefix("data: ")))
    return events


def split_parts(body: str) -> list[dict[str, Any]]:
    """The JSON of each part, by RFC 2046: what stands before the first boundary is none."""
    preamble, *parts, epilogue = body.split("\r\n--graphql")
    assert preamble == ""
    assert epilogue == "--\r\n"
    found = []
    for part in parts:
        head, content = part.split("\r\n\r\n", 1)
        assert head == "\r\nContent-Type: application/json"
        found.append(json.loads(content))
    return found


async def ask_without_reading(
    client: Client, message_id: str, accept: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for a stream over a connection that takes in next to nothing."""
    host, port = client.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    body = json.dumps({"query": STREAM, "variables": {"messageId": message_id}}).encode()
    head = (
        f"POST /graphql HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {client.token}\r\nAccept: {accept}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    return reader, writer


async def open_subscriptions(client: Client) -> int:
    lines = (await client.http.get("/metrics")).text.splitlines()
    [value] = [line.split()[1] for line in lines if line.startswith("loquent_open_subscriptions ")]
    return int(float(value))


async def test_a_reply_comes_whole_as_server_sent_events(ann: Client, model: ScriptedModel) -> None:
    model.script(say("One two three.", tokens_per_second=50))
    sent = await ann.send("Count.")
    async with streaming(ann, STREAM, {"messageId": sent.reply}) as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-store, no-transform"
        events = split_events((await response.aread()).decode())
    assert events[-1] == ("complete", "")
    assert {name for name, _ in events[:-1]} == {"next"}
    reading = Reading()
    for _, data in events[:-1]:
        reading.take(json.loads(data)["data"]["messageStream"])
    assert reading.text == "One two three."
    assert reading.finished is not None


async def test_a_reply_comes_whole_as_multipart(ann: Client, model: ScriptedModel) -> None:
    model.script(say("One two three.", tokens_per_second=50))
    sent = await ann.send("Count.")
    async with streaming(ann, STREAM, {"messageId": sent.reply}, accept=MULTIPART) as response:
        assert response.headers["content-type"] == 'multipart/mixed; boundary="graphql"; subscriptionSpec="1.0"'
        parts = split_parts((await response.aread()).decode())
    assert parts[0] == {}
    reading = Reading()
    for part in parts[1:]:
        if part:
            reading.take(part["payload"]["data"]["messageStream"])
    assert reading.text == "One two three."


async def test_a_stream_goes_on_from_a_cursor(ann: Client, model: ScriptedModel) -> None:
    sent, _ = await ann.ask("Hello?")
    whole = await ann.read(sent.reply)
    for event in whole.events:
        after = {"messageId": sent.reply, "after": event["cursor"]}
        async with streaming(ann, STREAM, after) as response:
            events = split_events((await response.aread()).decode())
        rest = [json.loads(data)["data"]["messageStream"] for name, data in events if name == "next"]
        assert rest == whole.events[whole.events.index(event) + 1 :]


async def test_queries_and_mutations_come_as_events_too(ann: Client) -> None:
    for query in ("{ viewer { id } }", 'mutation { addTask(input: {title: "x"}) { task { title } } }'):
        async with streaming(ann, query) as response:
            [(name, data), end] = split_events((await response.aread()).decode())
        assert (name, end) == ("next", ("complete", ""))
        assert json.loads(data)["data"]


async def test_an_event_stream_may_be_asked_for_by_get(ann: Client) -> None:
    sent, _ = await ann.ask("Hello?")
    parameters = {"query": STREAM, "variables": json.dumps({"messageId": sent.reply})}
    response = await ann.http.get("/graphql", params=parameters, headers={"Accept": EVENTS})
    assert split_events(response.text)[-1] == ("complete", "")
    mutation = 'mutation { addTask(input: {title: "By a link"}) { task { id } } }'
    response = await ann.http.get("/graphql", params={"query": mutation}, headers={"Accept": EVENTS})
    [(_, data), _] = split_events(response.text)
    assert "POST" in json.loads(data)["errors"][0]["message"]
    assert (await ann.execute("{ tasks { edges { cursor } } }")) == {"tasks": {"edges": []}}


@pytest.mark.parametrize("query", ["{", "{ nothing }", "subscription { messageStream { cursor } }"])
async def test_a_bad_document_is_told_within_the_event_stream(ann: Client, query: str) -> None:
    async with streaming(ann, query) as response:
        [(_, data), end] = split_events((await response.aread()).decode())
    assert end == ("complete", "")
    result = json.loads(data)
    assert set(result) == {"errors"}
    assert {error["extensions"]["code"] for error in result["errors"]} == {"BAD_USER_INPUT"}


async def test_a_bad_document_for_multipart_is_told_in_json(ann: Client) -> None:
    async with streaming(ann, "{ nothing }", accept=MULTIPART) as response:
        assert response.headers["content-type"].startswith("application/json")
        assert json.loads(await response.aread())["errors"]


@pytest.mark.parametrize("accept", [EVENTS, MULTIPART])
async def test_another_users_stream_is_refused(ann: Client, bob: Client, accept: str) -> None:
    sent, _ = await ann.ask("A secret.")
    async with streaming(bob, STREAM, {"messageId": sent.reply}, accept=accept) as response:
        body = (await response.aread()).decode()
    assert '"FORBIDDEN"' in body
    assert "secret" not in body


@pytest.mark.parametrize(
    ("accept", "framing", "sign"), [(EVENTS, EventFraming, ":\n\n"), (MULTIPART, MultipartFraming, "\r\n\r\n{}\r\n")]
)
async def test_a_silent_stream_shows_that_it_lives(
    ann: Client,
    model: ScriptedModel,
    monkeypatch: pytest.MonkeyPatch,
    accept: str,
    framing: type[EventFraming | MultipartFraming],
    sign: str,
) -> None:
    monkeypatch.setattr(framing, "heartbeat_interval", 0.05)
    model.script(say("Never.", first_token_delay=600))
    sent = await ann.send("Think first.")
    body, stopped = "", False
    async with asyncio.timeout(60), streaming(ann, STREAM, {"messageId": sent.reply}, accept=accept) as response:
        async for piece in response.aiter_text():
            body += piece
            if not stopped and body.count(sign) >= 4:
                stopped = True
                await ann.execute(STOP, id=sent.reply)
    assert body.count(sign) >= 4
    assert '"STOPPED"' in body


@pytest.mark.parametrize("accept", [EVENTS, MULTIPART])
async def test_a_reader_who_leaves_is_let_go(ann: Client, model: ScriptedModel, accept: str) -> None:
    before = await open_subscriptions(ann)
    model.script(SLOW)
    sent = await ann.send("Go on for long.")
    async with streaming(ann, STREAM, {"messageId": sent.reply}, accept=accept) as response:
        async for chunk in response.aiter_text():
            if "word" in chunk:
                assert await open_subscriptions(ann) == before + 1
                break

    async def is_released() -> bool:
        return await open_subscriptions(ann) == before

    await until(is_released)


@pytest.mark.parametrize("accept", [EVENTS, MULTIPART])
async def test_a_reader_who_leaves_in_the_middle_of_a_long_replay_is_let_go(
    ann: Client, model: ScriptedModel, accept: str
) -> None:
    """The replay is a single event for each part; many parts make it long."""
    model.script(Answer([Text(f"{'x' * 20_000} {number}") for number in range(200)]))
    sent, _ = await ann.ask("Many parts.")
    before = await open_subscriptions(ann)
    reader, writer = await ask_without_reading(ann, sent.reply, accept)
    await reader.readexactly(500)

    async def is_held() -> bool:
        return await open_subscriptions(ann) == before + 1

    # It reads no further, so the server waits for it.
    await until(is_held)
    writer.transport.abort()

    async def is_released() -> bool:
        return await open_subscriptions(ann) == before

    await until(is_released)


@pytest.mark.parametrize("accept", [EVENTS, MULTIPART])
async def test_a_stream_ends_with_its_token(connect_client: ConnectClient, model: ScriptedModel, accept: str) -> None:
    model.script(SLOW)
    # Long enough for two requests of a busy machine.
    ann = connect_client("ann", lifetime=5)
    sent = await ann.send("Go on for long.")
    async with asyncio.timeout(60), streaming(ann, STREAM, {"messageId": sent.reply}, accept=accept) as response:
        body = (await response.aread()).decode()
    assert '"UNAUTHENTICATED"' in body
    if accept == MULTIPART:
        assert split_parts(body)[-1]["payload"] is None
    else:
        assert split_events(body)[-1] == ("complete", "")


@pytest.mark.parametrize("accept", [EVENTS, MULTIPART])
async def test_a_stream_that_nobody_reads_ends_with_its_token_too(
    connect_client: ConnectClient,
    model: ScriptedModel,
    monkeypatch: pytest.MonkeyPatch,
    server: RunningServer,
    accept: str,
) -> None:
    monkeypatch.setattr(streams, "CLOSE_TIMEOUT", 0.2)
    model.script(Answer([Text(f"{'x' * 20_000} {number}") for number in range(200)]))
    sent, _ = await connect_client("ann").ask("Many parts.")
    before = await open_subscriptions(connect_client("ann"))
    brief = connect_client("ann", lifetime=5)
    _, writer = await ask_without_reading(brief, sent.reply, accept)

    async def is_held() -> bool:
        return await open_subscriptions(connect_client("ann")) == before + 1

    async def is_released() -> bool:
        return await open_subscriptions(connect_client("ann")) == before

    await until(is_held)
    await until(is_released)
    writer.transport.abort()


async def test_who_leaves_waits_no_longer_for_the_whole_reply(
    server: RunningServer, ann: Client, model: ScriptedModel
) -> None:
    model.script(SLOW)
    [endpoint, *_] = [getattr(route, "endpoint", None) for route in server.app.routes]
    query = 'mutation { sendMessage(input: {text: "Long.", idempotencyKey: "k"}) { finishedReply { id } } }'
    requests = [asyncio.create_task(ann.http.post("/graphql", json={"query": query})) for _ in range(5)]
    assert isinstance(endpoint, GraphQLEndpoint)
    await until(lambda: endpoint.sockets.count("ann") == 5)
    for request in requests:
        request.cancel()
    await asyncio.gather(*requests, return_exceptions=True)
    assert isinstance(endpoint, GraphQLEndpoint)
    await until(lambda: endpoint.sockets.count("ann") == 0)


async def test_so_many_streams_and_no_more(
    start_server: StartServer, connect_client: ConnectClient, model: ScriptedModel
) -> None:
    model.script(SLOW)
    async with start_server(sockets_per_user=2) as server:
        ann, bob = connect_client("ann", url=server.url), connect_client("bob", url=server.url)
        sent = await ann.send("Go on for long.")
        wanted = {"messageId": sent.reply}
        async with streaming(ann, STREAM, wanted), streaming(ann, STREAM, wanted):
            async with streaming(ann, STREAM, wanted) as refused:
                [error] = json.loads(await refused.aread())["errors"]
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
            assert error["extensions"] == {"code": "RATE_LIMITED", "retryAfter": 5}
            async with streaming(bob, "{ viewer { id } }") as allowed:
                assert allowed.status_code == 200

        async def is_free() -> bool:
            async with streaming(ann, "{ viewer { id } }") as response:
                return response.status_code == 200

        await until(is_free)


async def test_a_server_that_stops_breaks_streams_off_so_that_their_readers_come_again(
    start_server: StartServer, server: RunningServer, connect_client: ConnectClient, model: ScriptedModel
) -> None:
    model.script(SLOW)
    async with start_server() as leaving:
        ann = connect_client("ann", url=leaving.url)
        sent = await ann.send("Go on for long.")
        async with streaming(ann, STREAM, {"messageId": sent.reply}) as response:
            with pytest.raises(httpx2.RemoteProtocolError):
                async for _ in response.aiter_bytes():
                    leaving.uvicorn.should_exit = True


async def test_a_slow_reader_holds_no_backlog(ann: Client, model: ScriptedModel) -> None:
    """What it has not read is asked for when it reads on: later pieces are longer, not more."""
    model.script(Answer([Text("word " * 600)], tokens_per_second=1500))
    sent = await ann.send("Go on.")
    reading, pieces = Reading(), 0
    async with streaming(ann, STREAM, {"messageId": sent.reply}) as response:
        rest = ""
        async for chunk in response.aiter_text():
            *blocks, rest = (rest + chunk).split("\n\n")
            for name, data in split_events("".join(block + "\n\n" for block in blocks)):
                if name == "next":
                    pieces += 1
                    reading.take(json.loads(data)["data"]["messageStream"])
    assert reading.text == "word " * 600
    assert pieces < 600
