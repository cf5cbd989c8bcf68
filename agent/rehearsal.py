"""The rehearsal model: what is said when no real model is connected, always the same to the same request.

It chats, writes texts, and keeps the to-do list with the tools it is offered, as a real model would.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, NamedTuple, TypeAlias

import orjson

from agent import rehearsal_words as words
from agent.stand_in.answers import Answer, Text, Thinking, ToolUse

JSON: TypeAlias = dict[str, Any]
Reply: TypeAlias = str | list[ToolUse]
"""Either the final text or the next calls."""


#: Under this name its texts are short, and it says only once who speaks.
BRIEF = "rehearsal-brief"
#: The names that it answers to.
REHEARSALS = ("rehearsal", BRIEF)
#: Words of a short text.
BRIEF_WORDS = 40


def improvise(request: JSON) -> Answer:
    """What the rehearsal model answers to a Messages request: tool calls, or a text that says who speaks."""
    if _wants_title(request):
        return Answer([Text(_name_conversation(request))])
    turn = _read_turn(request)
    if (wanted := _find_call(turn)) is not None:
        reply = _report_call(turn.steps[0]) if turn.steps else [wanted]
    else:
        errand = words.find_errand(turn.said)
        reply = _run_errand(errand, turn) if errand else _chat(turn)
    if not isinstance(reply, str):
        return Answer(reply)
    signature = words.INTRODUCTION if not turn.said_before else "" if turn.is_brief else words.REMINDER
    text = Text(f"{reply}\n\n{signature}".rstrip())
    if topic := _search(r"\bthink (?:hard )?about (.+)", turn.said):
        thought = f"The user asks me to think about {_shorten(topic[1])}. I have no thoughts, only words."
        return Answer([Thinking(thought), text])
    return Answer([text])


# Reading the request


class _Step(NamedTuple):
    """A tool call of this turn with its result; `value` is the result's JSON, or None if it is none."""

    tool: str
    parameters: JSON
    result: str
    failed: bool
    value: Any


@dataclass(frozen=True, slots=True)
class _Turn:
    said: str
    said_before: str | None
    steps: Sequence[_Step]
    tools: frozenset[str]
    is_brief: bool


def _blocks(content: Any) -> list[JSON]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content or [])


def _text(content: Any) -> str:
    texts = [block["text"] for block in _blocks(content) if block.get("type") == "text"]
    return re.sub(r"<note>.*?(?:</note>|$)", "", "\n".join(texts), flags=re.DOTALL).strip()


def _read_turn(request: JSON) -> _Turn:
    """The turn begins with the last message that holds the user's words, and not only results and notes."""
    messages = request["messages"]
    spoken = [
        (index, text)
        for index, message in enumerate(messages)
        if message["role"] == "user" and (text := _text(message["content"]))
    ]
    start, said = spoken[-1] if spoken else (-1, "")
    return _Turn(
        said=said,
        said_before=spoken[-2][1] if len(spoken) > 1 else None,
        steps=list(_read_steps(messages[start + 1 :])),
        tools=frozenset(tool["name"] for tool in request.get("tools") or []),
        is_brief=request.get("model") == BRIEF,
    )


def _read_steps(messages: Sequence[JSON]) -> Iterator[_Step]:
    blocks = [block for message in messages for block in _blocks(message["content"])]
    calls = {block["id"]: block for block in blocks if block["type"] == "tool_use"}
    for block in blocks:
        if block["type"] == "tool_result" and (call := calls.get(block["tool_use_id"])):
            result = "\n".join(part.get("text", "") for part in _blocks(block.get("content")))
            failed = bool(block.get("is_error"))
            yield _Step(call["name"], call["input"], result, failed, _parse(result))


def _parse(result: str) -> Any:
    try:
        return orjson.loads(result)
    except orjson.JSONDecodeError:
        return None


def _shorten(text: str, length: int = 80) -> str:
    line = " ".join(text[: length * 4].split())
    return line if len(line) <= length else f"{line[:length].rstrip()}…"


# Naming a conversation


def _wants_title(request: JSON) -> bool:
    system = _text(request.get("system")).lower()
    return not request.get("tools") and "title" in system and "conversation" in system


def _name_conversation(request: JSON) -> str:
    exchange = next(_text(m["content"]) for m in reversed(request["messages"]) if m["role"] == "user")
    said = exchange.partition("User:")[2] or exchange
    opening = re.split(r"\n\s*\n", said.strip(), maxsplit=1)[0]
    title = " ".join(opening.split()[:6]).strip(" .,;:!?…-–—*_#>\"'“”")
    return f"{title[:1].upper()}{title[1:]}" or "New conversation"


# Chatting


def _search(pattern: str, said: str) -> re.Match[str] | None:
    return re.search(pattern, said, re.IGNORECASE)


def _chat(turn: _Turn) -> str:
    said = turn.said[:500]
    if count := _search(r"(\d[\d,.]{0,8})[ -]words?\b", said):
        return _write_text(int(re.sub(r"\D", "", count[1])), turn, said)
    if _search(r"\b(?:write|tell)\b.*\b(?:long|text|story|essay|article|poem)\b", said):
        return _write_text(600, turn, said)
    if _search(r"\bwhat (?:did|have|was) (?:i|my)\b.*\b(?:say|said|asked?|write|wrote|message)\b", said):
        return _recall(turn)
    if _search(r"\b(?:code|python)\b", said):
        return words.CODE
    if _search(r"\btable\b", said):
        return words.TABLE
    if _search(r"\bwhat (?:can|do) you do\b|\b(?:who|what) are you\b|^help\b", said):
        return f"I can:\n\n{_list_abilities(turn)}"
    if not said or _search(r"^(?:hi|hello|hey|good (?:morning|afternoon|evening))\b", said):
        return f"{words.choose(words.GREETINGS, said)} I can:\n\n{_list_abilities(turn)}"
    return words.choose(words.ECHOES, said).replace("{topic}", _shorten(said))


def _write_text(count: int, turn: _Turn, said: str) -> str:
    return words.write_text(min(count, BRIEF_WORDS) if turn.is_brief else count, _find_topic(said), said)


def _find_topic(said: str) -> str:
    about = _search(r"\b(?:about|on) (.+)", said)
    return " ".join(about[1].split()[:6]).strip(" .,;:!?") if about else "words"


def _recall(turn: _Turn) -> str:
    if turn.said_before is None:
        return "Nothing yet: this is the first thing you said to me here."
    quote = _shorten(turn.said_before, 300)
    return f"Before this you said:\n\n> {quote}"


def _list_abilities(turn: _Turn) -> str:
    return f"{words.LIST_ABILITY}\n{words.ABILITIES}" if "addTask" in turn.tools else words.ABILITIES


# Calling any other tool


def _find_call(turn: _Turn) -> ToolUse | None:
    """The call in “call files__read {"path": "a.txt"}”, where there is such a tool."""
    match = re.fullmatch(r"call (\S{1,128})(?: with)?(?: (\{.{0,5000}\}))?[.!]?", turn.said, re.IGNORECASE | re.DOTALL)
    if match is None or match[1] not in turn.tools:
        return None
    return ToolUse(match[1], {}, raw=match[2] or "{}")


def _report_call(step: _Step) -> str:
    if step.failed and (trouble := _find_trouble(step)):
        return trouble
    told = step.value if isinstance(step.value, str) else step.result
    return f"`{step.tool}` gave back:\n\n```\n{told[:2000]}\n```"


# Keeping the list


CALLS: Mapping[words.Verb, str] = {
    "add": "addTask",
    "show": "tasks",
    "complete": "completeTask",
    "reopen": "completeTask",
    "delete": "deleteTask",
    "rename": "updateTask",
}
LARGEST_PAGE = 100
MOST_PAGES = 10


def _run_errand(errand: words.Errand, turn: _Turn) -> Reply:
    needed = {CALLS[errand.verb]} if errand.verb in ("add", "show") else {CALLS[errand.verb], "tasks"}
    if missing := sorted(needed - turn.tools):
        names = _join(f"`{tool}`" for tool in missing)
        return f"I cannot keep a list without tools, and was not offered {names}."
    if errand.verb == "add":
        return _add(errand, turn.steps)
    if errand.verb == "show":
        return _show(turn)
    return _change(errand, turn.steps)


def _add(errand: words.Errand, steps: Sequence[_Step]) -> Reply:
    if steps:
        return _report(steps, {})
    return [ToolUse("addTask", {"title": title}) for title in words.split_titles(errand.title)]


def _show(turn: _Turn) -> Reply:
    done: JSON = {}
    if _search(r"\b(?:done|finished|completed)\b", turn.said):
        done = {"done": True}
    elif _search(r"\b(?:open|left|undone|unfinished|still)\b", turn.said):
        done = {"done": False}
    if page := _next_page(turn.steps, done):
        return [page]
    if any(_find_trouble(step) for step in turn.steps):
        return _report(turn.steps, {})
    tasks = _read_tasks(turn.steps)
    return f"This is on your list:\n\n{_render(tasks)}" if tasks else "There is nothing on your list."


def _change(errand: words.Errand, steps: Sequence[_Step]) -> Reply:
    looks = [step for step in steps if step.tool == "tasks"]
    changes = [step for step in steps if step.tool != "tasks"]
    if any(_find_trouble(look) for look in looks):
        return _report(looks, {})
    tasks = _read_tasks(looks)
    found, missing = _find_tasks(errand, tasks)
    if missing and not changes and (page := _next_page(looks, {})):
        return [page]
    if found and not changes:
        return [_call(errand, task) for task in found]
    absence = _list_absent(missing, tasks) if missing else ""
    return f"{_report(changes, {task['id']: task['title'] for task in tasks})} {absence}".strip()


def _next_page(looks: Sequence[_Step], parameters: JSON) -> ToolUse | None:
    """The call for the tasks that no earlier call has shown, or None when all were shown, or too many."""
    if not looks:
        return ToolUse("tasks", {"first": LARGEST_PAGE, **parameters})
    pages = [value for value in _objects(looks[-1].value) if value.get("hasNextPage")]
    if not pages or len(looks) == MOST_PAGES:
        return None
    return ToolUse("tasks", {"first": LARGEST_PAGE, **parameters, "after": pages[0].get("endCursor")})


def _call(errand: words.Errand, task: JSON) -> ToolUse:
    parameters: JSON = {"id": task["id"]}
    if errand.verb == "rename":
        parameters["title"] = words.strip_title(errand.new_title)
    elif errand.verb in ("complete", "reopen"):
        parameters["done"] = errand.verb == "complete"
    return ToolUse(CALLS[errand.verb], parameters)


# Finding tasks


def _objects(value: Any) -> Iterator[JSON]:
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting.extend(reversed(value.values()))
        elif isinstance(value, list):
            waiting.extend(reversed(value))


def _read_tasks(steps: Iterable[_Step]) -> list[JSON]:
    """The tasks in the results, wherever they stand in them, oldest first."""
    found = (value for step in steps for value in _objects(step.value) if {"id", "title"} <= value.keys())
    return list({value["id"]: value for value in found}.values())


def _find_tasks(errand: words.Errand, tasks: Sequence[JSON]) -> tuple[list[JSON], list[str]]:
    """The tasks that the user means, and the titles that fit none; a whole title goes before its parts."""
    in_wanted_state = {"complete": True, "reopen": False}.get(errand.verb)
    candidates = [task for task in tasks if task.get("done") is not in_wanted_state]
    whole = words.strip_title(errand.title)
    if task := _find_closest(whole, candidates) or _find_closest(whole, tasks):
        return [task], []
    titles = [whole] if errand.verb == "rename" else words.split_titles(errand.title)
    matches = [(title, _find_closest(title, candidates) or _find_closest(title, tasks)) for title in titles]
    return [task for _, task in matches if task], [title for title, task in matches if not task]


def _find_closest(title: str, tasks: Sequence[JSON]) -> JSON | None:
    closest = max(tasks, key=lambda task: _measure_closeness(title, task["title"]), default=None)
    return closest if closest and _measure_closeness(title, closest["title"]) >= 0.8 else None


def _measure_closeness(title: str, other: str) -> float:
    wanted, known = title[:100].casefold(), other[:100].casefold()
    if wanted == known:
        return 2
    if set(wanted.split()) <= set(known.split()):
        return 1
    return SequenceMatcher(None, wanted, known).ratio()


# Telling the user


def _render(tasks: Sequence[JSON]) -> str:
    return "\n".join(f"- [{'x' if task.get('done') else ' '}] {task['title']}" for task in tasks)


def _list_absent(missing: Sequence[str], tasks: Sequence[JSON]) -> str:
    absent = f"I cannot find {_join(f'**{title}**' for title in missing)} on your list."
    return f"{absent} It holds:\n\n{_render(tasks)}" if tasks else f"{absent} It is empty."


def _report(steps: Sequence[_Step], titles: Mapping[str, str]) -> str:
    return " ".join(filter(None, (_find_trouble(step) or _confirm(step, titles) for step in steps)))


def _confirm(step: _Step, titles: Mapping[str, str]) -> str:
    id = step.parameters.get("id", "")
    task = next(iter(_read_tasks([step])), {"title": step.parameters.get("title") or titles.get(id) or id})
    match step.tool:
        case "addTask":
            return f"I added **{task['title']}** to your list."
        case "completeTask":
            state = "done" if step.parameters.get("done", True) else "open"
            return f"I marked **{task['title']}** as {state}."
        case "updateTask":
            return f"I renamed **{titles.get(id, id)}** to **{task['title']}**."
        case "deleteTask":
            return f"I deleted **{titles.get(id, id)}** from your list."
        case _:
            return ""


def _find_trouble(step: _Step) -> str | None:
    """Why a call did not do its work, as a sentence; None if it did."""
    keys = {key for value in _objects(step.value) for key in value}
    if not step.failed and (_read_tasks([step]) or keys & {"edges", "deletedId"}):
        return None
    if _search(r"\b(?:denied|declined|rejected)\b", step.result):
        return f"The call of `{step.tool}` was denied, so I left everything as it is."
    if _search(r"\binterrupted\b", step.result):
        return f"The call of `{step.tool}` was interrupted, so I cannot tell whether it took effect."
    if step.failed or keys & {"error", "errors"}:
        return f"The call of `{step.tool}` did not work: {_find_reason(step)}."
    return None


def _find_reason(step: _Step) -> str:
    reasons = [value.get(key) for value in _objects(step.value) for key in ("message", "error")]
    reason = next((reason for reason in reasons if isinstance(reason, str)), step.result)
    return _shorten(reason, 200).rstrip(".") or "it gave no reason"


def _join(parts: Iterable[str]) -> str:
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last
