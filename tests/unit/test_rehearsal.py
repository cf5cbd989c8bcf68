"""The offline model, driven by the real SDK over a real socket."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.types import Message

from agent import rehearsal_words
from agent.rehearsal import improvise
from agent.stand_in.answers import Answer, Fault, Refusal, Text, Thinking, ToolUse
from agent.stand_in.rules import find_complaint
from agent.stand_in.server import ModelServer, serve_model
from tests.conftest import until

HELLO = {"role": "user", "content": "hello"}
NAMES = ("tasks", "addTask", "updateTask", "completeTask", "deleteTask")
TOOLS: list[Any] = [{"name": name, "input_schema": {"type": "object"}} for name in NAMES]


class Script:
    """A model whose next answer is set by the test."""

    def __init__(self) -> None:
        self.answer: Answer | Refusal = Answer([])
        self.server: ModelServer
        self.client: anthropic.AsyncAnthropic

    def stream(self, **more: Any) -> Any:
        return self.client.messages.stream(**request(**more))

    async def fetch_text(self, **more: Any) -> str:
        async with self.stream(**more) as stream:
            return "".join([text async for text in stream.text_stream])

    async def wait_until_all_have_ended(self) -> None:
        """Much sooner than any stream of these tests ends by itself."""
        await until(lambda: self.server.open_streams == 0, seconds=30)


def request(**more: Any) -> dict[str, Any]:
    return {"model": "claude-rehearsal", "max_tokens": 1000, "messages": [HELLO], **more}


async def least(measure: Callable[[], Awaitable[float]], *, below: float) -> float:
    """The fewest seconds of some tries, of which one below `below` is enough: others use this machine, too."""
    fewest = math.inf
    for _ in range(5):
        fewest = min(fewest, await measure())
        if fewest < below:
            break
    return fewest


Connect = Callable[[ModelServer], anthropic.AsyncAnthropic]


@pytest.fixture(scope="module")
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with anthropic.DefaultAsyncHttpxClient() as http:
        yield http


@pytest.fixture(scope="module")
def connect(http: httpx2.AsyncClient) -> Connect:
    def connect(server: ModelServer) -> anthropic.AsyncAnthropic:
        return anthropic.AsyncAnthropic(base_url=server.base_url, api_key="x", max_retries=0, http_client=http)

    return connect


@pytest.fixture
async def script(connect: Connect) -> AsyncIterator[Script]:
    script = Script()
    async with serve_model(lambda _: script.answer) as script.server:
        script.client = connect(script.server)
        yield script


# The wire


@pytest.mark.parametrize(
    "text", ["Hello  brave\n\nnew world. ", " ", "ünïcödé 👩‍👩‍👧 " * 40, "x" * 99, "多字节的文字" * 9, ""]
)
async def test_streamed_text_joins_to_exactly_the_text(script: Script, text: str) -> None:
    script.answer = Answer([Text(text)])
    assert await script.fetch_text() == text


async def test_given_tokens_arrive_as_the_deltas(script: Script) -> None:
    script.answer = Answer([Text("abcd", tokens=("a", "bc", "d"))])
    async with script.stream() as stream:
        assert [text async for text in stream.text_stream] == ["a", "bc", "d"]


async def test_thinking_text_and_tools_arrive_in_one_message_with_its_usage(script: Script) -> None:
    script.answer = Answer(
        [Thinking("Let me see.", "c2ln"), Text("Adding."), ToolUse("addTask", {"title": "milk " * 9})],
        input_tokens=11,
        cache_read_tokens=22,
        cache_write_tokens=33,
    )
    async with script.stream(tools=TOOLS) as stream:
        message = await stream.get_final_message()
    thinking, text, tool = message.content
    assert (thinking.type, text.type, tool.type) == ("thinking", "text", "tool_use")
    assert (thinking.thinking, thinking.signature, text.text) == ("Let me see.", "c2ln", "Adding.")
    assert (tool.name, tool.input) == ("addTask", {"title": "milk " * 9})
    assert tool.id.startswith("toolu_")
    assert message.stop_reason == "tool_use"
    usage = message.usage
    assert (usage.input_tokens, usage.output_tokens) == (11, 3 + 1 + 5)
    assert (usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (22, 33)


async def test_events_come_in_the_order_and_shape_of_the_api(script: Script, http: httpx2.AsyncClient) -> None:
    script.answer = Answer([Text("Hi there"), ToolUse("tasks", {}, id="toolu_1")], input_tokens=5)
    url = f"{script.server.base_url}/v1/messages"
    response = await http.post(url, json=request(stream=True), headers={"x-api-key": "x"})
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["request-id"].startswith("req_")
    frames = [frame.split("\n") for frame in response.text.removesuffix("\n\n").split("\n\n")]
    events = [json.loads(data.removeprefix("data: ")) for _, data in frames]
    assert [name.removeprefix("event: ") for name, _ in frames] == [event["type"] for event in events]
    start = events.pop(0)["message"]
    assert start["content"] == [] and start["stop_reason"] is None and start["usage"]["output_tokens"] == 1
    usage = {"input_tokens": 5, "output_tokens": 3}
    usage |= {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    tool = {"type": "tool_use", "id": "toolu_1", "name": "tasks", "input": {}}
    delta = {"type": "input_json_delta", "partial_json": "{}"}
    stop = {"stop_reason": "tool_use", "stop_sequence": None}
    assert events == [
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " there"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": tool},
        {"type": "content_block_delta", "index": 1, "delta": delta},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": stop, "usage": usage},
        {"type": "message_stop"},
    ]


async def test_an_answer_without_streaming_is_one_json_message(script: Script) -> None:
    script.answer = Answer([Text("Hello."), ToolUse("tasks", {"first": 3})], stop_reason="max_tokens")
    message = await script.client.messages.create(**request())
    assert [block.type for block in message.content] == ["text", "tool_use"]
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 2)


async def test_malformed_arguments_reach_the_client_as_they_are(script: Script) -> None:
    script.answer = Answer([ToolUse("addTask", {}, raw='{"title": mi')])
    pieces = []
    async with await script.client.messages.create(**request(), stream=True) as stream:
        async for event in stream:
            if event.type == "content_block_delta" and event.delta.type == "input_json_delta":
                pieces.append(event.delta.partial_json)
    assert "".join(pieces) == '{"title": mi'


async def test_the_server_keeps_what_it_was_asked(script: Script) -> None:
    await script.fetch_text(system="Be brief.")
    assert [seen["system"] for seen in script.server.requests] == ["Be brief."]


@pytest.mark.parametrize("rate", [50, 2000])
async def test_tokens_keep_their_rate(script: Script, rate: int) -> None:
    text = Text("", tokens=("x",) * (rate // 5 + 1))
    script.answer = Answer([text], first_token_delay=0.1, tokens_per_second=rate)

    async def measure() -> float:
        began = time.monotonic()
        async with script.stream() as stream:
            arrivals = [time.monotonic() - began async for _ in stream.text_stream]
        assert arrivals[0] >= 0.1
        assert arrivals[-1] >= 0.28
        return arrivals[-1]

    assert await least(measure, below=0.6) < 2


async def test_an_answer_without_streaming_takes_as_long_as_its_tokens(connect: Connect) -> None:
    async with serve_model(lambda _: Answer([Text("one two three four")]), tokens_per_second=40) as server:

        async def measure() -> float:
            began = time.monotonic()
            await connect(server).messages.create(**request())
            assert time.monotonic() - began >= 0.1
            return time.monotonic() - began

        assert await least(measure, below=0.3) < 1


async def test_leaving_closes_the_stream_at_once_between_tokens_and_in_a_stall(script: Script) -> None:
    slow = Answer([Text("one two three")], tokens_per_second=0.01)
    stalled = Answer([Text("one two three")], fault=Fault(1, "stall"))
    unbegun = Answer([Text("one")], first_token_delay=100)
    for script.answer in (slow, stalled, unbegun):
        async with script.stream() as stream:
            await anext(aiter(stream))
            assert script.server.open_streams == 1
        await script.wait_until_all_have_ended()


async def test_leaving_closes_a_stream_that_nobody_reads(script: Script) -> None:
    script.answer = Answer([Text("", tokens=("x" * 1000,) * 20_000)])
    async with script.stream() as stream:
        await anext(aiter(stream))
        await asyncio.sleep(0.05)
        assert script.server.open_streams == 1
    await script.wait_until_all_have_ended()


async def test_the_server_ends_promptly_with_streams_open(connect: Connect) -> None:
    async with serve_model(lambda _: Answer([Text("a b")], tokens_per_second=0.01)) as server:
        stream = await connect(server).messages.create(**request(), stream=True)
        await anext(aiter(stream))
        began = time.monotonic()
    # The stream would go on for 100 s.
    assert time.monotonic() - began < 30
    assert server.open_streams == 0
    with pytest.raises(httpx2.RemoteProtocolError):
        async for _ in stream:
            pass


async def test_hundreds_of_streams_begin_at_once_and_keep_their_rate(script: Script) -> None:
    script.answer = Answer([Text("", tokens=("x",) * 11)], tokens_per_second=20)
    body = json.dumps(request(stream=True))
    head = f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: x\r\ncontent-length: {len(body)}\r\n"
    port = int(script.server.base_url.rpartition(":")[2])

    async def read_stream() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{head}connection: close\r\n\r\n{body}".encode())
        received = await reader.read()
        writer.close()
        return received

    began = time.monotonic()
    received = await asyncio.gather(*(read_stream() for _ in range(200)))
    assert all(b"message_stop" in stream for stream in received)
    # One after the other they would take 100 s.
    assert 0.5 <= time.monotonic() - began < 50


async def test_serving_changes_neither_signal_handlers_nor_the_log_of_another_server() -> None:
    def look() -> list[Any]:
        log = logging.getLogger("uvicorn.access")
        return [signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT), log.propagate, log.level]

    before = look()
    async with serve_model(improvise):
        assert look() == before


# Faults and refusals


@pytest.mark.parametrize("after", [0, 2, 99])
async def test_a_cut_stream_raises_a_protocol_error_after_its_tokens(
    script: Script, after: int, caplog: pytest.LogCaptureFixture
) -> None:
    script.answer = Answer([Text("one two three")], fault=Fault(after, "cut"))
    texts = []
    with pytest.raises(httpx2.RemoteProtocolError):
        async with script.stream() as stream:
            async for text in stream.text_stream:
                texts.append(text)
    assert "".join(texts) == "".join(["one", " two", " three"][:after])
    await script.wait_until_all_have_ended()
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")]


@pytest.mark.parametrize(("kind", "type"), [("overloaded", "overloaded_error"), ("api_error", "api_error")])
async def test_an_error_in_a_stream_is_a_status_error_of_its_type(script: Script, kind: Any, type: str) -> None:
    script.answer = Answer([Text("one two")], fault=Fault(1, kind))
    with pytest.raises(anthropic.APIStatusError) as caught:
        await script.fetch_text()
    assert (caught.value.type, caught.value.status_code) == (type, 200)


async def test_a_broken_data_line_is_no_json_for_the_client(script: Script) -> None:
    script.answer = Answer([Text("one two")], fault=Fault(1, "malformed_json"))
    with pytest.raises(json.JSONDecodeError):
        await script.fetch_text()


async def test_an_unknown_event_is_passed_over(script: Script) -> None:
    script.answer = Answer([Text("one two")], fault=Fault(1, "unknown_event"))
    assert await script.fetch_text() == "one two"


async def test_a_body_without_a_stop_ends_without_an_error(script: Script) -> None:
    script.answer = Answer([Text("one two")], fault=Fault(1, "no_stop"))
    async with script.stream() as stream:
        message = await stream.get_final_message()
    assert message.stop_reason is None
    assert message.content[0].text == "one"


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("cut", anthropic.APIConnectionError),
        ("overloaded", anthropic.APIStatusError),
        ("api_error", anthropic.InternalServerError),
        ("malformed_json", json.JSONDecodeError),
    ],
)
async def test_faults_are_seen_without_streaming_too(script: Script, kind: Any, error: type[Exception]) -> None:
    script.answer = Answer([Text("one")], fault=Fault(0, kind))
    with pytest.raises(error):
        await script.client.messages.create(**request())


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        (Refusal(400, "invalid_request_error", "prompt is too long"), anthropic.BadRequestError),
        (Refusal(401, "authentication_error", "invalid x-api-key"), anthropic.AuthenticationError),
        (Refusal(429, "rate_limit_error", "Slow down", retry_after=1.5), anthropic.RateLimitError),
        (Refusal(500, "api_error", "Oops"), anthropic.InternalServerError),
        (Refusal(529, "overloaded_error", "Overloaded"), anthropic.APIStatusError),
    ],
)
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_refusal_is_the_status_error_that_it_names(
    script: Script, refusal: Refusal, error: type[anthropic.APIStatusError], streamed: bool
) -> None:
    script.answer = refusal
    with pytest.raises(error) as caught:
        await script.client.messages.create(**request(stream=streamed))
    seen = caught.value
    assert (seen.status_code, seen.type, seen.api_message) == (refusal.status, refusal.type, refusal.message)
    assert seen.request_id is not None and seen.request_id.startswith("req_")
    assert seen.response.headers.get("retry-after") == ("1.5" if refusal.retry_after else None)


async def test_a_script_that_raises_is_a_logged_server_error(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: dict[str, Any]) -> Answer:
        raise KeyError("forgotten")

    async with serve_model(fail) as server:
        with pytest.raises(anthropic.InternalServerError):
            await connect(server).messages.create(**request())
    assert "forgotten" in caplog.text


# What the API refuses


CALL = {"type": "tool_use", "id": "toolu_1", "name": "tasks", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "{}"}
MARK = {"cache_control": {"type": "ephemeral"}}


def talk(*contents: Any) -> dict[str, Any]:
    """Messages that alternate, the user's first."""
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[index % 2], "content": c} for index, c in enumerate(contents)]}


@pytest.mark.parametrize(
    ("flaw", "complaint"),
    [
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"messages": []}, "one message or more"),
        ({"messages": ["hello"]}, "one message or more"),
        ({"messages": [{"role": "assistant", "content": "hi"}]}, 'must use the "user" role'),
        ({"messages": [HELLO, {"role": "tool", "content": "hi"}]}, "messages.1.role"),
        (talk(""), "non-empty content"),
        (talk("hi", [], "hi"), "non-empty content"),
        (talk([{"type": "text", "text": ""}]), "must be non-empty"),
        (talk([{"type": "text", "text": " \n"}]), "non-whitespace"),
        (talk([{"text": "hi"}]), "type: Field required"),
        ({"system": [{"type": "text", "text": ""}]}, "system.0"),
        (talk("hi", [{"type": "thinking", "thinking": "hm"}]), "signature: Field required"),
        (talk("hi", [CALL]), "without `tool_result` blocks immediately after: toolu_1"),
        (talk("hi", [CALL], "go on"), "without `tool_result` blocks immediately after: toolu_1"),
        (talk("hi", [CALL], [{"type": "text", "text": "so"}, RESULT]), "immediately after: toolu_1"),
        (talk("hi", "ho", [RESULT]), "unexpected `tool_use_id`"),
        (talk("hi", [CALL], [RESULT, RESULT]), "single result"),
        (talk("hi", [CALL], [RESULT], [CALL], [RESULT]), "must be unique"),
        (talk("hi", [CALL | {"input": "{}"}], [RESULT]), "valid dictionary"),
        (talk("hi", [CALL | {"id": "VGFzazox=="}], [RESULT]), "tool_use.id"),
        ({"tools": [TOOLS[0], TOOLS[0]]}, "unique"),
        ({"tools": [{"name": "add task", "input_schema": {"type": "object"}}]}, "tools.0.custom.name"),
        ({"tools": [{"name": "a" * 129, "input_schema": {"type": "object"}}]}, "tools.0.custom.name"),
        ({"tools": [{"name": "addTask"}]}, "input_schema"),
        (MARK | {"tools": [tool | MARK for tool in TOOLS]}, "Found 6"),
        (talk(*[[{"type": "text", "text": "hi"} | MARK]] * 5), "Found 5"),
    ],
)
async def test_a_request_that_the_api_refuses_is_refused(
    script: Script, http: httpx2.AsyncClient, flaw: dict[str, Any], complaint: str
) -> None:
    body = {name: value for name, value in (request() | flaw).items() if value is not None}
    headers = {"authorization": "Bearer x"}
    response = await http.post(f"{script.server.base_url}/v1/messages", json=body, headers=headers)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert complaint in response.json()["error"]["message"]


def test_a_request_with_tools_thinking_and_four_marks_is_taken() -> None:
    thinking = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    text = {"type": "text", "text": "and then?"} | MARK
    body = request(system=[text], tools=[TOOLS[0] | MARK], **MARK)
    assert find_complaint(body | talk("hi", [thinking, CALL], [RESULT, text], "")) is None


async def test_requests_without_a_key_or_to_another_path_are_refused(script: Script, http: httpx2.AsyncClient) -> None:
    url, key = f"{script.server.base_url}/v1", {"x-api-key": "x"}
    keyless = await http.post(f"{url}/messages", json=request())
    elsewhere = await http.post(f"{url}/complete", json=request(), headers=key)
    garbage = await http.post(f"{url}/messages", content=b"{", headers=key)
    assert (keyless.status_code, keyless.json()["error"]["type"]) == (401, "authentication_error")
    assert (elsewhere.status_code, elsewhere.json()["error"]["type"]) == (404, "not_found_error")
    assert (garbage.status_code, garbage.json()["error"]["type"]) == (400, "invalid_request_error")


# The rehearsal model


class List:
    """A to-do list behind the tools, in the shapes of the GraphQL contract."""

    def __init__(self, *titles: str) -> None:
        self.tasks = [{"id": f"T{n}", "title": title, "done": False} for n, title in enumerate(titles)]
        self.calls: list[str] = []

    def call(self, tool: str, parameters: Any) -> Any:
        self.calls.append(tool)
        if tool == "tasks":
            return self._page(**parameters)
        if tool == "addTask":
            self.tasks.append({"id": f"T{len(self.tasks)}", "done": False, **parameters})
            return {"task": self.tasks[-1]}
        task = next(task for task in self.tasks if task["id"] == parameters["id"])
        if tool == "deleteTask":
            self.tasks.remove(task)
            return {"deletedId": task["id"]}
        task.update(parameters)
        return {"task": task}

    def _page(self, first: int, after: str = "0", done: bool | None = None) -> Any:
        tasks = [task for task in self.tasks if done in (None, task["done"])]
        start, end = int(after), int(after) + first
        page = {"hasNextPage": end < len(tasks), "endCursor": str(end)}
        return {"edges": [{"node": task} for task in tasks[start:end]], "pageInfo": page}


Call = Callable[[str, Any], Any]


def refuse_with(message: str) -> Call:
    def call(tool: str, parameters: Any) -> Any:
        raise RuntimeError(message)

    return call


@pytest.fixture
async def client(connect: Connect) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with serve_model(improvise) as server:
        yield connect(server)


def run_tools(message: Message, call: Call) -> list[Any]:
    results: list[Any] = []
    for block in message.content:
        if block.type == "tool_use":
            result: Any = {"type": "tool_result", "tool_use_id": block.id}
            try:
                results.append(result | {"content": json.dumps(call(block.name, block.input))})
            except RuntimeError as error:
                results.append(result | {"content": str(error), "is_error": True})
    return results


async def converse(client: anthropic.AsyncAnthropic, call: Call, *said: Any) -> str:
    """Says one thing after the other as an agent does, tools and all; the last final text."""
    messages: list[Any] = []
    text = ""
    for words in said:
        messages.append({"role": "user", "content": words})
        while True:
            async with client.messages.stream(**request(messages=messages, tools=TOOLS)) as stream:
                message = await stream.get_final_message()
            messages.append({"role": "assistant", "content": message.content})
            if message.stop_reason != "tool_use":
                break
            messages.append({"role": "user", "content": run_tools(message, call)})
        text = "".join(block.text for block in message.content if block.type == "text")
        assert "ehearsal model" in text and "ANTHROPIC_API_KEY" in text
    return text


@pytest.mark.parametrize(
    ("said", "calls", "named"),
    [
        ("add bread to my list", ["addTask"], ["bread"]),
        ("Please add bread and eggs to my list!", ["addTask", "addTask"], ["bread", "eggs"]),
        ("remind me to call mom", ["addTask"], ["call mom"]),
        ("what is on my list?", ["tasks"], ["milk", "tea"]),
        ("What’s left to do on my to-do list?", ["tasks"], ["milk", "tea"]),
        ("show my tasks", ["tasks"], ["milk", "tea"]),
        ("done with milk", ["tasks", "completeTask"], ["**milk** as done"]),
        ("I bought the Milk", ["tasks", "completeTask"], ["**milk** as done"]),
        ("mark milk as done", ["tasks", "completeTask"], ["**milk** as done"]),
        ("mark milk as not done", ["tasks", "completeTask"], ["**milk** as open"]),
        ("done with milk and tea", ["tasks", "completeTask", "completeTask"], ["milk", "green tea"]),
        ("delete milk", ["tasks", "deleteTask"], ["deleted **milk**"]),
        ("could you remove milk from my list please?", ["tasks", "deleteTask"], ["deleted **milk**"]),
        ("rename milk to oat milk", ["tasks", "updateTask"], ["**milk** to **oat milk**"]),
        ("delete the piano", ["tasks"], ["cannot find **piano**", "milk", "tea"]),
    ],
)
async def test_a_phrase_becomes_its_calls_and_a_text_that_names_the_result(
    client: anthropic.AsyncAnthropic, said: str, calls: list[str], named: list[str]
) -> None:
    tasks = List("milk", "green tea")
    text = await converse(client, tasks.call, said)
    assert tasks.calls == calls
    assert all(name in text for name in named), text


async def test_a_whole_chat_leaves_the_list_as_it_was_told(client: anthropic.AsyncAnthropic) -> None:
    tasks = List()
    said = ("add milk and eggs to my list", "rename eggs to six eggs", "I bought the milk", "delete milk")
    text = await converse(client, tasks.call, "hello", *said, "what is on my list?")
    assert [(task["title"], task["done"]) for task in tasks.tasks] == [("six eggs", False)]
    assert "- [ ] six eggs" in text and "milk" not in text


async def test_of_equal_titles_the_oldest_open_one_is_completed(client: anthropic.AsyncAnthropic) -> None:
    tasks = List("milk", "milk", "milk")
    await converse(client, tasks.call, "done with milk", "done with milk")
    assert [task["done"] for task in tasks.tasks] == [True, True, False]


async def test_a_task_beyond_the_first_page_is_found(client: anthropic.AsyncAnthropic) -> None:
    tasks = List(*(f"errand {n:03}" for n in range(230)), "piano")
    await converse(client, tasks.call, "delete piano")
    assert tasks.calls == ["tasks", "tasks", "tasks", "deleteTask"]
    assert len(tasks.tasks) == 230


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("You have too many tasks", "did not work: You have too many tasks"),
        ('{"errors": [{"message": "Titles are short."}]}', "did not work: Titles are short."),
        ("The user denied this call.", "denied"),
        ("The call was interrupted and may or may not have taken effect.", "interrupted"),
    ],
)
async def test_a_call_that_failed_is_told_with_its_reason(
    client: anthropic.AsyncAnthropic, error: str, told: str
) -> None:
    assert told in await converse(client, refuse_with(error), "add milk to my list")
    assert told in await converse(client, refuse_with(error), "delete milk")


async def test_a_new_wish_beside_an_interrupted_result_is_what_counts() -> None:
    result = RESULT | {"content": "The call was interrupted.", "is_error": True}
    note = {"type": "text", "text": "<note>delete milk</note>"}
    wish = {"type": "text", "text": "add tea to my list"}
    answer = improvise(request(tools=TOOLS) | talk("what is on my list?", [CALL], [result, wish, note]))
    assert answer.blocks == [ToolUse("addTask", {"title": "tea"})]


async def test_notes_are_not_what_the_user_said(client: anthropic.AsyncAnthropic) -> None:
    note = "<note>It is\nMonday. Add milk to my list.</note>"
    text = await converse(client, List().call, "the first thing", f"{note}\nwhat did I say before?")
    assert "> the first thing" in text
    assert "Monday" not in text


async def test_without_tools_it_says_that_it_cannot_keep_a_list(client: anthropic.AsyncAnthropic) -> None:
    message = await client.messages.create(**request(messages=[HELLO | {"content": "add milk to my list"}]))
    assert message.content[0].type == "text"
    assert "cannot keep a list without tools" in message.content[0].text


@pytest.mark.parametrize("count", [1, 14, 400, 5000])
async def test_a_text_has_as_many_words_as_asked_for(client: anthropic.AsyncAnthropic, count: int) -> None:
    text = await converse(client, List().call, f"write {count} words about the river Rhine")
    heading, *paragraphs, _ = text.split("\n\n")
    assert heading == "# The river Rhine"
    assert len(" ".join(paragraphs).split()) == count


def test_a_text_is_no_longer_than_the_limit_and_repeats_no_sentence_soon() -> None:
    _, *paragraphs = rehearsal_words.write_text(10**9, "rivers", "prompt").split("\n\n")
    sentences = " ".join(paragraphs).split(". ")
    assert len(" ".join(paragraphs).split()) == rehearsal_words.LONGEST_TEXT
    assert len(set(sentences)) == len(sentences)
    assert [len(closing.split()) for closing in rehearsal_words.CLOSINGS] == list(range(1, 13))


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("show me some python code", "```python\n"),
        ("show me a table", "| -----"),
        ("what can you do?", "add milk to my list"),
        ("hello", "to-do list"),
        ("what did I say before?", "first thing"),
        ("tell me a long story", "\n\n"),
        ("The weather in Lisbon", "The weather in Lisbon"),
    ],
)
async def test_it_chats_in_markdown(client: anthropic.AsyncAnthropic, said: str, shown: str) -> None:
    assert shown in await converse(client, List().call, said)


async def test_it_calls_any_tool_that_it_is_told_to_and_gives_the_result(client: anthropic.AsyncAnthropic) -> None:
    tasks = List("milk")
    text = await converse(client, tasks.call, 'call tasks with {"first": 3}')
    assert tasks.calls == ["tasks"]
    assert text.startswith("`tasks` gave back:") and "milk" in text
    assert "gave back" not in await converse(client, tasks.call, "call nothing {}")


def test_under_its_other_name_its_texts_are_short_and_it_says_once_who_speaks() -> None:
    first = [HELLO | {"content": "write 300 words about rivers"}]
    later = [*first, {"role": "assistant", "content": "Words."}, *first]

    def write(model: str, messages: list[Any]) -> str:
        [text] = improvise(request(messages=messages) | {"model": model}).blocks
        assert isinstance(text, Text)
        return text.text

    whole, brief = write("rehearsal", first), write("rehearsal-brief", first)
    assert len(whole.split()) > 300 and len(brief.split()) < 80
    assert "ehearsal model" in brief
    assert "ehearsal model" not in write("rehearsal-brief", later)


def test_it_thinks_before_it_speaks_when_asked_to() -> None:
    thinking, text = improvise(request(messages=[HELLO | {"content": "think about the sea"}])).blocks
    assert isinstance(thinking, Thinking) and "the sea" in thinking.text
    assert isinstance(text, Text) and "ehearsal model" in text.text


@pytest.mark.parametrize("said", ["hello", "write 90 words", "think about tea", "add tea to my list", "x" * 32_000])
def test_the_same_request_gets_the_same_answer(said: str) -> None:
    body = request(tools=TOOLS, messages=[HELLO | {"content": said}])
    assert improvise(body) == improvise(body)


@pytest.mark.parametrize(
    ("said", "title"),
    [
        ("how do I cook rice for twenty hungry people?", "How do I cook rice for"),
        ("Hello!\n\nI have a question", "Hello"),
        ("???", "New conversation"),
    ],
)
@pytest.mark.parametrize("as_blocks", [True, False])
def test_a_title_is_the_first_words_of_the_user_and_nothing_else(said: str, title: str, as_blocks: bool) -> None:
    system: Any = "You name conversations. Answer with the title only, without quotes."
    system = [{"type": "text", "text": system}] if as_blocks else system
    exchange = f"User: {said}\n\nAssistant: I am the rehearsal model."
    answer = improvise(request(system=system, messages=[HELLO | {"content": exchange}]))
    assert answer.blocks == [Text(title)]
