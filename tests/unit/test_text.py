"""Whatever the model writes and however it is cut, what is kept is whole characters that can be stored."""

from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.draft import Draft
from agent.parts import ReasoningPart, TextPart, join_text
from agent.text import Cleaner, clean, clean_json

#: No deadline: other work on the machine is no failure.
quick = settings(deadline=None)

#: Halves of surrogate pairs in any order, whole pairs, and what is refused.
TROUBLE = ("\ud83d", "\udc4d", "\x00", "\x1e", "👍🏽", "é", "e\u0301", "\ufffd", "a", "\n")
TEXTS = (st.lists(st.sampled_from(TROUBLE)) | st.lists(st.characters())).map("".join)
CLEAN_TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))


@st.composite
def cut_texts(draw: st.DrawFn) -> list[str]:
    """A text in pieces, cut anywhere, some of them empty."""
    text = draw(TEXTS)
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


@quick
@given(cut_texts())
@example(["\ud83d\udc4d"])
@example(["\ud83d", "\udc4d"])
@example(["\ud83d", "", "\ud83d"])
def test_a_text_that_comes_in_pieces_is_cleaned_as_if_it_came_whole(pieces: list[str]) -> None:
    cleaner = Cleaner()
    fed = [cleaner.feed(piece) for piece in pieces]
    assert "".join(fed) + cleaner.flush() == clean("".join(pieces))


@quick
@given(cut_texts())
def test_each_piece_is_fit_for_storage_by_itself(pieces: list[str]) -> None:
    cleaner = Cleaner()
    for piece in [*(cleaner.feed(piece) for piece in pieces), cleaner.flush()]:
        assert "\x00" not in piece
        piece.encode()


@quick
@given(TEXTS)
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@quick
@given(CLEAN_TEXTS)
def test_a_clean_text_stays_as_it_is(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("a\x00b", "a\ufffdb"),
        ("\ud83d\udc4d", "👍"),
        ("\udc4d\ud83d", "\ufffd\ufffd"),
        ("\ud83d\ud83d\udc4d", "\ufffd👍"),
        ("👍\ud83d", "👍\ufffd"),
        ("\x1b[1m\t\x1e\x7f", "\x1b[1m\t\x1e\x7f"),
    ],
)
def test_only_what_cannot_be_stored_is_replaced(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


def json_with(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    numbers = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(-1e9, 1e9)
    return st.recursive(
        numbers | texts,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
        max_leaves=12,
    )


@quick
@given(json_with(TEXTS))
def test_cleaned_json_can_be_written_and_read_again(value: Any) -> None:
    cleaned = clean_json(value)
    assert orjson.loads(orjson.dumps(cleaned)) == cleaned
    assert clean_json(cleaned) == cleaned


@quick
@given(json_with(CLEAN_TEXTS))
def test_clean_json_stays_as_it_is(value: Any) -> None:
    assert clean_json(value) == value


def test_every_text_in_a_json_value_is_cleaned() -> None:
    value = {"a\x00": ["\ud83d\udc4d", {"b": "\ud83d"}, 1, None], "c": "\udc4d"}
    assert clean_json(value) == {"a\ufffd": ["👍", {"b": "\ufffd"}, 1, None], "c": "\ufffd"}


@pytest.mark.parametrize("kind", [TextPart, ReasoningPart])
@quick
@given(cut_texts())
def test_a_reply_has_the_same_text_however_its_tokens_are_cut(
    kind: type[TextPart | ReasoningPart], pieces: list[str]
) -> None:
    # The full stop lets no half of a pair wait at the end.
    whole = "".join(pieces) + "."
    draft = Draft()
    told = [draft.add(kind, piece)[1] for piece in [*pieces, "."]]
    draft.close()
    assert "".join(told) == clean(whole)
    assert draft.parts == [kind(clean(whole))]


def test_what_is_told_of_a_reply_is_what_is_kept_also_where_it_ends_in_half_a_pair() -> None:
    draft = Draft()
    told = [draft.add(TextPart, piece)[1] for piece in ("a", "b\ud83d")]
    assert join_text(draft.parts) == "".join(told)
    draft.close()
    draft.add(TextPart, "c")
    assert [part.text for part in draft.parts if isinstance(part, TextPart)] == ["".join(told), "c"]


def test_half_a_pair_at_the_end_of_a_part_is_not_joined_with_the_next_part() -> None:
    draft = Draft()
    draft.add(TextPart, "a\ud83d")
    draft.close()
    assert draft.add(TextPart, "\udc4db") == (1, "\ufffdb")
