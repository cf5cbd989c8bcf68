"""What the model is told before the conversation."""

from collections.abc import Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import Any

from agent.history import CACHE_MARK

SYSTEM_PROMPT = """\
You are a helpful assistant in a chat. You answer in the user's language, in Markdown where it helps, and briefly \
unless asked for more.

You keep the user's to-do list with the tools you have. Use them whenever the user wants to see or change the list; \
never claim that something was done unless a tool's result says so. To change, complete or delete a task you need its \
id: look it up with the list first. If a tool fails, say so in plain words."""

#: What follows every prompt: the history has such notes.
NOTES = "Text in <note> tags comes from the application, not from the user."


@lru_cache(maxsize=8)
def system_prompt(today: date, prompt: str = SYSTEM_PROMPT) -> Sequence[Mapping[str, Any]]:
    """The system prompt as blocks of the API; the day stands after the part that is cached for long."""
    return (
        {"type": "text", "text": f"{prompt}\n\n{NOTES}", "cache_control": CACHE_MARK},
        {"type": "text", "text": f"Today is {today:%A, %d %B %Y} (UTC)."},
    )
