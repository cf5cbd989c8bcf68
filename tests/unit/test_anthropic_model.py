"""A model's answer is read the same however it comes, and whatever goes wrong with it is the reply's to tell."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.anthropic.model import AnthropicModel
from agent.model import (
    BlockEnded,
    ModelEnded,
    ModelError,
    ModelEvent,
    ModelRequest,
    ModelStarted,
    Piece,
    ReasoningPiece,
    TextPiece,
    ToolUse,
    Usage,
)
from agent.stand_in.answers import Answer, Refusal, Text, Thinking
from agent.stand_in.answers import ToolUse as Call
from agent.stand_in.server import serve_model
from tests.conftest import until

quick = settings(deadline=None, max_examples=40)
ASK = ModelRequest(model="scripted", messages=[{"role": "user", "content": "Hello?"}], system=[], tools=[])


@dataclass
class Heard:
    """What came of an answer, in its order."""

    said: list[Piece | ModelEvent] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    error: ModelError | None = None

    @property
    def joined(self) -> list[Piece | ModelEvent]:
        """With pieces that lie together as one."""
        joined: list[Piece | ModelEvent] = []
        for event in self.said:
            last = joined[-1] if joined else None
            if isinstance(event, TextPiece) and isinstance(last, TextPiece):
                joined[-1] = TextPiece(last.text + event.text)
            elif isinstance(event, ReasoningPiece) and isinstance(last, ReasoningPiece):
                joined[-1] = ReasoningPiece(last.text + event.text)
            else:
                joined.append(event)
        return joined

    @property
    def failure(self) -> tuple[str, bool] | None:
        return (self.error.code, self.error.retryable) if self.error else None


@asynccontextmanager
async def connected(base_url: str, key: str = "secret") -> AsyncIterator[AnthropicModel]:
    model = AnthropicModel(api_key=key, base_url=base_url, max_output_tokens=1000)
    yield model
    await model.close()


async def hear(model: AnthropicModel, request: ModelRequest = ASK) -> Heard:
    heard = Heard()
    try:
        async for event in model.stream(request, heard.usage, heard.said.append):
            heard.said.append(event)
    except ModelError as error:
        heard.error = error
    return heard


@dataclass
class Wire:
    """An HTTP server that sends a body of its test's making, in pieces, and hangs up at its end or does not."""

    pieces: Sequence[bytes] = ()
    headers: bytes = b""
    stays: bool = False
    status: bytes = b"200 OK"
    heads: list[bytes] = field(default_factory=list)
    base_url: str = ""
    open: int = 0
    says_nothing: bool = False
    close: Callable[[], None] = lambda: None

    async def welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            while self.says_nothing and await reader.read(1000):
                pass
            head = b"HTTP/1.1 %b\r\nContent-Type: text/event-stream\r\n%b\r\n" % (self.status, self.headers)
            writer.write(head)
            for piece in self.pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            while self.stays and await reader.read(1000):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def serve(wire: Wire) -> AsyncIterator[Wire]:
    server = await asyncio.start_server(wire.welcome, "127.0.0.1", 0)
    wire.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    wire.close = server.close
    try:
        yield wire
    finally:
        server.close()


async def hear_wire(*pieces: bytes, headers: bytes = b"") -> Heard:
    async with serve(Wire(pieces, headers)) as wire, connected(wire.base_url) as model:
        return await hear(model)


def event(type: str, **more: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (type.encode(), orjson.dumps({"type": type, **more}))


def delta(type: str, **more: Any) -> bytes:
    return event("content_block_delta", index=0, delta={"type": type, **more})


def text(text: str) -> bytes:
    return delta("text_delta", text=text)


START = event("message_start", message={"model": "scripted-1", "usage": {"input_tokens": 7, "output_tokens": 1}})
TEXT_BLOCK = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
BLOCK_END = event("content_block_stop", index=0)
BEGIN = START + TEXT_BLOCK
END = (
    BLOCK_END
    + event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 9})
    + event("message_stop")
)
PING = event("ping")

WHOLE = b"".join(
    [
        START,
        event("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""}),
        PING,
        delta("thinking_delta", thinking="Hm"),
        delta("thinking_delta", thinking="m. é👍"),
        delta("signature_delta", signature="c2ln"),
        BLOCK_END,
        event("content_block_start", index=1, content_block={"type": "redacted_thinking", "data": "c2VjcmV0"}),
        BLOCK_END,
        TEXT_BLOCK,
        text("Hel"),
        b": keep-alive\n\n",
        text("lo."),
        event("content_block_dream", delta={"type": "text_delta", "text": "sheep"}),
        delta("dream_delta", text="sheep"),
        BLOCK_END,
        event(
            "content_block_start", index=3, content_block={"type": "tool_use", "id": "t1", "name": "add", "input": {}}
        ),
        delta("input_json_delta", partial_json='{"title":'),
        delta("input_json_delta", partial_json=' "tea"}'),
        END,
    ]
)
HEARD: list[Piece | ModelEvent] = [
    ModelStarted("scripted-1"),
    ReasoningPiece("Hmm. é👍"),
    BlockEnded(signature="c2ln"),
    BlockEnded(redacted="c2VjcmV0"),
    TextPiece("Hello."),
    BlockEnded(),
    ToolUse("t1", "add", '{"title": "tea"}'),
    ModelEnded("end_turn"),
]


# What comes


@quick
@given(st.data())
async def test_an_answer_that_is_cut_anywhere_tells_the_same_in_the_same_order(data: st.DataObject) -> None:
    whole = WHOLE.replace(b"\n", b"\r\n") if data.draw(st.booleans()) else WHOLE
    places = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=30)))
    heard = await hear_wire(*[whole[a:b] for a, b in zip([0, *places], [*places, len(whole)], strict=True)])
    assert heard.error is None and heard.joined == HEARD
    assert heard.usage == Usage(input_tokens=7, output_tokens=9)


async def test_text_that_comes_together_is_told_together_and_no_event_is_overtaken() -> None:
    assert (await hear_wire(WHOLE)).said == HEARD


async def test_text_and_reasoning_that_come_together_are_told_apart() -> None:
    heard = await hear_wire(BEGIN + text("a") + text("b") + delta("thinking_delta", thinking="c") + text("d") + END)
    assert heard.said[1:4] == [TextPiece("ab"), ReasoningPiece("c"), TextPiece("d")]


async def test_nothing_that_comes_after_an_event_is_told_before_the_next_is_asked_for() -> None:
    async with serve(Wire([BEGIN, text("a"), END, text("b")], stays=True)) as wire, connected(wire.base_url) as model:
        said: list[Piece] = []
        async with aclosing(model.stream(ASK, Usage(), said.append)) as events:  # type: ignore[type-var]
            assert isinstance(await anext(events), ModelStarted)
            await asyncio.sleep(0.05)
            assert said == []
            assert await anext(events) == BlockEnded()
            assert said == [TextPiece("a")]


async def test_text_is_told_before_anything_follows_it() -> None:
    async with serve(Wire([BEGIN, text("Hel")], stays=True)) as wire, connected(wire.base_url) as model:
        said: list[Piece] = []

        async def read() -> None:
            async for _ in model.stream(ASK, Usage(), said.append):
                pass

        reading = asyncio.create_task(read())
        await until(lambda: said == [TextPiece("Hel")])
        assert not reading.done()
        reading.cancel()
        await until(lambda: wire.open == 0)


async def test_half_a_surrogate_pair_is_read_like_any_text() -> None:
    halves = [delta("text_delta", text="?").replace(b"?", half) for half in (rb"\ud83d", rb"\udc4d")]
    heard = await hear_wire(BEGIN, *halves, END)
    assert "".join(piece.text for piece in heard.said if isinstance(piece, TextPiece)) == "\ud83d\udc4d"


async def test_an_answer_that_comes_compressed_is_read() -> None:
    packed = gzip.compress(WHOLE)
    heard = await hear_wire(packed[:50], packed[50:], headers=b"Content-Encoding: gzip\r\n")
    assert heard.error is None and heard.joined == HEARD


async def test_the_scripted_model_is_read_as_by_the_sdk() -> None:
    answer = Answer([Thinking("I see."), Text("Hello there."), Call("add", {"title": "tea"}, id="t1")], input_tokens=3)
    async with serve_model(lambda request: answer) as server, connected(server.base_url) as model:
        heard = await hear(model)
        assert await hear(model) == heard
    assert heard.joined == [
        ModelStarted("scripted"),
        ReasoningPiece("I see."),
        BlockEnded("cmVoZWFyc2Fs"),
        TextPiece("Hello there."),
        BlockEnded(),
        ToolUse("t1", "add", '{"title":"tea"}'),
        ModelEnded("tool_use"),
    ]
    assert heard.usage.input_tokens == 3


# What is asked


async def test_a_request_has_all_that_the_api_wants() -> None:
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"deeper": deep}
    question = [{"role": "user", "content": "é"}]
    request = ModelRequest("scripted", question, [{"type": "text", "text": "Be nice."}], [deep])
    async with serve_model(lambda request: Answer([Text("Hello.")])) as server, connected(server.base_url) as model:
        await hear(model, replace(request, tools=[]))
        [asked] = server.requests
    assert asked == {
        "model": "scripted",
        "max_tokens": 1000,
        "messages": [{"role": "user", "content": "é"}],
        "system": [{"type": "text", "text": "Be nice."}],
        "tools": [],
        "stream": True,
    }
    async with serve(Wire([BEGIN, END])) as wire, connected(wire.base_url) as model:
        # What is nested deeper than most can read goes out all the same.
        assert (await hear(model, request)).error is None
    head = wire.heads[0].lower()
    assert head.startswith(b"post /v1/messages http/1.1\r\n")
    for line in (b"anthropic-version: 20", b"content-type: application/json", b"accept-encoding: identity", b"secret"):
        assert line in head


async def test_a_later_request_has_the_head_of_the_first_and_a_body_of_its_own() -> None:
    questions = [replace(ASK, messages=[{"role": "user", "content": text}]) for text in ("Hello?", "And 100 % é?")]
    async with serve_model(lambda request: Answer([Text("Hello.")])) as server, connected(server.base_url) as model:
        for question in questions:
            assert (await hear(model, question)).error is None
    assert [request["messages"] for request in server.requests] == [question.messages for question in questions]
    async with serve(Wire([WHOLE])) as wire, connected(wire.base_url, key="secret 100%d %") as model:
        for question in questions:
            assert (await hear(model, question)).error is None
    first, later = (
        {line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length: ")} for head in wire.heads
    )
    assert later == first and any(line.endswith(b" secret 100%d %") for line in first)


async def test_a_later_request_follows_a_redirect() -> None:
    async with serve(Wire([WHOLE])) as first, serve(Wire([WHOLE])) as moved, connected(first.base_url) as model:
        assert (await hear(model)).error is None
        first.status, first.pieces = b"307 Temporary Redirect", ()
        first.headers = b"Location: %b/v2/messages\r\nContent-Length: 0\r\n" % moved.base_url.encode()
        for _ in range(2):
            assert (await hear(model)).joined == HEARD
    assert [head.split(b" ")[1] for head in moved.heads] == [b"/v2/messages"] * 2


@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY"])
async def test_the_proxy_of_the_environment_is_used(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(Wire([WHOLE])) as proxy:
        monkeypatch.setenv(name, proxy.base_url)
        async with connected("http://model.invalid") as model:
            heard = await hear(model)
    assert heard.error is None and heard.joined == HEARD
    assert proxy.heads[0].startswith(b"POST http://model.invalid/v1/messages HTTP/1.1\r\n")


# What goes wrong


@pytest.mark.parametrize(
    ("kind", "failure"),
    [
        ("overloaded_error", ("MODEL_UNAVAILABLE", True)),
        ("api_error", ("MODEL_UNAVAILABLE", True)),
        ("timeout_error", ("MODEL_UNAVAILABLE", True)),
        ("rate_limit_error", ("MODEL_RATE_LIMITED", True)),
        ("invalid_request_error", ("MODEL_REJECTED_REQUEST", False)),
    ],
)
@pytest.mark.parametrize("with_type", [True, False])
async def test_an_error_in_the_middle_of_an_answer_is_told_by_its_type(
    kind: str, failure: tuple[str, bool], with_type: bool
) -> None:
    body = {"type": "error"} if with_type else {}
    data = orjson.dumps({**body, "error": {"type": kind, "message": "org-1 has a problem"}})
    heard = await hear_wire(BEGIN, text("Hel"), b"event: error\ndata: %b\n\n" % data)
    assert heard.joined == [ModelStarted("scripted-1"), TextPiece("Hel")]
    assert heard.failure == failure
    assert heard.error and "org-1" not in heard.error.message and "org-1" in str(heard.error.__cause__)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            {"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit\nis low"}},
            "status 422 invalid_request_error Your credit is low",
        ),
        ({"detail": [{"msg": "bad", "input": "what Gina said"}]}, "status 422"),
        ({"error": {"message": "bad: what Gina said"}}, "status 422"),
    ],
)
async def test_the_log_may_have_the_apis_own_words_and_nothing_that_quotes_the_request(
    body: dict[str, Any], reason: str
) -> None:
    async with serve(Wire([orjson.dumps(body)], status=b"422 No")) as wire, connected(wire.base_url) as model:
        heard = await hear(model)
    assert heard.error
    assert heard.error.reason == reason


@pytest.mark.parametrize(
    "wrong",
    [
        b'event: content_block_delta\ndata: {"type":"content_block_de\n\n',
        b"data: " + b"[" * 100_000 + b"\n\n",
        b"data: \xff\n\n",
        b"data: null\n\n",
        b"data: 7\n\n",
        b"data: {}\n\n",
        event("content_block_start", index=0),
        event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": "many"}),
        delta("input_json_delta", partial_json=None) + BLOCK_END + TEXT_BLOCK + delta("signature_delta", signature=1),
    ],
)
async def test_a_malformed_event_ends_the_answer_after_what_came_before_it(wrong: bytes) -> None:
    for pieces in ((BEGIN + text("Hel") + wrong + text("lo") + END,), (BEGIN, text("Hel"), wrong, text("lo"), END)):
        heard = await hear_wire(*pieces)
        assert [piece for piece in heard.said if isinstance(piece, TextPiece)] == [TextPiece("Hel")]
        assert heard.error and heard.error.message == "The model's answer could not be read."
        assert heard.failure == ("MODEL_UNAVAILABLE", True)


async def test_events_that_say_nothing_are_passed_over() -> None:
    nothing = b"event: ping\ndata: pong\n\nevent: ping\ndata\n\ndata:\n\nevent: ping\n\n:\n\n"
    heard = await hear_wire(BEGIN, nothing, text("Hel"), nothing + text("lo."), nothing, END)
    assert heard.error is None and TextPiece("Hello.") in heard.joined


@pytest.mark.parametrize("said", [b"", BEGIN, BEGIN + text("Hel"), BEGIN + text("Hel") + BLOCK_END])
async def test_an_answer_without_its_end_ended_too_early(said: bytes) -> None:
    heard = await hear_wire(said)
    assert heard.error and heard.error.message == "The model's answer ended too early."
    heard = await hear_wire(said, headers=b"Content-Length: 100000\r\n")
    assert heard.error and heard.error.message == "The connection to the model broke."
    assert heard.failure == ("MODEL_UNAVAILABLE", True)


async def test_a_refusal_tells_how_long_to_wait() -> None:
    refusal = Refusal(429, "rate_limit_error", "org-1 asks too much", retry_after=7)
    async with serve_model(lambda request: refusal) as server, connected(server.base_url) as model:
        for _ in range(2):
            heard = await hear(model)
            assert heard.failure == ("MODEL_RATE_LIMITED", True)
            assert heard.error and heard.error.retry_after == 7 and "org-1" in str(heard.error.__cause__)


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(400, "invalid_request_error", "prompt is too long: 200001 tokens > 200000 maximum"),
        Refusal(400, "invalid_request_error", "bad"),
        Refusal(401, "authentication_error", "invalid x-api-key"),
        Refusal(413, "request_too_large", "Request exceeds the maximum size"),
        Refusal(429, "rate_limit_error", "Slow down", retry_after=1.5),
        Refusal(500, "api_error", "Oops"),
        Refusal(529, "overloaded_error", "Overloaded"),
    ],
)
async def test_a_refusal_of_a_later_request_means_what_that_of_the_first_does(refusal: Refusal) -> None:
    async with serve_model(lambda request: refusal) as server, connected(server.base_url) as model:
        first = await hear(model)
    answers: list[Answer | Refusal] = [Answer([Text("Hello.")]), refusal]
    async with serve_model(lambda request: answers.pop(0)) as server, connected(server.base_url) as model:
        assert (await hear(model)).error is None
        later = await hear(model)
    assert first.error and later.error and not answers
    assert vars(later.error) == vars(first.error) and str(later.error) == str(first.error)


async def test_a_refusal_in_other_words_than_the_apis_is_one_too() -> None:
    async with serve(Wire([WHOLE])) as wire, connected(wire.base_url) as model:
        assert (await hear(model)).error is None
        wire.status, wire.pieces = b"502 Bad Gateway", [b"<h1>", b"\xff</h1>"]
        heard = await hear(model)
    assert heard.failure == ("MODEL_UNAVAILABLE", True) and heard.error and heard.error.reason == "status 502"


@pytest.mark.parametrize("silent", [True, False])
async def test_a_model_that_is_gone_is_unavailable_for_a_later_request_as_for_the_first(
    silent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.anthropic.model.READ_TIMEOUT", 0.3)
    errors: list[ModelError | None] = []
    for asked_before in (False, True):
        async with serve(Wire([WHOLE])) as wire, connected(wire.base_url) as model:
            if asked_before:
                assert (await hear(model)).error is None
            if silent:
                wire.says_nothing = True
            else:
                wire.close()
            errors.append((await hear(model)).error)
    first, later = errors
    assert first and later and later.reason and vars(later) == vars(first)
    assert first.message == "The model could not be reached."


async def test_a_connection_that_was_closed_meanwhile_is_a_failure_to_try_again_after() -> None:
    async def hang_up_when_asked_again(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.read(10_000)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(WHOLE), WHOLE))
        await reader.read(1)
        writer.transport.abort()

    server = await asyncio.start_server(hang_up_when_asked_again, "127.0.0.1", 0)
    async with connected(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as model:
        assert (await hear(model)).error is None
        heard = await hear(model)
        assert heard.failure == ("MODEL_UNAVAILABLE", True) and heard.said == []
        assert (await hear(model)).error is None
    server.close()


async def test_a_key_that_would_write_headers_sends_nothing() -> None:
    async with serve(Wire([WHOLE])) as wire, connected(wire.base_url, key="secret\n") as model:
        assert (await hear(model)).failure == ("MODEL_UNAVAILABLE", True)
    assert wire.heads == []


@pytest.mark.parametrize("failure", [ZeroDivisionError, KeyError, ValueError, StopIteration])
@pytest.mark.parametrize("together", [True, False])
async def test_what_goes_wrong_where_text_is_told_is_raised_to_who_reads_the_answer(
    failure: type[Exception], together: bool
) -> None:
    told: list[Piece] = []

    def tell(piece: Piece) -> None:
        told.append(piece)
        raise failure("the reader's own")

    pieces = [BEGIN + text("a"), text("b")] if together else [BEGIN, text("a"), text("b")]
    async with serve(Wire(pieces, stays=True)) as wire, connected(wire.base_url) as model:
        with pytest.raises((failure, RuntimeError)) as raised:
            async for _ in model.stream(ASK, Usage(), tell):
                pass
        assert "the reader's own" in f"{raised.value}{raised.value.__cause__}"
        assert len(told) == 1
        await until(lambda: wire.open == 0)
        assert len(told) == 1
