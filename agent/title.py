"""Naming a conversation after its first exchange."""

from agent.model import Model, ModelRequest, Piece, TextPiece, Usage
from agent.text import clean

TITLE_PROMPT = (
    "You name conversations. Answer with the title only: at most six words, in the language of the conversation, "
    "no quotation marks, no full stop."
)
#: Characters of each side that the model is shown, and that a title may have.
EXCERPT, LONGEST_TITLE = 1000, 80


async def write_title(model: Model, name: str, question: str, answer: str, usage: Usage) -> str | None:
    """A short name, by the model `name`, for a conversation that began so; None where it gave none.

    Raises `ModelError`.
    """
    exchange = f"User: {question[:EXCERPT]}\n\nAssistant: {answer[:EXCERPT]}"
    request = ModelRequest(
        model=name,
        messages=[{"role": "user", "content": [{"type": "text", "text": exchange}]}],
        system=[{"type": "text", "text": TITLE_PROMPT}],
    )
    pieces: list[str] = []

    def write(piece: Piece) -> None:
        if isinstance(piece, TextPiece):
            pieces.append(piece.text)

    async for _ in model.stream(request, usage, write):
        pass
    title = " ".join(clean("".join(pieces)).split()).strip("\"'“”«»„# ")
    return title[:LONGEST_TITLE].rstrip(".") or None
