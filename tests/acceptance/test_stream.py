"""Every reader gets every token exactly once, whenever it comes and however often it leaves."""

import asyncio
import random

import pytest

from agent.stand_in.answers import Answer, Text, Thinking, ToolUse
from tests.client import Client, GraphQLFailed, Reading
from tests.conftest import ConnectClient, until
from tests.model import ScriptedModel, say

#: Words of every width: one to four bytes in UTF-8, one or two code units in UTF-16, joined and combining ones.
WORDS = ["plain ", "naïve ", "日本語", "👍🏽 ", "👩‍👩‍👧 ", "é ", "\n\n", "**bold** ", "𝔘𝔫𝔦 ", "שלום "]


def long_text(seed: int, count: int) -> tuple[str, ...]:
    choose = random.Random(seed)
    return tuple(choose.choice(WORDS) for _ in range(count))


async def test_fifty_disconnects_and_resumes_at_random_cursors_lose_and_double_nothing(
    ann: Client, model: ScriptedModel
) -> None:
    tokens = long_text(1, 2000)
    model.script(Answer([Text("".join(tokens), tokens=tokens)], tokens_per_second=200))
    choose = random.Random(2)
    sent = await ann.send("Write a long text.")
    reading = Reading()
    cuts = 0
    while reading.finished is None:
        leave_after = choose.randint(1, 6) if cuts < 50 else 10**9
        stream = ann.stream(sent.reply, reading.cursor)
        async for event in stream:
            reading.take(event)
            leave_after -= 1
            if leave_after == 0:
                cuts += 1
                break
        await stream.aclose()
        # Now and then an earlier cursor: what comes again says where it goes.
        if reading.finished is None and choose.random() < 0.3:
            reading.cursor = choose.choice(reading.events)["cursor"]
    assert cuts == 50
    assert reading.text == "".join(tokens)
    assert (await ann.message(sent.reply))["text"] == "".join(tokens)


async def test_each_event_comes_once_and_in_order_to_one_who_stays(ann: Client, model: ScriptedModel) -> None:
    tokens = long_text(3, 200)
    model.script(Answer([Text("".join(tokens), tokens=tokens)], tokens_per_second=400))
    sent = await ann.send("Write.")
    reading = await ann.read(sent.reply)
    deltas = [event for event in reading.events if event["__typename"] == "TextDelta"]
    length = 0
    for delta in deltas:
        assert delta["offset"] == length
        length += len(delta["text"].encode("utf-16-le")) // 2
    assert "".join(delta["text"] for delta in deltas) == "".join(tokens)
    assert len({event["cursor"] for event in reading.events}) == len(reading.events)


async def test_any_number_of_readers_join_at_any_time_and_read_the_same(ann: Client, model: ScriptedModel) -> None:
    tokens = long_text(4, 400)
    model.script(Answer([Text("".join(tokens), tokens=tokens)], tokens_per_second=400))
    sent = await ann.send("Write.")

    async def join_after(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return (await ann.read(sent.reply)).text

    texts = await asyncio.gather(*(join_after(seconds / 20) for seconds in range(0, 40, 2)))
    assert set(texts) == {"".join(tokens)}


async def test_query_then_subscribe_has_no_gap_and_no_double(ann: Client, model: ScriptedModel) -> None:
    tokens = long_text(5, 600)
    model.script(Answer([Thinking("Hm. 👍"), Text("".join(tokens), tokens=tokens)], tokens_per_second=400))
    sent = await ann.send("Write.")
    for _ in range(8):
        await asyncio.sleep(0.15)
        seen = await ann.message(sent.reply)
        assert "".join(part.get("text", "") for part in seen["parts"]) == seen["text"]
        rest = ""
        async for event in ann.stream(sent.reply, seen["cursor"]):
            rest += event.get("text", "") if event["__typename"] == "TextDelta" else ""
        assert seen["text"] + rest == "".join(tokens)


async def test_a_finished_reply_replays_the_events_that_were_read_live(ann: Client, model: ScriptedModel) -> None:
    model.script(
        Answer([Thinking("I look."), Text("Let me see. "), ToolUse("tasks", {}), ToolUse("addTask", {"title": "x"})]),
        say("Done. 👍🏽"),
    )
    sent = await ann.send("Look and add.")
    live = await ann.read(sent.reply)
    await asyncio.sleep(0.05)
    replay = await ann.read(sent.reply)

    def told(reading: Reading) -> list[object]:
        return [
            (event["__typename"], event.get("part"), event.get("toolCall"), event["cursor"])
            for event in reading.events
            if not event["__typename"].endswith("Delta")
        ]

    assert told(replay) == told(live)
    assert replay.text == live.text == "Let me see. Done. 👍🏽"
    for index, event in enumerate(live.events):
        rest = [later["cursor"] async for later in ann.stream(sent.reply, event["cursor"])]
        assert rest[-1:] == ([live.events[-1]["cursor"]] if index < len(live.events) - 1 else [])


async def test_a_character_that_is_cut_between_two_tokens_arrives_whole(ann: Client, model: ScriptedModel) -> None:
    halves = ("a\ud83d", "\udc4db", "\ud83d", "c")
    model.script(Answer([Text("".join(halves), tokens=halves)], tokens_per_second=20))
    _, reply = await ann.ask("Cut.")
    assert reply["text"] == "a👍b\ufffdc"


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "W10", "WyJzIl0", "💥", "a" * 5000, "WyJzIiwxLDIsM10"])
async def test_a_malformed_cursor_is_bad_user_input(ann: Client, cursor: str) -> None:
    sent, _ = await ann.ask("Hi.")
    with pytest.raises(GraphQLFailed) as failure:
        async for _ in ann.stream(sent.reply, cursor):
            pass
    assert failure.value.codes == ["BAD_USER_INPUT"]


async def test_a_cursor_of_another_message_is_bad_user_input(ann: Client) -> None:
    first, _ = await ann.ask("Hi.")
    second, _ = await ann.ask("Hi again.")
    foreign = (await ann.read(first.reply)).cursor
    with pytest.raises(GraphQLFailed) as failure:
        async for _ in ann.stream(second.reply, foreign):
            pass
    assert failure.value.codes == ["BAD_USER_INPUT"]


async def test_stopping_keeps_the_text_and_the_model_is_told(ann: Client, model: ScriptedModel) -> None:
    model.script(
        Answer([Text("word " * 2000)], tokens_per_second=100),
        say("I see."),
    )
    sent = await ann.send("Write.")
    read = Reading()
    reader = asyncio.create_task(ann.read(sent.reply, read))
    await until(lambda: read.text.startswith("word word "))
    stopped = (
        await ann.execute(
            "mutation ($id: ID!) { stopMessage(input: {messageId: $id}) { message { status text } } }", id=sent.reply
        )
    )["stopMessage"]["message"]
    assert stopped["status"] == "STOPPED"
    assert stopped["text"].startswith("word word ")
    assert (await reader).text == stopped["text"] == (await ann.message(sent.reply))["text"]
    # Before it has said all, which takes 20 s.
    await until(lambda: model.open_streams == 0, seconds=15)

    await ann.ask("What happened?", conversationId=sent.conversation)
    said = [block["text"] for block in model.requests[-1]["messages"][-1]["content"]]
    assert said[-1] == "What happened?"
    assert "stopped" in said[0]


async def test_a_reader_who_leaves_stops_nothing(ann: Client, model: ScriptedModel) -> None:
    model.script(Answer([Text("word " * 200)], tokens_per_second=200))
    sent = await ann.send("Write.")
    async for event in ann.stream(sent.reply):
        assert event["__typename"] == "TextDelta"
        break
    assert (await ann.finished(sent.reply))["text"] == "word " * 200


async def test_deleting_a_conversation_ends_its_streams_and_its_runs(
    ann: Client, model: ScriptedModel, connect_client: ConnectClient
) -> None:
    model.script(Answer([Text("word " * 5000)], tokens_per_second=100))
    sent = await ann.send("Write.")
    read = Reading()
    reading = asyncio.create_task(ann.read(sent.reply, read))
    await until(lambda: bool(read.events))
    await ann.execute(
        "mutation ($id: ID!) { deleteConversation(input: {id: $id}) { deletedId } }", id=sent.conversation
    )
    # The model would go on for longer.
    assert (await asyncio.wait_for(reading, 30)).finished is None
    await until(lambda: model.open_streams == 0, seconds=15)
