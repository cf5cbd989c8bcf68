"""Which of the forms that an answer can take a client likes best (RFC 9110, section 12.5.1)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

#: Characters of a header that are read; no client needs them.
LONGEST_HEADER = 4096

# What stands between commas, or semicolons, that are in no quotes; written so that nothing is tried twice.
_ENTRIES = re.compile(r'(?:[^,"]++|"[^"]*+"?+)++')
_PARTS = re.compile(r'(?:[^;"]++|"[^"]*+"?+)++')


class Form(Enum):
    """A form of answer."""

    #: https://graphql.github.io/graphql-over-http/draft/#sec-application-graphql-response-json
    RESPONSE_JSON = auto()
    #: JSON for who asks for `application/json`: such clients expect 200 for every request that could be read.
    LEGACY_JSON = auto()
    #: JSON for who takes anything.
    ANY_JSON = auto()
    #: Server-sent events: https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md
    EVENTS = auto()
    #: https://www.apollographql.com/docs/graphos/routing/operations/subscriptions/multipart-protocol
    MULTIPART = auto()

    @property
    def is_stream(self) -> bool:
        return self in (Form.EVENTS, Form.MULTIPART)


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One entry of an Accept header."""

    type: str
    parameters: Mapping[str, str]
    quality: float


def rank_forms(accept: str | None) -> list[Form]:
    """The forms that a client accepts, best first; of equals the one that it named first."""
    if not accept or not accept.strip() or len(accept) > LONGEST_HEADER:
        return [Form.ANY_JSON]
    forms: dict[Form, float] = {}
    for media_range in parse_accept(accept):
        form = _form_of(media_range)
        # A wildcard says nothing of a form that has an entry of its own.
        if form is not None and form not in forms:
            forms[form] = media_range.quality
    accepted = [form for form, quality in forms.items() if quality > 0]
    return sorted(accepted, key=lambda form: -forms[form])


def prefers_page(accept: str | None) -> bool:
    """Whether this is a browser that wants a page rather than an answer in JSON."""
    ranges = sorted(parse_accept((accept or "")[:LONGEST_HEADER]), key=lambda media_range: -media_range.quality)
    wanted = [media_range.type for media_range in ranges if media_range.quality > 0]
    return bool(wanted) and wanted[0] in ("text/html", "application/xhtml+xml")


def parse_accept(accept: str) -> list[MediaRange]:
    """The entries of the header in their order; what cannot be read is left out."""
    return [parsed for entry in _ENTRIES.findall(accept) if (parsed := _parse_range(entry))]


def parse_parameters(entry: str) -> tuple[str, dict[str, str]]:
    """A media type and its parameters, names in lower case and values without quotes."""
    type, *rest = _PARTS.findall(entry[:LONGEST_HEADER]) or [""]
    pairs = [part.partition("=") for part in rest]
    return type.strip().lower(), {name.strip().lower(): value.strip().strip("\"'") for name, _, value in pairs}


def _parse_range(entry: str) -> MediaRange | None:
    type, parameters = parse_parameters(entry)
    if "/" not in type:
        return None
    try:
        quality = float(parameters.pop("q", "1"))
    except ValueError:
        return None
    return MediaRange(type, parameters, quality) if 0 <= quality <= 1 else None


def _form_of(media_range: MediaRange) -> Form | None:
    match media_range.type:
        case "application/graphql-response+json":
            return Form.RESPONSE_JSON
        case "application/json":
            return Form.LEGACY_JSON
        case "*/*" | "application/*":
            return Form.ANY_JSON
        case "text/event-stream":
            return Form.EVENTS
        case "multipart/mixed" if media_range.parameters.get("subscriptionspec", "").startswith("1."):
            return Form.MULTIPART
    return None
