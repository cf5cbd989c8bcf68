"""What is our own fault is told to the log alone: the user gets an id to find it by."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from tests.client import SEND, GraphQLFailed
from tests.service.inputs import ADD_TASK, LISTS, UPDATE, Home, home

__all__ = ["home"]

#: In the text of an error of ours, which nobody but the log may see.
PRIVATE = "the password is hunter2"
#: Functions, and an operation of Ann's that calls each.
FAILING: dict[str, Callable[[Home], Awaitable[dict[str, Any]]]] = {
    "persistence.tasks.list_tasks": lambda home: home.send(LISTS["tasks"], {"id": home.task}),
    "persistence.tasks.insert_task": lambda home: home.send(ADD_TASK, home.given(ADD_TASK)),
    "persistence.exchanges.insert_exchange": lambda home: home.send(SEND, home.given(SEND)),
    "persistence.branches.fetch_branches": lambda home: home.send(LISTS["messages"], {"id": home.conversation}),
    "persistence.conversations.update_conversation": lambda home: home.send(UPDATE, home.given(UPDATE)),
    "persistence.messages.find_owned_messages": lambda home: _follow(home),
    "schema.subscription.convert_news": lambda home: _follow(home),
}


async def _follow(home: Home) -> dict[str, Any]:
    """Follow the reply; the errors that its stream ends with."""
    with pytest.raises(GraphQLFailed) as failure:
        await home.ann.read(home.reply)
    return {"errors": failure.value.errors}


@pytest.mark.parametrize("function", FAILING)
@pytest.mark.parametrize("failure", [RuntimeError, KeyError])
async def test_an_error_of_ours_is_masked_and_the_log_has_its_id(
    function: str,
    failure: type[Exception],
    home: Home,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise failure(PRIVATE)

    before = await home.rows()
    monkeypatch.setattr(function, fail)
    answer = await FAILING[function](home)
    assert await home.rows() == before
    [error] = answer["errors"]
    assert error["message"] == "Something went wrong on the server."
    assert error["extensions"].keys() == {"code", "id"}
    assert error["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    _assert_silent(answer, PRIVATE, failure.__name__)
    [record] = [record for record in caplog.records if error["extensions"]["id"] in record.getMessage()]
    assert record.levelname == "ERROR"
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == str(failure(PRIVATE))


async def test_an_error_of_the_database_shows_no_sql(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(session: AsyncSession, *_: Any, **__: Any) -> None:
        await session.execute(text("select private from task where title = :title"), {"title": PRIVATE})

    monkeypatch.setattr("persistence.tasks.list_tasks", fail)
    answer = await home.send("{ tasks { edges { cursor } } }", {})
    assert answer["errors"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    _assert_silent(answer, PRIVATE, "private", "select", "asyncpg", "sqlalche")


def _assert_silent(answer: dict[str, Any], *private: str) -> None:
    shown = json.dumps(answer)
    assert [words for words in (*private, "Traceback", ".py", "persistence") if words in shown] == []


async def test_a_field_that_fails_leaves_the_others_their_data(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError(PRIVATE)

    monkeypatch.setattr("persistence.conversations.find_owned_conversations", fail)
    query = "query ($id: ID!) { conversation(id: $id) { id } viewer { id } }"
    answer = await home.send(query, {"id": home.conversation})
    assert answer["data"] == {"conversation": None, "viewer": {"id": "ann"}}
    assert [error["path"] for error in answer["errors"]] == [["conversation"]]
