"""Tasks: added, changed, completed and deleted, by their owner alone."""

from typing import Any

import pytest

from tests.client import Client, GraphQLFailed
from tests.service.conversations import TASK


async def test_a_task_is_added_changed_completed_and_deleted(ann: Client, bob: Client) -> None:
    async def mutate(client: Client, mutation: str, **input: Any) -> dict[str, Any]:
        type = mutation[0].upper() + mutation[1:]
        selection = "deletedId" if mutation == "deleteTask" else TASK
        query = f"mutation ($input: {type}Input!) {{ {mutation}(input: $input) {{ {selection} }} }}"
        payload = (await client.execute(query, input=input))[mutation]
        task: dict[str, Any] = payload.get("task", payload)
        return task

    added = await mutate(ann, "addTask", title="Buy flour", notes="Rye.")
    id = added["id"]
    assert (added["title"], added["notes"], added["done"]) == ("Buy flour", "Rye.", False)

    renamed = await mutate(ann, "updateTask", id=id, title="Buy rye")
    assert (renamed["title"], renamed["notes"]) == ("Buy rye", "Rye.")
    assert renamed["updatedAt"] > added["updatedAt"] and renamed["createdAt"] == added["createdAt"]
    assert (await mutate(ann, "updateTask", id=id, title=None))["title"] == "Buy rye"
    assert (await mutate(ann, "updateTask", id=id, notes=None))["notes"] is None
    assert (await mutate(ann, "completeTask", id=id))["done"] is True
    assert (await mutate(ann, "completeTask", id=id))["done"] is True
    assert (await mutate(ann, "completeTask", id=id, done=False))["done"] is False

    refused: list[tuple[Client, str, dict[str, Any], str]] = [
        (bob, "updateTask", {"id": id, "title": "Bob's"}, "FORBIDDEN"),
        (bob, "completeTask", {"id": id}, "FORBIDDEN"),
        (bob, "deleteTask", {"id": id}, "FORBIDDEN"),
        (ann, "addTask", {"title": " "}, "BAD_USER_INPUT"),
        (ann, "addTask", {"title": "x" * 201}, "BAD_USER_INPUT"),
        (ann, "updateTask", {"id": id, "title": ""}, "BAD_USER_INPUT"),
        (ann, "updateTask", {"id": id, "notes": "x" * 10_001}, "BAD_USER_INPUT"),
    ]
    for client, mutation, input, code in refused:
        with pytest.raises(GraphQLFailed) as failure:
            await mutate(client, mutation, **input)
        assert failure.value.codes == [code]

    assert await mutate(ann, "deleteTask", id=id) == {"deletedId": id}
    with pytest.raises(GraphQLFailed) as failure:
        await mutate(ann, "deleteTask", id=id)
    assert failure.value.codes == ["FORBIDDEN"]
