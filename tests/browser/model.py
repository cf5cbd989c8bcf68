"""What the model of the browser tests says: scripted answers first, then wishes, else the rehearsal model."""

import re
from collections import deque
from typing import Any

from agent.rehearsal import improvise
from agent.stand_in.answers import Answer, Fault, Refusal, Text, Thinking, ToolUse
from tests.model import last_text

WISH = re.compile(r"Say (\d+) words, (\d+) a second")
#: Tokens a second of whatever names no pace.
PACE = 500.0


class Script:
    """Answers in their order, each once; requests for a title take none of them."""

    def __init__(self) -> None:
        self._answers: deque[Answer | Refusal] = deque()

    def extend(self, answers: list[dict[str, Any]]) -> None:
        self._answers.extend(read_answer(answer) for answer in answers)

    def clear(self) -> None:
        self._answers.clear()

    def respond(self, request: dict[str, Any]) -> Answer | Refusal:
        if self._answers and request.get("tools"):
            return self._answers.popleft()
        if wish := WISH.search(last_text(request)):
            words = tuple(f"word{number} " for number in range(int(wish[1])))
            return Answer([Text("".join(words), tokens=words)], tokens_per_second=float(wish[2]))
        answer = improvise(request)
        return Answer(answer.blocks, tokens_per_second=PACE)


def read_answer(json: dict[str, Any]) -> Answer | Refusal:
    """An answer or a refusal from the JSON that `model.ts` makes."""
    if "refusal" in json:
        return Refusal(**json["refusal"])
    fault = json.get("fault")
    return Answer(
        [_read_block(block) for block in json["blocks"]],
        first_token_delay=json.get("delay", 0.0),
        tokens_per_second=json.get("pace", PACE),
        fault=Fault(**fault) if fault else None,
        stop_reason=json.get("stop_reason"),
    )


def _read_block(block: dict[str, Any]) -> Text | Thinking | ToolUse:
    match block:
        case {"text": text, "tokens": tokens}:
            return Text(text, tokens=tuple(tokens))
        case {"thinking": text}:
            return Thinking(text)
        case {"tool": tool, "parameters": parameters}:
            return ToolUse(tool, parameters)
        case _:
            raise ValueError(f"not a block: {block}")
