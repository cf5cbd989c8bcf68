"""Search: words of titles, questions and replies find a conversation, and no character does harm."""

from typing import Any

import pytest

from persistence.database import Database
from tests.client import Client, GraphQLFailed
from tests.model import ScriptedModel, last_text, say
from tests.service.conversations import DELETE, create, insert_conversations, list_titles, lister, update, walk


@pytest.fixture
async def library(ann: Client, bob: Client, model: ScriptedModel) -> None:
    """Ann's conversations by title: bread, travel and odd; Bob's has the words of all."""
    replies = {
        "How do I bake a sourdough loaf?": "Feed the starter twice a day, then knead gently.",
        "Where should I go in spring?": "Lisbon is lovely; the well-known trams climb, says example.org/trams today.",
        "What's 'it' & that | these ! those : (them) * \\ <-> 👍 smiley?": "Naïve café, 日本語, O'Brien's déjà-vu.",
    }
    model.by(lambda request: say(replies[last_text(request)]))
    for title, question in zip(("Bread", "Travel plans", "Odd"), replies, strict=True):
        await ann.ask(question, conversationId=await create(ann, title))
        await bob.ask(question, conversationId=await create(bob, f"Bob's {title}"))


@pytest.fixture(params=[True, False], ids=["walked", "looked up"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the two ways to search, whatever is cheap."""

    async def is_cheap_to_walk(*_: object) -> bool:
        return bool(request.param)

    monkeypatch.setattr("persistence.conversations.is_cheap_to_walk", is_cheap_to_walk)


WORDS = {
    "bread": ["Bread"],
    "TRAVEL": ["Travel plans"],
    "travel plans": ["Travel plans"],
    "sourdough": ["Bread"],
    "starter": ["Bread"],
    "knead starter": ["Bread"],
    "sourd": ["Bread"],
    "sourdough lo": ["Bread"],
    "sour loaf": [],
    "starter sourdough": [],
    "sourdough or lisbon": ["Travel plans", "Bread"],
    '"starter twice"': ["Bread"],
    '"starter twi"': ["Bread"],
    '"twice starter"': [],
    "lisbon -trams": [],
    "lisbon -bread": ["Travel plans"],
    "naïve": ["Odd"],
    "日本": ["Odd"],
    "o'brien": ["Odd"],
    "smiley 👍": ["Odd"],
    "what's those": ["Odd"],
    "cheese": [],
    "bob": [],
}

COMPOUNDS = {
    "well-known": ["Travel plans"],
    '"the well-known trams"': ["Travel plans"],
    "example.org/trams": ["Travel plans"],
    "lisbon -well-known": [],
    'lisbon -"is lovely"': [],
    'lisbon -"lovely trams"': ["Travel plans"],
}


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("expected", [WORDS, COMPOUNDS], ids=["words", "compounds"])
async def test_search_finds_titles_questions_and_replies_of_ones_own(
    ann: Client, library: None, expected: dict[str, list[str]]
) -> None:
    found: dict[str, Any] = {}
    for question in expected:
        try:
            found[question] = await list_titles(ann, search=question)
        except GraphQLFailed as failure:
            found[question] = failure.codes
    assert found == expected


SIGNS = [*"'\"&|!:*()\\<>-%_@$?", "''", '""', ":*", "a:*", "'a':*", "!a", "a & !b", "a <-> b", "(a", "a)", "\\'"]
OPERATORS = ["or", "or or", "a or", "--", "-a", '-"a b"', '"a b" -"c d"', "-a-b", "a -b-c"]

ODDITIES = [
    "",
    " ",
    "\n\t",
    "a " * 100,
    "x" * 200,
    "@" + "0" * 32,
    "\u202e\u0301",
    "👍",
    "👩‍👩‍👧 :)",
    "$1",
    ":id",
    "{}",
    "%s",
]


@pytest.mark.usefixtures("way")
async def test_no_character_does_harm_in_a_search(ann: Client) -> None:
    await create(ann, "Bread")
    harm: dict[str, Any] = {}
    for question in [*SIGNS, *OPERATORS, *ODDITIES, "'; drop table message; --"]:
        try:
            await list_titles(ann, search=question)
        except GraphQLFailed as failure:
            harm[question] = failure.codes
    assert harm == {}
    assert await list_titles(ann) == ["Bread"]


@pytest.mark.parametrize("question", ["x" * 201, "a\x00b"])
async def test_a_search_that_cannot_be_one_is_bad_user_input(ann: Client, question: str) -> None:
    with pytest.raises(GraphQLFailed) as failure:
        await list_titles(ann, search=question)
    assert failure.value.codes == ["BAD_USER_INPUT"]


@pytest.mark.usefixtures("way")
async def test_search_follows_renaming_archiving_and_deleting(ann: Client) -> None:
    sent, _ = await ann.ask("Tell me of cheese.")
    await update(ann, sent.conversation, title="Bread")
    await update(ann, sent.conversation, title="Wine")
    assert await list_titles(ann, search="bread") == []
    assert await list_titles(ann, search="wine") == ["Wine"]
    await update(ann, sent.conversation, archived=True)
    assert await list_titles(ann, search="cheese") == []
    assert await list_titles(ann, search="cheese", archived=True) == ["Wine"]
    await ann.execute(DELETE, id=sent.conversation)
    for word in ("cheese", "wine"):
        assert await list_titles(ann, search=word, archived=True) == []


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("backwards", [False, True])
async def test_a_walk_over_what_was_found_meets_each_once_and_in_order(
    ann: Client, database: Database, backwards: bool
) -> None:
    expected = await insert_conversations(database, "ann", 30)
    await insert_conversations(database, "bob", 30)
    # Titles are two digits: "1" finds ten of them.
    met = await walk(lister(ann, search="1"), 3, backwards=backwards)
    titles = [conversation["title"] for conversation in met]
    assert sorted(titles) == [str(n) for n in range(10, 20)]
    assert [id for id in expected if id in {conversation["id"] for conversation in met}] == [
        conversation["id"] for conversation in met
    ]
