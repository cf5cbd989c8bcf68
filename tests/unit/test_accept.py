"""Which form of answer an Accept header asks for."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.transport.accept import Form, parse_accept, parse_parameters, prefers_page, rank_forms

APOLLO = (
    'multipart/mixed;boundary="graphql";subscriptionSpec=1.0,application/graphql-response+json,application/json;q=0.9'
)
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "forms"),
    [
        (None, [Form.ANY_JSON]),
        ("", [Form.ANY_JSON]),
        ("*/*", [Form.ANY_JSON]),
        ("text/event-stream", [Form.EVENTS]),
        ("text/event-stream, multipart/mixed", [Form.EVENTS]),
        ("multipart/mixed", []),
        ("multipart/mixed;deferSpec=20220824, application/json", [Form.LEGACY_JSON]),
        (APOLLO, [Form.MULTIPART, Form.RESPONSE_JSON, Form.LEGACY_JSON]),
        ("application/json;q=0.1, text/event-stream;q=0.2", [Form.EVENTS, Form.LEGACY_JSON]),
        ("application/json, text/event-stream", [Form.LEGACY_JSON, Form.EVENTS]),
        ("application/json;q=0, text/event-stream;q=0.000", []),
        ("text/event-stream;q=nonsense, application/json;q=2, */*", [Form.ANY_JSON]),
    ],
)
def test_forms_are_ranked_by_quality_and_then_by_their_order(accept: str | None, forms: list[Form]) -> None:
    assert rank_forms(accept) == forms


def test_a_comma_in_quotes_separates_nothing() -> None:
    [media_range] = parse_accept('multipart/mixed; boundary="a,b;c"; subscriptionSpec="1.0"')
    assert media_range.parameters == {"boundary": "a,b;c", "subscriptionspec": "1.0"}


def test_a_browser_wants_a_page_and_a_client_does_not() -> None:
    assert prefers_page(BROWSER)
    assert not prefers_page("*/*")
    assert not prefers_page("application/json, text/html")
    assert not prefers_page(None)


TYPES = st.sampled_from(
    ["application/json", "application/graphql-response+json", "text/event-stream", "text/html", "*/*", "x", "/", ""]
)
ENTRIES = st.builds(lambda type, quality: f"{type};q={quality}", TYPES, st.floats(-1, 2) | st.text(max_size=3))


@given(st.text(max_size=200) | st.lists(ENTRIES, max_size=8).map(",".join))
def test_any_header_gives_forms_and_each_at_most_once(accept: str) -> None:
    forms = rank_forms(accept)
    assert len(forms) == len(set(forms))
    prefers_page(accept)


@given(st.permutations(["application/json", "application/graphql-response+json", "text/event-stream"]))
def test_of_equals_the_first_named_is_the_best(types: list[str]) -> None:
    named = {
        "application/json": Form.LEGACY_JSON,
        "application/graphql-response+json": Form.RESPONSE_JSON,
        "text/event-stream": Form.EVENTS,
    }
    assert rank_forms(", ".join(types)) == [named[type] for type in types]


@pytest.mark.parametrize("piece", ['"', '"a', ",", ";", '";', 'a/b;"', "text/html;q=0.1,", '"a","', 'x="'])
def test_reading_a_header_takes_time_by_its_length_and_no_more(piece: str) -> None:
    header = '"' + piece * (3_000_000 // len(piece))
    began = time.thread_time()
    rank_forms(header)
    prefers_page(header)
    parse_parameters(header)
    parse_accept(header[:300_000])
    assert time.thread_time() - began < 2
