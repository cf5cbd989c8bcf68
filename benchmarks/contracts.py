"""How each subject is asked: what the load generator sends and reads. `$…` is filled in by `tools/load.c`."""

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Operation:
    """A GraphQL operation and its variables, as JSON."""

    document: str
    variables: str
    #: The key of its answer that the next operation takes as `$ID`.
    key: str = ""


@dataclass(frozen=True)
class Page:
    """A query over HTTP: its body, and how often which text stands in the answer."""

    body: str
    expected: str
    times: int


@dataclass(frozen=True)
class Contract:
    """`send` and `read` over a WebSocket, or a `body` whose answer is an event stream."""

    path: str
    send: Operation | None = None
    read: Operation | None = None
    body: str | None = None
    page: Page | None = None
    #: The payload of `connection_init`, and a header line of queries.
    init: str = "{}"
    header: str = ""


def _query(document: str) -> str:
    return json.dumps({"query": document, "variables": {"first": 20}})


LOQUENT = Contract(
    path="/graphql",
    init='{"Authorization":"Bearer $TOKEN"}',
    header="Authorization: Bearer $TOKEN",
    # The alias: frames carry the operation's own "id" first.
    send=Operation(
        "mutation Send($input: SendMessageInput!) { sendMessage(input: $input) { reply { replyId: id } } }",
        '{"input":{"text":"$PROMPT"}}',
        key="replyId",
    ),
    read=Operation(
        "subscription Read($messageId: ID!) { messageStream(messageId: $messageId) { __typename cursor"
        " ... on TextDelta { text } ... on MessageFinished { message { id status } } } }",
        '{"messageId":"$ID"}',
    ),
    page=Page(
        _query(
            "query List($first: Int!) { conversations(first: $first)"
            " { edges { node { id title createdAt updatedAt archivedAt cursor } } } }"
        ),
        "createdAt",
        20,
    ),
)

#: What the rivals with GraphQL and the floor speak.
RIVAL = Contract(
    path="/graphql",
    send=Operation(
        "mutation Send($input: SendMessageInput!) { sendMessage(input: $input) { runId messageId } }",
        '{"input":{"conversationId":"$I","text":"$PROMPT"}}',
        key="runId",
    ),
    read=Operation(
        "subscription Read($runId: ID!) { runEvents(runId: $runId) { __typename"
        " ... on TextDelta { messageId offset text } ... on RunFinished { messageId stopReason outputTokens } } }",
        '{"runId":"$ID"}',
    ),
    page=Page(
        _query(
            "query List($first: Int!) { conversations(first: $first)"
            " { id title model createdAt updatedAt messageCount } }"
        ),
        "createdAt",
        20,
    ),
)

EVENT_STREAM = Contract(path="/chat", body='{"text":"$PROMPT"}')
