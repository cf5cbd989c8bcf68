"""Users with something to send, and what it is to be refused: by the name of the argument, and nothing is stored."""

import json
from collections.abc import Iterable
from typing import Any

import pytest

from persistence.database import Database
from tests.acceptance.owners import User, furnish, over_socket, stored
from tests.acceptance.ways import WAYS, Way, call
from tests.client import SEND, Client, Sent
from tests.model import ScriptedModel

CREATE = "mutation ($input: CreateConversationInput!) { createConversation(input: $input) { conversation { id } } }"
UPDATE = "mutation ($input: UpdateConversationInput!) { updateConversation(input: $input) { conversation { title } } }"
ADD_TASK = "mutation ($input: AddTaskInput!) { addTask(input: $input) { task { id title notes } } }"
UPDATE_TASK = "mutation ($input: UpdateTaskInput!) { updateTask(input: $input) { task { title notes } } }"
RATE = "mutation ($input: RateMessageInput!) { rateMessage(input: $input) { message { rating } } }"
REGENERATE = "mutation ($input: RegenerateMessageInput!) { regenerateMessage(input: $input) { reply { id } } }"
NODE = "query ($id: ID!) { node(id: $id) { id } }"
SPENT = "query ($since: DateTime) { viewer { usage(since: $since) { inputTokens } } }"

PAGE = "(first: $first, after: $after, last: $last, before: $before) { edges { cursor } }"
PAGED = "query ($id: ID!, $first: Int, $after: String, $last: Int, $before: String) { node(id: $id) { id } %s }"
LISTS = {
    "conversations": PAGED % f"conversations{PAGE}",
    "tasks": PAGED % f"tasks{PAGE}",
    "messages": PAGED % f"conversation(id: $id) {{ messages{PAGE} }}",
}
#: Half of a character: with the other half it is a thumb up.
HALF = "\ud83d"
#: Texts that cannot be stored.
HOLES = ["\0", "a\0b", HALF, f"a{HALF}", f"{HALF}b", "\udc4d", "\udc4d\ud83d"]


class Home:
    """Ann's conversation of one exchange, and her task."""

    def __init__(self, ann: Client, database: Database, sent: Sent, task: str) -> None:
        self.ann, self.database = ann, database
        self.conversation, self.question, self.reply = sent.conversation, sent.message, sent.reply
        self.task = task

    async def send(self, document: str, variables: dict[str, Any], **more: Any) -> dict[str, Any]:
        """The whole answer. Goes out in ASCII: half of a character has no other way."""
        body = json.dumps({"query": document, "variables": variables, **more})
        response = await self.ann.http.post("/graphql", content=body, headers={"Content-Type": "application/json"})
        answer: dict[str, Any] = response.json() if response.text.startswith("{") else {"text": response.text}
        return answer

    async def take(self, document: str, *given: dict[str, Any]) -> list[dict[str, Any]]:
        """The data of the operation with each of these variables; fails where it is refused with some."""
        answers = {json.dumps(variables)[:200]: await self.send(document, variables) for variables in given}
        assert {variables: answer for variables, answer in answers.items() if answer.keys() != {"data"}} == {}
        return [answer["data"] for answer in answers.values()]

    async def refuse(self, document: str, naming: str, *given: dict[str, Any]) -> None:
        """Fails unless the operation is refused with each of these variables, by name, and stores nothing."""
        before = await self.rows()
        answers = {json.dumps(variables)[:200]: await self.send(document, variables) for variables in given}
        assert {variables: answer for variables, answer in answers.items() if not names(answer, naming)} == {}
        assert await self.rows() == before

    async def rows(self) -> list[str]:
        """All that is stored, as text."""
        return await stored(self.database)

    async def cursors(self, asked: str) -> list[str]:
        """The cursors of one of the lists."""
        [data] = await self.take(LISTS[asked], {"id": self.conversation})
        found = data["conversation"]["messages"] if asked == "messages" else data[asked]
        return [edge["cursor"] for edge in found["edges"]]

    def given(self, document: str, **more: Any) -> dict[str, Any]:
        """Variables with which a mutation is taken, and `more` in its input."""
        least: dict[str, dict[str, Any]] = {
            SEND: {"text": "Hi.", "conversationId": self.conversation},
            RATE: {"messageId": self.reply, "rating": "UP"},
            REGENERATE: {"messageId": self.reply},
            CREATE: {},
            UPDATE: {"id": self.conversation},
            ADD_TASK: {"title": "Title."},
            UPDATE_TASK: {"id": self.task},
        }
        return {"input": {**least[document], **more}}


def names(answer: dict[str, Any], argument: str) -> bool:
    """Whether an answer is nothing but a refusal, and names the argument."""
    errors = answer.get("errors") or []
    codes = {error["extensions"]["code"] for error in errors}
    return codes == {"BAD_USER_INPUT"} and argument in errors[0]["message"]


@pytest.fixture
async def home(ann: Client, database: Database) -> Home:
    """Ann, with an exchange and a task."""
    sent, _ = await ann.ask("A question.")
    added = await ann.execute(ADD_TASK, input={"title": "A task."})
    return Home(ann, database, sent, added["addTask"]["task"]["id"])


@pytest.fixture
async def alice(ann: Client, model: ScriptedModel) -> User:
    """Ann, with one of everything."""
    return await furnish(ann, model)


async def ask(user: User, way: Way, value: Any) -> dict[str, Any]:
    """What the user is answered who gives this value that way. Goes out in ASCII: half of a character has no other."""
    operation = call(user, way, value)
    if operation.kind == "subscription":
        return await over_socket(user, operation, patience=1) or {}
    body = json.dumps({"query": operation.document, "variables": operation.variables})
    response = await user.client.http.post("/graphql", content=body, headers={"Content-Type": "application/json"})
    answer: dict[str, Any] = response.json()
    return answer


async def assert_refused(user: User, way: Way, values: Iterable[Any], database: Database, *, by_us: bool) -> None:
    """Each value is refused by the name of the argument and stores nothing; `by_us`, in our own words."""
    before = await stored(database)
    taken = {}
    for value in values:
        answer = await ask(user, way, value)
        start = f"{'.'.join(way.path)}: " if by_us else ""
        if not names(answer, way.path[-1]) or not answer["errors"][0]["message"].startswith(start):
            taken[f"{way}: {value!r}"[:100]] = answer
    assert taken == {}
    assert await stored(database) == before


def ways_of(type: str) -> list[Way]:
    """The arguments and input fields of this type."""
    return [way for way in WAYS if way.type == type]
