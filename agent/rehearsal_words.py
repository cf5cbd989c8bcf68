"""The words of the rehearsal model: what it understands of a to-do list, and its stock of sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias
from zlib import crc32

Verb: TypeAlias = Literal["add", "show", "complete", "reopen", "delete", "rename"]


@dataclass(frozen=True, slots=True)
class Errand:
    """Something to do with the to-do list: `title` as the user put it, `new_title` to rename to."""

    verb: Verb
    title: str = ""
    new_title: str = ""


COURTESY = re.compile(
    r"^(?:(?:hi|hello|hey|ok|okay|so|and|also|now|then|please|(?:can|could|would|will) you"
    r"|i (?:want|would like)(?: you)? to|i'd like(?: you)? to|let's)\b[ ,]*)*"
    r"|[ ,.!?]*(?:please|thanks|thank you)?[ .!?]*$",
    re.IGNORECASE,
)
KIND = r"(?:(?:to-?do|task|shopping|grocery|whole|current) )?"
LIST = rf"(?:(?:my|the|our) )?{KIND}(?:list|tasks?|to-?dos?)"
THE_LIST = rf"(?:(?:my|the|our) {KIND}list|(?:my |the |our )?(?:to-?do list|tasks|to-?dos))"
FROM_LIST = rf"(?: (?:on|in|from|off|of) {LIST})?"
I_HAVE = r"i(?: have|'ve)?(?: just| already)?"
PHRASES: Sequence[tuple[Verb, str]] = (
    ("add", rf"(?:add|put|write) (?P<title>.+?) (?:to|on|onto|in|into) {LIST}"),
    ("add", r"(?:add|create) (?:a )?(?:new )?(?:task|to-?do|reminder)(?: to| for| called|:)? (?P<title>.+)"),
    ("add", r"remind me (?:to|of|about) (?P<title>.+)"),
    ("rename", rf"rename (?P<title>.+?){FROM_LIST} (?:in)?to (?P<new_title>.+)"),
    ("reopen", r"mark (?P<title>.+?) as (?:not (?:yet )?(?:done|finished)|undone|unfinished|open)"),
    ("reopen", rf"(?:reopen|untick|uncheck) (?P<title>.+?){FROM_LIST}"),
    ("complete", r"(?:i am |i'm )?(?:all )?(?:done|finished) with (?P<title>.+)"),
    ("complete", r"(?:mark|set) (?P<title>.+?) (?:as |to )?(?:done|completed?|finished)"),
    ("complete", rf"(?:tick|check|cross) off (?P<title>.+?){FROM_LIST}"),
    ("complete", rf"(?:tick|check|cross) (?P<title>.+?) off(?: {LIST})?"),
    ("complete", rf"complete (?P<title>.+?){FROM_LIST}"),
    ("complete", rf"{I_HAVE} (?:did|done|got) the (?P<title>.+)"),
    ("complete", rf"{I_HAVE} (?:bought|finished|completed|picked up) (?P<title>.+)"),
    ("complete", r"(?!what|which|who|how)(?P<title>.+) (?:is|are) (?:done|finished|completed?)"),
    ("delete", rf"(?:delete|remove|drop|erase) (?P<title>.+?){FROM_LIST}"),
    ("delete", rf"take (?P<title>.+?) (?:off|from) {LIST}"),
    ("show", rf"(?:what|show|list|display|read|which|view|give|tell|do i have)\b.*\b{THE_LIST}\b.*"),
    ("show", rf"{LIST}|what(?:'s| is) left.*|what do i (?:still )?have to do"),
)


def find_errand(said: str) -> Errand | None:
    """What a user's words ask to do with the to-do list, if they do."""
    # The patterns backtrack: on a long text they would hold the loop.
    if len(said) > 500:
        return None
    plain = COURTESY.sub("", " ".join(said.replace("’", "'").split()))
    for verb, phrase in PHRASES:
        match = re.fullmatch(phrase, plain, re.IGNORECASE)
        if match and all(strip_title(title) for title in match.groupdict().values()):
            return Errand(verb, **match.groupdict())
    return None


def split_titles(title: str) -> list[str]:
    """The titles in “milk, bread and eggs”; quoted ones stay whole."""
    quoted = re.findall(r'"([^"]+)"|“([^”]+)”', title)
    parts = ["".join(pair) for pair in quoted] or re.split(r",? and |, | & ", title)
    return [plain for part in parts if (plain := strip_title(part))]


def strip_title(title: str) -> str:
    """A title without its quotes, its article and the word “task”."""
    plain = title.strip(" \"“”'.,:")
    return re.sub(r"^(?:(?:the|a|an|some|my) )?(?:(?:task|item|to-?do) )?(?=\S)", "", plain)


LONGEST_TEXT = 5000
"""Words."""

INTRODUCTION = (
    "I am the rehearsal model: no real model is connected. Set `ANTHROPIC_API_KEY` on the server to talk to one."
)
REMINDER = "*Rehearsal model, no real one is connected: set `ANTHROPIC_API_KEY`.*"

GREETINGS = ("Hello!", "Hello there!", "Good to see you!")
ECHOES = (
    "You wrote “{topic}”. I cannot think about that, but your message and my answer travelled as real ones do.",
    "I read “{topic}”, and that is all I can do with it: read it.",
    "“{topic}” deserves a better answer than I can give.",
)

ABILITIES = """\
- write texts of a given length: “write 400 words about rivers”
- show a table, or some Python code
- think before I speak: “think about the sea”
- remember: “what did I say before?”
- call any tool that I am offered: “call tasks {"first": 3}”"""
LIST_ABILITY = "- keep your **to-do list**: “add milk to my list”, “what is on my list?”, “done with milk”"

CODE = """\
Here is a small Python program:

```python
from collections import Counter


def most_common_words(text: str, count: int = 3) -> list[str]:
    words = text.lower().split()
    return [word for word, _ in Counter(words).most_common(count)]


print(most_common_words("the sea, the sky and the shore"))
```

It prints the words that occur most often."""

TABLE = """\
Here is a table:

| River  | Length in km | Flows into        |
| ------ | -----------: | ----------------- |
| Danube |        2,850 | Black Sea         |
| Rhine  |        1,230 | North Sea         |
| Loire  |        1,006 | Atlantic Ocean    |
| Rhône  |          812 | Mediterranean Sea |"""

OPENINGS = (
    "In most years",
    "At first sight",
    "On closer reading",
    "After a long winter",
    "With a little patience",
    "For the curious",
    "In the old books",
    "On an ordinary morning",
    "Between two meetings",
    "From a distance",
    "In small towns",
    "Without any hurry",
    "Once in a while",
    "As a rule",
    "Against all advice",
    "Late in the evening",
)
CLAIMS = (
    "the story of {topic} begins with someone who asked a plain question",
    "the details matter more than the plan",
    "people who care about {topic} learn to look twice",
    "a quiet observer notices what the experts walk past",
    "a good teacher explains {topic} with a pencil and three examples",
    "the simple answer turns out to be the useful one",
    "the books about {topic} grow shorter as their authors grow older",
    "every rule has a cousin who breaks it",
    "a neighbour will tell you more about {topic} than any brochure",
    "patience does half of the work",
    "the history of {topic} is full of detours",
    "the maps are older than the roads",
    "an hour spent on {topic} is seldom lost",
    "good tools are lent, borrowed and finally kept",
    "the first lesson of {topic} is to begin small",
    "small mistakes teach more than large successes",
    "most opinions about {topic} were formed on a rainy day",
    "nobody remembers who had the idea",
)
ENDINGS = (
    "",
    " and nobody seems to mind",
    ", which is how it should be",
    ", as any gardener could confirm",
    " while the kettle comes to the boil",
    ", and that is only the beginning",
    " as long as the light lasts",
    ", though few would say so aloud",
    " because time is kind to those who wait",
    " until a window opens",
    ", and the rest follows by itself",
    ", and the neighbours nod",
    " even when the numbers disagree",
    ", so it pays to take notes",
)
CLOSINGS = (
    "Indeed.",
    "Enough said.",
    "That is all.",
    "The rest is practice.",
    "There is always more tomorrow.",
    "Here the page comes to rest.",
    "What remains is left to the reader.",
    "With that, the text has reached its end.",
    "Whoever has read this far deserves a short rest.",
    "The last word belongs, as so often, to the reader.",
    "And so the text stops here, exactly as long as asked.",
    "After so many words, one more sentence brings this text to rest.",
)
"""The closing at index n has n + 1 words, so that a text can end at any length."""


def choose(options: Sequence[str], prompt: str) -> str:
    """One of the options, always the same for the same prompt."""
    return options[crc32(prompt.encode()) % len(options)]


def write_text(words: int, topic: str, prompt: str) -> str:
    """A Markdown heading and paragraphs of exactly so many words (1 to 5,000), ordered by the prompt."""
    sentences = list(_write_sentences(max(1, min(words, LONGEST_TEXT)), topic, crc32(prompt.encode())))
    paragraphs = [" ".join(sentences[start : start + 5]) for start in range(0, len(sentences), 5)]
    return "\n\n".join([f"# {topic[:1].upper()}{topic[1:]}", *paragraphs])


def _write_sentences(words: int, topic: str, seed: int) -> Iterator[str]:
    number = seed
    while words > len(CLOSINGS):
        sentence = _compose(number, topic)
        if len(sentence.split()) > words:
            sentence = CLOSINGS[-1]
        yield sentence
        words -= len(sentence.split())
        number += 1
    if words:
        yield CLOSINGS[words - 1]


def _compose(number: int, topic: str) -> str:
    # Steps that share no factor with the lengths: every part comes up before any comes back.
    opening = OPENINGS[number * 5 % len(OPENINGS)]
    claim = CLAIMS[number * 7 % len(CLAIMS)].replace("{topic}", topic)
    ending = ENDINGS[number * 3 % len(ENDINGS)]
    return f"{opening}, {claim}{ending}."
