"""Making the text of others fit: whole characters, none that PostgreSQL refuses; for the log one line."""

REPLACEMENT = "\ufffd"


def clean(text: str) -> str:
    """The text with refused characters and lone surrogates replaced; halves of a pair are put together."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    # PostgreSQL cannot store it.
    return text.replace("\x00", REPLACEMENT)


def on_one_line(text: str, longest: int) -> str:
    """So many characters of a text of others, for the log: with nothing in it that looks like another line."""
    return "".join(character if character.isprintable() else " " for character in text[:longest])


class Cleaner:
    """Cleans a text that comes in pieces: a character may be cut between two of them."""

    __slots__ = ("_half",)

    def __init__(self) -> None:
        self._half = ""

    def feed(self, piece: str) -> str:
        """The whole characters so far; the first half of a surrogate pair waits for the second."""
        piece = self._half + piece
        self._half = ""
        if piece and "\ud800" <= piece[-1] <= "\udbff":
            self._half, piece = piece[-1], piece[:-1]
        return clean(piece)

    def flush(self) -> str:
        """What was still waiting: a replacement character, or nothing."""
        half, self._half = self._half, ""
        return clean(half)


def clean_json(value: object) -> object:
    """A JSON value with every text in it cleaned."""
    match value:
        case str():
            return clean(value)
        case list():
            return [clean_json(item) for item in value]
        case dict():
            return {clean(str(name)): clean_json(item) for name, item in value.items()}
        case _:
            return value
