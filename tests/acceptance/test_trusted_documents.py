"""With a manifest, only its documents run, by id, on every transport."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from graphql import build_schema, parse, validate

from server.cli import main
from server.pages import PAGE_DOCUMENTS
from server.transport.trusted_documents import InvalidManifest, load_manifest
from tests.client import STREAM, Client
from tests.conftest import ConnectClient, StartServer
from tests.model import ScriptedModel

VIEWER = "query Viewer { viewer { id } }"
RENAME = 'mutation Rename($id: ID!) { updateConversation(input: {id: $id, title: "x"}) { conversation { title } } }'
IDS = {text: sha256(text.encode()).hexdigest() for text in (VIEWER, RENAME, STREAM)}


@pytest.fixture
async def ann(
    start_server: StartServer, connect_client: ConnectClient, model: ScriptedModel, tmp_path: Path
) -> AsyncIterator[Client]:
    """A client of a server that trusts three documents."""
    manifest = tmp_path / "persisted-documents.json"
    manifest.write_text(json.dumps({id: text for text, id in IDS.items()}))
    async with start_server(trusted_documents=manifest) as server:
        yield connect_client("ann", url=server.url)


async def post(client: Client, body: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = (await client.http.post("/graphql", json=body)).json()
    return answer


@asynccontextmanager
async def operation(client: Client, payload: dict[str, Any]) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    async with client.socket() as socket:
        socket._reader.cancel()
        await socket.send({"id": "1", "type": "subscribe", "payload": payload})

        async def messages() -> AsyncIterator[dict[str, Any]]:
            while True:
                yield json.loads(await socket.connection.recv())

        yield messages()


@pytest.mark.parametrize(
    "asked",
    [
        {"documentId": IDS[VIEWER]},
        {"documentId": f"sha256:{IDS[VIEWER]}"},
        {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": IDS[VIEWER]}}},
        # A text beside the id is not looked at.
        {"documentId": IDS[VIEWER], "query": "{ tasks { edges { cursor } } }"},
    ],
)
async def test_a_trusted_document_runs_by_its_id(ann: Client, asked: dict[str, Any]) -> None:
    answer = {"data": {"viewer": {"id": "ann"}}}
    assert await post(ann, asked) == answer
    parameters = {name: value if isinstance(value, str) else json.dumps(value) for name, value in asked.items()}
    assert (await ann.http.get("/graphql", params=parameters)).json() == answer
    async with operation(ann, asked) as messages:
        assert (await anext(messages))["payload"] == answer


@pytest.mark.parametrize(
    "asked",
    [
        {"query": VIEWER},
        {"query": VIEWER, "extensions": {"persistedQuery": None}},
        {"documentId": "no such id"},
        {"documentId": VIEWER},
        {"extensions": {"persistedQuery": {"sha256Hash": "no such hash"}}},
        {"query": VIEWER, "extensions": {"persistedQuery": {"version": 1, "sha256Hash": sha256(b"x").hexdigest()}}},
        {"query": "{ __schema { types { name } } }"},
    ],
)
async def test_no_other_document_runs_on_any_transport(ann: Client, asked: dict[str, Any]) -> None:
    for accept in ("application/graphql-response+json", "text/event-stream"):
        response = await ann.http.post("/graphql", json=asked, headers={"Accept": accept})
        assert response.status_code == 400
        assert [error["extensions"]["code"] for error in response.json()["errors"]] == ["BAD_USER_INPUT"]
    async with operation(ann, asked) as messages:
        message = await anext(messages)
    assert message["type"] == "error"
    assert [error["extensions"]["code"] for error in message["payload"]] == ["BAD_USER_INPUT"]


async def test_a_trusted_subscription_streams_by_its_id(ann: Client) -> None:
    created = await ann.http.post("/graphql", json={"documentId": IDS[RENAME], "variables": {"id": "x"}})
    assert created.json()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    body = {"documentId": IDS[STREAM], "variables": {"messageId": "x"}}
    response = await ann.http.post("/graphql", json=body, headers={"Accept": "text/event-stream"})
    assert response.status_code == 200
    assert "messageId" in response.text


async def test_without_a_manifest_hashes_are_not_offered(
    start_server: StartServer, connect_client: ConnectClient
) -> None:
    """Clients that would register a document by its hash are told, in their words, to send it in full."""
    async with start_server() as server:
        ann = connect_client("ann", url=server.url)
        asked: dict[str, Any] = {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": IDS[VIEWER]}}}
        [error] = (await post(ann, asked))["errors"]
        assert error["message"] == "PersistedQueryNotSupported"
        assert error["extensions"]["code"] == "PERSISTED_QUERY_NOT_SUPPORTED"
        # Neither does sending both register it.
        assert (await post(ann, {**asked, "query": VIEWER}))["data"]
        assert "errors" in await post(ann, asked)
        [error] = (await post(ann, {"documentId": IDS[VIEWER]}))["errors"]
        assert error["message"].startswith("documentId")


MANIFESTS: dict[str, Any] = {
    "GraphQL Code Generator and Relay": {"a1": VIEWER, "b2": RENAME},
    "Apollo": {
        "format": "apollo-persisted-query-manifest",
        "version": 1,
        "operations": [
            {"id": "a1", "name": "Viewer", "type": "query", "body": VIEWER},
            {"id": "b2", "name": "Rename", "type": "mutation", "body": RENAME},
        ],
    },
}


@pytest.mark.parametrize("manifest", MANIFESTS.values(), ids=MANIFESTS.keys())
def test_manifests_of_the_usual_tools_are_read(tmp_path: Path, manifest: Any) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(manifest))
    assert load_manifest(path) == {"a1": VIEWER, "b2": RENAME}


@pytest.mark.parametrize("content", ["", "[]", "[" * 99, '{"a": 5}', '{"a": "{"}', '{"operations": [{"id": "a"}]}'])
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(content)
    with pytest.raises(InvalidManifest):
        load_manifest(path)


def test_the_server_does_not_start_on_a_missing_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOQUENT_TRUSTED_DOCUMENTS", str(tmp_path / "missing.json"))
    monkeypatch.setenv("LOQUENT_DATABASE_URL", "postgresql://127.0.0.1:1/x")
    monkeypatch.setenv("LOQUENT_JWT_SECRET", "x" * 32)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key")
    assert main(["serve"]) == 2
    assert "LOQUENT_TRUSTED_DOCUMENTS" in capsys.readouterr().err


async def test_the_page_works_beside_a_manifest_that_does_not_know_it(ann: Client) -> None:
    documents = json.loads(PAGE_DOCUMENTS.read_text())
    assert len(documents) > 10
    [viewer] = [id for id, text in documents.items() if text.startswith("query Viewer ")]
    # A text beside the id, as the page sends it for servers that have no manifest.
    answer = await post(ann, {"documentId": viewer, "query": documents[viewer]})
    assert answer == {"data": {"viewer": {"id": "ann"}}}


def test_all_that_the_page_asks_is_valid() -> None:
    contract = build_schema((PAGE_DOCUMENTS.parents[2] / "schema.graphql").read_text())
    for text in load_manifest(PAGE_DOCUMENTS).values():
        assert validate(contract, parse(text)) == []
