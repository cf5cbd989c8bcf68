"""What is remembered of documents, what refusals tell, and which operations run."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import graphql
import pytest
from strawberry.types import ExecutionResult

from schema import documents as documents_module
from schema.documents import CACHED_CHARACTERS, CACHED_DOCUMENTS, MOST_ERRORS, DocumentCache
from schema.errors import LONGEST_MESSAGE
from schema.limits import DocumentLimits
from schema.root import LoquentSchema, create_schema

SCHEMA = create_schema()
TYPENAME = "{ __typename }"


@pytest.fixture
def parses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were parsed."""
    parsed: list[str] = []

    def parse(query: str, **options: Any) -> graphql.DocumentNode:
        parsed.append(query)
        return graphql.parse(query, **options)

    monkeypatch.setattr(documents_module, "parse", parse)
    return parsed


def new_cache() -> DocumentCache:
    return DocumentCache(SCHEMA._schema, DocumentLimits(), introspection=True)


def messages(result: ExecutionResult) -> list[str]:
    return [error.message for error in result.errors or ()]


async def refusals(text: str, variables: dict[str, Any] | None = None, schema: LoquentSchema = SCHEMA) -> list[str]:
    """Why a document is refused, each with the code that is right for a mistake in a request."""
    result = await schema.execute(text, variable_values=variables)
    assert all((error.extensions or {})["code"] == "BAD_USER_INPUT" for error in result.errors or ())
    return messages(result)


async def streamed(text: str, schema: LoquentSchema = SCHEMA, **more: Any) -> list[Any]:
    return [result async for result in await schema.stream(text, **more)]


async def test_a_document_is_prepared_once(parses: list[str]) -> None:
    schema = create_schema()
    for _ in range(3):
        assert (await schema.execute(TYPENAME)).data == {"__typename": "Query"}
        [result] = await streamed(TYPENAME, schema)
        assert result.data == {"__typename": "Query"}
    assert parses == [TYPENAME]


async def test_fragments_take_no_arguments() -> None:
    # What is selected would be another for each value of them, and what is remembered of it is for all.
    [refused] = await refusals(
        "query ($id: ID!) { ...F(id: $id) } fragment F($id: ID!) on Query { node(id: $id) { id } }"
    )
    assert refused.startswith("Syntax Error")


def test_only_the_latest_documents_are_remembered(parses: list[str]) -> None:
    cache = new_cache()
    for number in range(CACHED_DOCUMENTS + 1):
        cache.prepare(f"query Q{number} {TYPENAME}")
        cache.prepare(f"query Q1 {TYPENAME}")
    assert len(parses) == CACHED_DOCUMENTS + 1
    cache.prepare(f"query Q1 {TYPENAME}")
    assert len(parses) == CACHED_DOCUMENTS + 1
    cache.prepare(f"query Q0 {TYPENAME}")
    assert len(parses) == CACHED_DOCUMENTS + 2


def test_long_documents_push_each_other_out(parses: list[str]) -> None:
    cache = new_cache()
    long = [f"query Q{number} {TYPENAME} # {'x' * 20_000}" for number in range(2 * CACHED_CHARACTERS // 20_000)]
    for text in long:
        cache.prepare(text)
    for text in long[-CACHED_CHARACTERS // 21_000 :]:
        cache.prepare(text)
    assert len(parses) == len(long)
    cache.prepare(long[0])
    assert len(parses) == len(long) + 1


def test_refused_documents_are_not_remembered(parses: list[str]) -> None:
    cache = new_cache()
    for text in ("{", "{ nonsense }", "{ a: viewer { id } ".replace("a", "a" * 60_000)):
        assert cache.prepare(text).errors
        assert cache.prepare(text).errors
    assert len(parses) == 4


SUGGESTIVE = [
    "{ viewr { id } }",
    "{ viewer { idd } }",
    "{ conversations(frist: 1) { __typename } }",
    "{ node(id: 1) { ... on Mesage { id } } }",
    "query ($a: Strin) { conversations(search: $a) { __typename } }",
    'mutation { addTask(input: {titel: "x"}) { task { id } } }',
    'mutation { rateMessage(input: {messageId: "x", rating: UPP}) { message { id } } }',
    'mutation { rateMessage(input: {messageId: "x", rating: "UP"}) { message { id } } }',
    "{ viewer { id @skp(if: true) } }",
    "{ viewer { id @skip(fi: true) } }",
    "{ viewer }",
    "{ viewer { ..id } }",
    "{ node(id: 'x') { id } }",
]


@pytest.mark.parametrize("text", SUGGESTIVE)
async def test_no_refusal_guesses_what_was_meant(text: str) -> None:
    refused = await refusals(text)
    assert refused
    assert "did you mean" not in " ".join(refused).lower()


@pytest.mark.parametrize(
    "variables", [{"rating": "UPP"}, {"rating": "up"}, {"input": {"messageId": "x", "ratin": "UP"}}, {"rating": 1}]
)
async def test_no_wrong_variable_is_answered_with_a_guess(variables: dict[str, Any]) -> None:
    text = "mutation ($rating: Rating) { rateMessage(input: {messageId: 1, rating: $rating}) { message { id } } }"
    if "input" in variables:
        text = "mutation ($input: RateMessageInput!) { rateMessage(input: $input) { message { id } } }"
    refused = await refusals(text, variables)
    assert refused
    assert "did you mean" not in " ".join(refused).lower()


async def test_many_wrong_variables_are_answered_briefly() -> None:
    declared = " ".join(f"$a{number}: Int!" for number in range(20))
    used = " ".join(f"a{number}: conversations(first: $a{number}) {{ __typename }}" for number in range(20))
    wrong = {f"a{number}": "x" * 10_000 for number in range(20)}
    query = await SCHEMA.execute(f"query ({declared}) {{ {used} }}", variable_values=wrong)
    included = " ".join(f"cursor @include(if: $a{number})" for number in range(20))
    finished = f"... on MessageFinished {{ message {{ {included} }} }}"
    flags = declared.replace("Int", "Boolean")
    subscription = f'subscription ({flags}) {{ messageStream(messageId: "x") {{ {finished} }} }}'
    [stream] = await streamed(subscription, variable_values=wrong)
    for result in (query, stream):
        assert 1 < len(messages(result)) <= MOST_ERRORS + 1
        assert all(len(message) <= LONGEST_MESSAGE for message in messages(result))


async def test_a_message_quotes_no_more_than_its_length() -> None:
    [message] = await refusals("{ " + "x" * 40_000 + " }")
    assert len(message) == LONGEST_MESSAGE
    assert message.endswith("…")


async def test_few_errors_are_reported_of_one_document() -> None:
    refused = await refusals("{ " + " ".join(f"x{number}" for number in range(19)) + " }")
    assert len(refused) == MOST_ERRORS + 1
    assert refused[-1].startswith("Too many validation errors")


@pytest.mark.parametrize(
    "text", ["{ __schema { types { name } } }", '{ ...A } fragment A on Query { __type(name: "A") { name } }']
)
async def test_the_schema_is_not_shown_where_introspection_is_off(text: str) -> None:
    closed = create_schema(introspection=False)
    [message] = await refusals(text, schema=closed)
    assert message.startswith("Introspection is off on this server")
    assert (await closed.execute(TYPENAME)).data == {"__typename": "Query"}
    assert (await SCHEMA.execute(text)).errors is None


SEVERAL = "query A { __typename } query B { b: __typename }"


async def test_of_several_operations_one_must_be_named() -> None:
    assert await refusals(SEVERAL) == ["The document has several operations: operationName must name one."]
    assert (await SCHEMA.execute(SEVERAL, operation_name="B")).data == {"b": "Query"}
    [result] = await streamed(SEVERAL)
    assert "operationName" in messages(result)[0]
    [named] = await streamed(SEVERAL, operation_name="A")
    assert named.data == {"__typename": "Query"}


@pytest.mark.parametrize("name", [None, "A"])
@pytest.mark.parametrize("text", ["{", "{ nonsense }", "{ " + "viewer { id } " * 21 + "}", "#" * 60_000])
async def test_a_stream_says_why_its_document_is_refused(text: str, name: str | None) -> None:
    """Also where only subscriptions may run, and where an operation is named that cannot be found."""
    if name and text.startswith("{ "):
        text = f"query {name} {text}"
    for stream in (SCHEMA.stream, SCHEMA.subscribe):
        result: Any
        [result] = [result async for result in await stream(text, operation_name=name)]
        [error] = result.errors
        assert error.extensions["code"] == "BAD_USER_INPUT"
        json.dumps(error.formatted)


async def test_the_cost_is_that_of_the_operation_that_runs() -> None:
    schema = create_schema(DocumentLimits(cost=100))
    text = "query A { viewer { id } } query B($n: Int) { tasks(first: $n) { edges { cursor } } }"
    result = await schema.execute(text, {"n": 100}, operation_name="B")
    assert messages(result) == [
        "The document costs 201 (fields, each times the sizes of the pages and lists that it is in); "
        "at most 100 are allowed."
    ]
    assert "costs" not in " ".join(messages(await schema.execute(text, {"n": 100}, operation_name="A")))


class Events:
    """Stands for what a subscription gives: as many nulls as a test lets through."""

    def __init__(self, schema: LoquentSchema) -> None:
        self.queue: asyncio.Queue[str] = asyncio.Queue()
        subscription = schema._schema.subscription_type
        assert subscription is not None
        subscription.fields["messageStream"].subscribe = self.subscribe

    async def subscribe(self, *_: Any, **__: Any) -> AsyncIterator[None]:
        while (event := await self.queue.get()) != "end":
            if event == "fail":
                raise RuntimeError(event)
            yield None


SUBSCRIPTION = 'subscription { messageStream(messageId: "x") { cursor } }'


@pytest.mark.parametrize("how", ["end", "fail", "closed", "cancelled", "never begun"])
async def test_a_subscription_is_counted_until_its_stream_is_over(how: str) -> None:
    schema = create_schema()
    events = Events(schema)
    stream: Any = await schema.stream(SUBSCRIPTION)
    assert schema.open_subscriptions == 0
    if how != "never begun":
        events.queue.put_nowait("next")
        await anext(stream)
        assert schema.open_subscriptions == 1
    if how in ("end", "fail"):
        events.queue.put_nowait(how)
        assert [result async for result in stream] == [] or how == "fail"
    elif how == "cancelled":
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
    else:
        await stream.aclose()
    assert schema.open_subscriptions == 0


async def test_nothing_else_is_counted_as_a_subscription() -> None:
    schema = create_schema()
    for text in (TYPENAME, "subscription { nonsense }", "subscription {"):
        stream: Any = await schema.stream(text)
        async for _ in stream:
            assert schema.open_subscriptions == 0
    assert schema.open_subscriptions == 0
