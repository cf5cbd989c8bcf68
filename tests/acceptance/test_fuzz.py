"""Documents and arguments at random break nothing, and show and change nothing of another user's."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from graphql import DocumentNode, GraphQLSchema, OperationDefinitionNode, OperationType, build_schema, print_ast
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from hypothesis_graphql import Mode
from hypothesis_graphql import strategies as documents
from schemathesis import Case, GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.graphql import nodes
from sqlalchemy import text
from sqlmodel import SQLModel
from websockets.sync.client import ClientConnection, connect

from agent.stand_in.answers import Answer, Text, ToolUse
from persistence.database import Database
from tests.client import Client
from tests.conftest import until
from tests.model import ScriptedModel, say

SDL = (Path(__file__).parent.parent.parent / "schema.graphql").read_text()
SCHEMA = build_schema(SDL)
#: Of queries and mutations; the library knows no subscriptions.
FUZZED = schemathesis.graphql.from_file(SDL, config=SchemathesisConfig())
OPERATIONS = [f"{root}.{name}" for root in FUZZED for name in FUZZED[root]]
#: Subscriptions as if they were queries: what may be selected and given is the same.
SUBSCRIPTIONS = GraphQLSchema(
    **(SCHEMA.to_kwargs() | {"query": SCHEMA.subscription_type, "mutation": None, "subscription": None})
)

#: What a client may be told; our own failures are not among them.
KNOWN_CODES = {"BAD_USER_INPUT", "FORBIDDEN", "CONFLICT"}
#: What no answer says: how the server is made, or what else there is to guess.
INDISCREET = ("Traceback", ".py", "asyncpg", "sqlalchemy", "psycopg", "INSERT INTO", "SELECT ", "Did you mean")
#: In every text of Bob's.
CANARY = "canary-7f3a"


def steady(examples: int) -> settings:
    """The same documents each time, as many as these; other work on the machine is no failure.

    What fails is not made smaller: the rows that one try changes would lead the next astray.
    """
    return settings(
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=examples,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


#: The server, which runs beside the strategies, may use it.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")


@dataclass
class Target:
    """The server, as Ann: ids by kind, and cursors, of her own and of Bob's."""

    url: str
    headers: dict[str, str]
    ids: dict[str, list[str]]
    cursors: list[str]
    others_ids: dict[str, list[str]]
    others_cursors: list[str]

    def scalars(self, field: str) -> dict[str, st.SearchStrategy[Any]]:
        """Values of each scalar: mostly something real, and mostly of the kind that the field's name has in it."""
        kinds = [kind for kind in self.ids if kind in field.lower()] or list(self.ids)
        own, others = ([id for kind in kinds for id in ids[kind]] for ids in (self.ids, self.others_ids))
        everyones = [id for ids in (*self.ids.values(), *self.others_ids.values()) for id in ids]
        words = ["x", "a word", CANARY[:6], "👍" * 200, "x" * 201, "x" * 33_000, " ", "\0", "'; --"]
        sizes = [*range(1, 101), 0, -1, 101, 2**31 - 1, -(2**31)]
        return {
            "ID": values(own, own, others, everyones),
            "String": values(self.cursors, self.others_cursors, words, words),
            "Int": st.sampled_from(sizes).map(nodes.Int),
            "DateTime": values(["2026-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59+14:00"]),
        }


@st.composite
def values(draw: st.DrawFn, *pools: list[str]) -> Any:
    """One of a pool; sometimes with a piece of it replaced, and sometimes anything at all."""
    chosen = draw(st.sampled_from(draw(st.sampled_from(pools))))
    match draw(st.integers(0, 7)):
        case 0:
            chosen = draw(st.text(st.characters(exclude_categories=["Cs"])))
        case 1:
            start, end = sorted(draw(st.tuples(*[st.integers(0, len(chosen))] * 2)))
            chosen = chosen[:start] + draw(st.text(max_size=5)) + chosen[end:]
    return nodes.String(chosen)


FURNISH = """
mutation ($text: String!) {
  addTask(input: {title: $text, notes: $text}) { task { id } }
  createConversation(input: {title: $text}) { conversation { id } }
  sendMessage(input: {text: $text, idempotencyKey: "key"}) {
    conversation { id } message { id } reply { id } finishedReply { status }
  }
}
"""
CURSORS = """
{
  tasks { edges { cursor } }
  conversations { edges { cursor node { cursor messages { edges { cursor node { cursor } } } } } }
}
"""


async def furnish(client: Client, model: ScriptedModel, word: str) -> tuple[dict[str, list[str]], list[str]]:
    """Give a user one of everything, all with a word in it, and a tool call that waits: ids by kind, and cursors."""
    calls = [f"toolu_{client.owner}_done", f"toolu_{client.owner}_waits"]
    model.script(
        Answer([Text(word), ToolUse("tasks", {}, id=calls[0])]),
        say(f"Say {word}."),
        Answer([Text(word), ToolUse("deleteTask", {"id": word}, id=calls[1])]),
    )
    made = await client.execute(FURNISH, text=f"The word is {word}.")
    sent = await client.send(f"Delete {word}.")

    async def waits() -> bool:
        return bool((await client.message(sent.reply))["status"] == "AWAITING_APPROVAL")

    await until(waits)
    model.script(say("Yes."))
    exchange = made["sendMessage"]
    ids = {
        "task": [made["addTask"]["task"]["id"]],
        "conversation": [exchange["conversation"]["id"], sent.conversation],
        "message": [exchange["message"]["id"], exchange["reply"]["id"], sent.reply],
        "toolcall": [sent.reply, *calls],
    }
    return ids, find(await client.execute(CURSORS), "cursor")


def find(answer: Any, name: str) -> list[str]:
    """Every value of that name in an answer."""
    if isinstance(answer, list):
        return [value for item in answer for value in find(item, name)]
    if not isinstance(answer, dict):
        return []
    own = [answer[name]] if name in answer else []
    return own + [value for item in answer.values() for value in find(item, name)]


async def rows_of(database: Database, owner: str) -> list[str]:
    """All rows of an owner, as text."""
    rows: list[str] = []
    async with database.connection() as connection:
        for table in SQLModel.metadata.sorted_tables:
            rows += await connection.scalars(text(f"select to_jsonb(t)::text from {table.name} t"))
    return sorted(row for row in rows if f'"owner_id": "{owner}"' in row)


@pytest.fixture
async def target(
    ann: Client, bob: Client, model: ScriptedModel, database: Database, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Target]:
    """What is fuzzed; afterwards Bob's rows are as they were, and nothing was written to the log as our fault."""
    own, others = await furnish(ann, model, "x"), await furnish(bob, model, CANARY)
    before = await rows_of(database, "bob")
    assert len(before) > 5
    yield Target(ann.url, ann.headers, *own, *others)
    assert await rows_of(database, "bob") == before
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


def assert_answers(answer: Any, target: Target) -> None:
    """The answer is one as GraphQL has it; its errors are such as a client may be told, its data has no id of Bob's."""
    assert {"data"} <= answer.keys() or {"errors"} <= answer.keys()
    assert answer.keys() <= {"data", "errors", "extensions"}
    assert isinstance(answer.get("data"), dict | None)
    shown = json.dumps(answer.get("data"))
    assert [id for ids in target.others_ids.values() for id in ids if id in shown] == []
    if "errors" in answer:
        assert_errors(answer["errors"])


def assert_errors(errors: Any) -> None:
    assert isinstance(errors, list)
    assert errors
    for error in errors:
        assert error.keys() <= {"message", "locations", "path", "extensions"}
        assert isinstance(error["message"], str)
        assert error["extensions"]["code"] in KNOWN_CODES
        assert len(error["message"]) < 2000


def assert_discreet(answer: str) -> None:
    """The answer says nothing of Bob's, nor of how the server is made."""
    assert CANARY not in answer
    assert [words for words in INDISCREET if words.lower() in answer.lower()] == []


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_document_at_random_is_answered(operation: str, target: Target) -> None:
    root, name = operation.split(".")
    for scalar, strategy in target.scalars(name).items():
        schemathesis.graphql.scalar(scalar, strategy)
    valid, invalid = (FUZZED[root][name].as_strategy(generation_mode=mode) for mode in GenerationMode)
    assert {"data", "FORBIDDEN"} & await asyncio.to_thread(_fuzz, valid, target, 25)
    assert "BAD_USER_INPUT" in await asyncio.to_thread(_fuzz, invalid | misspelt(valid), target, 20)


@st.composite
def misspelt(draw: st.DrawFn, cases: st.SearchStrategy[Case[Any]]) -> Case[Any]:
    """A document with one letter too many, which its author would like to be told the place of."""
    case = draw(cases)
    assert isinstance(case.body, str)
    place = draw(st.sampled_from([match.end() for match in re.finditer("[A-Za-z]{4,}", case.body)]))
    case.body = case.body[:place] + case.body[place - 1] + case.body[place:]
    return case


def _fuzz(strategy: st.SearchStrategy[Case[Any]], target: Target, examples: int) -> set[str]:
    """Send documents; what came of them: "data", and codes of errors."""
    outcomes: set[str] = set()
    with requests.Session() as session:

        @steady(examples)
        @given(case=strategy)
        def fuzz(case: Case[Any]) -> None:
            note(str(case.body))
            response = case.call(f"{target.url}/graphql", session=session, headers=target.headers)
            assert response.status_code < 500
            assert_discreet(response.content.decode())
            answer = response.json()
            assert_answers(answer, target)
            outcomes.update(find(answer, "code"))
            if any((answer.get("data") or {}).values()):
                outcomes.add("data")

        fuzz()
    return outcomes


def _print_subscription(document: DocumentNode) -> str:
    [operation] = document.definitions
    assert isinstance(operation, OperationDefinitionNode)
    definition = OperationDefinitionNode(
        operation=OperationType.SUBSCRIPTION, selection_set=operation.selection_set, directives=(), name=None
    )
    return print_ast(DocumentNode(definitions=(definition,)))


@pytest.mark.parametrize("name", SUBSCRIPTIONS.query_type.fields if SUBSCRIPTIONS.query_type else ())
async def test_a_subscription_at_random_is_answered_and_the_socket_stays_open(name: str, target: Target) -> None:
    valid, invalid = (
        documents.queries(
            SUBSCRIPTIONS, fields=[name], custom_scalars=target.scalars(name), print_ast=_print_subscription, mode=mode
        )
        for mode in Mode
    )
    told = await asyncio.to_thread(_fuzz_socket, valid, target, 25)
    assert "refusal" in told
    assert told & {"next", "silence"}
    assert "refusal" in await asyncio.to_thread(_fuzz_socket, invalid, target, 10)


def _fuzz_socket(strategy: st.SearchStrategy[str], target: Target, examples: int) -> set[str]:
    """Subscribe over sockets; the kinds of message that came."""
    told: set[str] = set()

    @steady(examples)
    @given(document=strategy)
    def fuzz(document: str) -> None:
        note(document)
        address = target.url.replace("http", "ws", 1) + "/graphql"
        with connect(address, subprotocols=["graphql-transport-ws"]) as socket:  # type: ignore[list-item]
            socket.send(json.dumps({"type": "connection_init", "payload": target.headers}))
            assert json.loads(socket.recv(timeout=5))["type"] == "connection_ack"
            socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": document}}))
            told.update(_listen(socket, target, patience=0.2 if "conversationStream" in document else 5))

    fuzz()
    return told


def _listen(socket: ClientConnection, target: Target, patience: float) -> Iterator[str]:
    """The kind of what comes first, if something does; then the subscription is ended, and the socket still answers."""
    try:
        yield _receive(socket, target, patience)
    except TimeoutError:
        # A conversation may have no news; but whoever must not follow it is told at once.
        assert patience < 1
        yield "silence"
    socket.send(json.dumps({"type": "complete", "id": "1"}))
    socket.send(json.dumps({"type": "ping"}))
    while (kind := _receive(socket, target, patience=5)) != "pong":
        yield kind


def _receive(socket: ClientConnection, target: Target, patience: float) -> str:
    """The kind of the next message; one with errors is a refusal."""
    message = socket.recv(timeout=patience)
    assert isinstance(message, str)
    assert_discreet(message)
    answer = json.loads(message)
    kind: str = answer["type"]
    match kind:
        case "error":
            assert_errors(answer["payload"])
            return "refusal"
        case "next":
            assert_answers(answer["payload"], target)
            return "refusal" if "errors" in answer["payload"] else kind
    assert kind in ("complete", "pong")
    return kind
