"""GraphQL over HTTP, by its draft: what is asked how, and what the answer looks like."""

import asyncio
import json
from typing import Any

import httpx2
import pytest

from tests.client import Client
from tests.conftest import ConnectClient, StartServer

JSON = "application/json; charset=utf-8"
RESPONSE_JSON = "application/graphql-response+json; charset=utf-8"
VIEWER = {"query": "{ viewer { id } }"}
ANSWER = {"data": {"viewer": {"id": "ann"}}}


async def post(client: Client, body: Any, accept: str | None = None, **headers: str) -> httpx2.Response:
    content = body if isinstance(body, bytes | str) else json.dumps(body)
    headers = {"Content-Type": "application/json", "Accept": accept or "*/*", **headers}
    return await client.http.post("/graphql", content=content, headers=headers)


def refusal(response: httpx2.Response) -> str:
    """The message of a request error, which has a code and no data."""
    body = response.json()
    assert set(body) == {"errors"}
    [error] = body["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    return str(error["message"])


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/graphql-response+json", RESPONSE_JSON),
        ("application/json", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("application/json;q=0.5, application/graphql-response+json", RESPONSE_JSON),
        ("application/graphql-response+json;q=0.5, application/json", JSON),
        ("application/graphql-response+json; charset=utf-8, application/json; charset=utf-8", RESPONSE_JSON),
        ("text/html, APPLICATION/JSON", JSON),
        ("text/event-stream;q=0.1, application/json", JSON),
        # What urql and Apollo Client send with every query.
        (
            "application/graphql-response+json, application/graphql+json, application/json, text/event-stream, "
            "multipart/mixed",
            RESPONSE_JSON,
        ),
        ("multipart/mixed;deferSpec=20220824,application/graphql-response+json,application/json", RESPONSE_JSON),
    ],
)
async def test_the_answer_has_the_form_that_the_client_likes_best(ann: Client, accept: str, content_type: str) -> None:
    response = await post(ann, VIEWER, accept)
    assert (response.status_code, response.headers["content-type"], response.json()) == (200, content_type, ANSWER)


async def test_without_accept_the_answer_is_json(ann: Client) -> None:
    request = ann.http.build_request("POST", "/graphql", json=VIEWER)
    del request.headers["accept"]
    response = await ann.http.send(request)
    assert (response.status_code, response.headers["content-type"]) == (200, JSON)


@pytest.mark.parametrize("accept", ["text/csv", "image/*", "application/json;q=0", "application/xml, nonsense"])
async def test_a_form_that_there_is_not_is_406(ann: Client, accept: str) -> None:
    response = await post(ann, VIEWER, accept)
    assert response.status_code == 406
    assert "application/json" in refusal(response)


DOCUMENT_FAULTS = {
    "a syntax error": {"query": "{"},
    "an unknown field": {"query": "{ nothing }"},
    "a variable of a wrong type": {
        "query": "query ($n: Int) { tasks(first: $n) { edges { cursor } } }",
        "variables": {"n": "x"},
    },
    "a missing variable": {"query": "query ($id: ID!) { message(id: $id) { id } }"},
}


@pytest.mark.parametrize("body", DOCUMENT_FAULTS.values(), ids=DOCUMENT_FAULTS.keys())
@pytest.mark.parametrize(
    ("accept", "status"), [("application/graphql-response+json", 400), ("*/*", 400), ("application/json", 200)]
)
async def test_a_bad_document_is_400_and_200_for_clients_of_old(
    ann: Client, body: dict[str, Any], accept: str, status: int
) -> None:
    response = await post(ann, body, accept)
    assert response.status_code == status
    refusal(response)


async def test_a_field_that_fails_is_no_request_error(ann: Client) -> None:
    response = await post(ann, {"query": '{ message(id: "x") { id } }'}, "application/graphql-response+json")
    assert response.status_code == 200
    assert response.json()["data"] == {"message": None}


async def test_a_null_for_all_data_is_no_request_error(ann: Client) -> None:
    query = 'mutation { stopMessage(input: {messageId: "x"}) { message { id } } }'
    response = await post(ann, {"query": query}, "application/graphql-response+json")
    assert (response.status_code, response.json()["data"]) == (200, None)


BODIES: dict[str, bytes | str] = {
    "null": "null",
    "a number": "1",
    "a string": '"x"',
    "true": "true",
    "a batch": '[{"query": "{ viewer { id } }"}]',
    "half an object": "{",
    "nothing": "",
    "deep JSON": "[" * 100_000,
    "a number of 100,000 digits": '{"query": ' + "1" * 100_000 + "}",
    "not a number": '{"query": "{ viewer { id } }", "variables": {"a": NaN}}',
    "no UTF-8": b'{"query": "\xff"}',
    "a query that is a number": '{"query": 5}',
    "no query": "{}",
    "an empty query": '{"query": ""}',
    "a query of spaces": '{"query": "  "}',
    "variables in a list": '{"query": "{ viewer { id } }", "variables": []}',
    "a name that is a number": '{"query": "{ viewer { id } }", "operationName": 0}',
    "extensions in a string": '{"query": "{ viewer { id } }", "extensions": "x"}',
    "a name of no operation": '{"query": "{ viewer { id } }", "operationName": "Nothing"}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_a_malformed_body_is_400_in_json(ann: Client, body: bytes | str) -> None:
    response = await post(ann, body)
    assert (response.status_code, response.headers["content-type"]) == (400, JSON)
    refusal(response)


@pytest.mark.parametrize("null", ["variables", "operationName", "extensions"])
async def test_null_is_as_good_as_nothing(ann: Client, null: str) -> None:
    assert (await post(ann, {**VIEWER, null: None})).json() == ANSWER


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
async def test_other_methods_are_405_and_told_which_are_allowed(ann: Client, method: str) -> None:
    response = await ann.http.request(method, "/graphql")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, POST")


@pytest.mark.parametrize(
    "content_type",
    [None, "text/plain", "application/jsonx", "application/x-www-form-urlencoded", "application/json; charset=utf-16"],
)
async def test_another_content_type_is_415(ann: Client, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    response = await ann.http.post("/graphql", content=json.dumps(VIEWER), headers=headers)
    assert response.status_code == 415
    assert "application/json" in refusal(response) or "UTF-8" in refusal(response)


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON; Charset=UTF-8", 'application/json; charset="utf-8"']
)
async def test_json_is_known_however_it_is_written(ann: Client, content_type: str) -> None:
    response = await ann.http.post("/graphql", content=json.dumps(VIEWER), headers={"Content-Type": content_type})
    assert response.json() == ANSWER


async def test_a_body_over_the_limit_is_413_whether_it_says_its_length_or_not(ann: Client) -> None:
    body = json.dumps({**VIEWER, "variables": {"x": "x" * 1024 * 1024}}).encode()
    assert (await post(ann, body)).status_code == 413

    async def chunks() -> Any:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    response = await ann.http.post("/graphql", content=chunks(), headers={"Content-Type": "application/json"})
    assert response.status_code == 413
    assert "1,048,576" in refusal(response)


async def test_a_body_just_within_the_limit_is_read(ann: Client) -> None:
    body = json.dumps({**VIEWER, "variables": {"x": ""}})
    padding = 1024 * 1024 - len(body)
    assert (await post(ann, {**VIEWER, "variables": {"x": "x" * padding}})).status_code == 200


async def test_a_query_may_come_by_get(ann: Client) -> None:
    parameters = {
        "query": "query A($id: ID!) { message(id: $id) { id } } query B { viewer { id } }",
        "variables": '{"id": "x"}',
        "operationName": "B",
        "extensions": "",
    }
    response = await ann.http.get("/graphql", params=parameters)
    assert (response.status_code, response.json()) == (200, ANSWER)


@pytest.mark.parametrize("parameters", [{}, {"query": ""}, {"query": "{ viewer { id } }", "variables": "["}])
async def test_a_malformed_get_is_400(ann: Client, parameters: dict[str, str]) -> None:
    response = await ann.http.get("/graphql", params=parameters)
    assert response.status_code == 400
    refusal(response)


@pytest.mark.parametrize("accept", ["application/json", "application/graphql-response+json", "*/*"])
async def test_a_mutation_by_get_is_405_and_changes_nothing(ann: Client, accept: str) -> None:
    query = 'mutation { addTask(input: {title: "By a link"}) { task { id } } }'
    response = await ann.http.get("/graphql", params={"query": query}, headers={"Accept": accept})
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert "POST" in refusal(response)
    assert (await ann.execute("{ tasks { edges { cursor } } }")) == {"tasks": {"edges": []}}


@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/graphql-response+json", "multipart/mixed"])
async def test_a_subscription_without_a_streaming_accept_is_told_what_to_do(ann: Client, accept: str) -> None:
    query = 'subscription { messageStream(messageId: "x") { cursor } }'
    response = await post(ann, {"query": query}, f"{accept}, application/json")
    assert response.status_code == 400
    assert "text/event-stream" in refusal(response)
    assert "graphql-transport-ws" in refusal(response)


async def test_a_bad_token_is_401_before_anything_else_is_read(ann: Client) -> None:
    headers = {"Authorization": "Bearer nonsense", "Accept": "application/graphql-response+json"}
    for accept in ("application/graphql-response+json", "application/json", "text/event-stream"):
        response = await ann.http.post("/graphql", content="{", headers={**headers, "Accept": accept})
        assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
        assert "data" not in response.json()


async def test_no_answer_is_stored_guessed_at_or_signed_with_a_version(ann: Client) -> None:
    for response in (await post(ann, VIEWER), await post(ann, "{"), await ann.http.get("/metrics")):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert not {"server", "x-powered-by", "via"} & {name.lower() for name in response.headers}


async def test_what_nobody_expected_is_told_in_our_form(
    ann: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: Any) -> None:
        raise RuntimeError("a secret of the server")

    monkeypatch.setattr("server.transport.graphql_http.read_request", fail)
    response = await post(ann, VIEWER)
    assert response.status_code == 500
    assert response.json()["errors"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    assert "secret" not in response.text
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "a secret of the server" in caplog.text


async def test_a_page_of_another_site_may_ask_only_if_it_is_listed(start_server: StartServer, ann: Client) -> None:
    preflight = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    async with (
        start_server(cors_origins=("https://app.example",)) as server,
        httpx2.AsyncClient(base_url=server.url) as http,
    ):
        listed = await http.options("/graphql", headers={"Origin": "https://app.example", **preflight})
        assert listed.headers["access-control-allow-origin"] == "https://app.example"
        assert listed.headers["access-control-allow-headers"]
        for origin in ("https://evil.example", "null", "https://app.example.evil.example"):
            other = await http.options("/graphql", headers={"Origin": origin, **preflight})
            assert "access-control-allow-origin" not in other.headers
    refused = await ann.http.options("/graphql", headers={"Origin": "https://app.example", **preflight})
    assert "access-control-allow-origin" not in refused.headers


async def test_a_client_that_leaves_within_its_request_breaks_nothing(
    ann: Client, caplog: pytest.LogCaptureFixture
) -> None:
    host, port = ann.url.removeprefix("http://").split(":")
    for part in (b"", b'{"query":'):
        _, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /graphql HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ann.token}\r\n"
        writer.write(head.encode() + b"Content-Type: application/json\r\nContent-Length: 500\r\n\r\n" + part)
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()
        await writer.wait_closed()
    assert (await post(ann, VIEWER)).json() == ANSWER
    assert not [record for record in caplog.records if record.exc_info]


BEYOND_LIMITS = {
    "tokens": "{" + " a" * 2000 + "}",
    "depth": "query ($id: ID!) { node(id: $id) {" + "... on Message { parent {" * 20 + "id" + "}}" * 20 + "}}",
    "aliases": "{" + " ".join(f"a{number}: __typename" for number in range(31)) + "}",
    "rootFields": "{" + " __typename" * 21 + "}",
    "directives": "{ __typename" + " @include(if: true)" * 51 + "}",
    "cost": "{ conversations(first: 100) { edges { node { messages(first: 100) { edges { node { id text } } } } } } }",
    "repeats": "{" + " viewer { usage { inputTokens } }" * 18 + "... on Query { viewer {" + " id" * 900 + "} } }",
}


@pytest.mark.parametrize(("limit", "query"), BEYOND_LIMITS.items())
@pytest.mark.parametrize("accept", ["application/json", "application/graphql-response+json", "*/*"])
async def test_a_document_beyond_a_limit_is_400_and_told_which(
    ann: Client, limit: str, query: str, accept: str
) -> None:
    response = await post(ann, {"query": query, "variables": {"id": "x"}}, accept)
    assert response.status_code == 400
    refusal(response)
    assert response.json()["errors"][0]["extensions"]["limit"] == limit


async def test_limits_are_settings(start_server: StartServer, connect_client: ConnectClient) -> None:
    query = {"query": "{ a: viewer { id } }"}
    for setting in ("document_tokens", "document_depth", "document_aliases", "document_cost"):
        async with start_server(**{setting: 0 if setting == "document_aliases" else 1}) as server:
            response = await post(connect_client("ann", url=server.url), query)
        assert setting.removeprefix("document_") == response.json()["errors"][0]["extensions"]["limit"]


async def test_there_is_no_graphiql_and_no_schema_for_the_public(ann: Client) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    assert (await ann.http.get("/graphql", headers=browser)).status_code == 400
    assert (await ann.http.get("/graphiql/")).status_code == 404
    response = await post(ann, {"query": "{ __schema { types { name } } }"})
    assert response.status_code == 400
    assert "Introspection is off" in refusal(response)
