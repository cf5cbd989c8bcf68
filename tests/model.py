"""The model that tests script: a stand-in on the wire, so that the real SDK and the real loop run."""

from collections import deque
from typing import Any

from agent.stand_in.answers import Answer, Refusal, Respond, Text
from agent.stand_in.server import ModelServer

SECRET = "a secret that only the tests know, long enough for HS256"


def say(text: str, **more: Any) -> Answer:
    """An answer of one text."""
    return Answer([Text(text)], **more)


def last_text(request: dict[str, Any]) -> str:
    """What the user said last."""
    content = request["messages"][-1]["content"]
    return content if isinstance(content, str) else str(content[-1].get("text", ""))


class ScriptedModel:
    """Answers by a script: a function of the request, or answers in their order, the last one for ever."""

    def __init__(self) -> None:
        self.server: ModelServer | None = None
        self._respond: Respond = lambda request: say("Hello.")
        self._first_request = 0

    def respond(self, request: dict[str, Any]) -> Answer | Refusal:
        return self._respond(request)

    def by(self, respond: Respond) -> None:
        """Answer each request by a function of it."""
        self._respond = respond

    def script(self, *answers: Answer | Refusal) -> None:
        """Give these answers in their order; the last one also for every further request."""
        queue = deque(answers)
        self._respond = lambda request: queue.popleft() if len(queue) > 1 else queue[0]

    def reset(self) -> None:
        self._respond = lambda request: say("Hello.")
        if self.server is not None:
            self.server.requests.clear()

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The bodies of the requests of this test."""
        assert self.server is not None
        return list(self.server.requests)

    @property
    def open_streams(self) -> int:
        assert self.server is not None
        return self.server.open_streams
