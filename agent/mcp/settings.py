"""Which MCP servers the agent may use: the `mcpServers` that other programs read too, and what we add to it."""

import os
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

#: No `__` in it and none at its end: that stands between it and the name of a tool.
SERVER_NAME = re.compile(r"(?=.{1,32}$)[a-zA-Z0-9]+(?:[_-][a-zA-Z0-9]+)*")
#: What may stand around a secret within a value, as in `Bearer …`, `--key=…` and in a key of several lines; characters
#: from which on what is between is taken for one.
AROUND, SHORTEST_WORD = re.compile(r"[\s=:&?@]+"), 8
VARIABLE = re.compile(r"\$\{([a-zA-Z_][a-zA-Z0-9_]*)\}")


class InvalidMcpServers(ValueError):
    """What is wrong, by the names of server and key; never a value, which may be a secret."""


class McpServerSettings(BaseModel):
    """One server: a program that is started here, or an address."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, hide_input_in_errors=True)

    type: Literal["stdio", "http", "streamable-http", "streamable_http"] | None = None
    command: str | None = Field(default=None, min_length=1)
    args: tuple[str, ...] = Field(default=(), repr=False)
    #: Added to a few harmless variables of this process; the others are not passed on.
    env: Mapping[str, str] = Field(default={}, repr=False)
    cwd: str | None = None
    url: str | None = Field(default=None, repr=False, pattern="^https?://")
    headers: Mapping[str, str] = Field(default={}, repr=False)
    #: Seconds that one call may take.
    timeout: float = Field(default=30, ge=1, le=600)
    disabled: bool = False
    #: Whether the user is asked before each call, except those of the tools in `auto_approve`.
    approval: bool = True
    auto_approve: frozenset[str] = Field(default=frozenset(), alias="autoApprove")
    #: Of which tools a call that a crash cut off is made again: all or none, or those that are named.
    repeatable: bool | frozenset[str] = False

    @field_validator("args", "env", "url", "headers", "cwd", mode="before")
    @classmethod
    def _fill_in(cls, value: Any) -> Any:
        """`${NAME}` in a value is the variable of the environment, so that a file need have no secrets."""
        match value:
            case str():
                return VARIABLE.sub(_variable, value)
            case list():
                return [cls._fill_in(entry) for entry in value]
            case dict():
                return {name: cls._fill_in(entry) for name, entry in value.items()}
        return value

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> "McpServerSettings":
        if (self.command is None) == (self.url is None):
            raise ValueError("wants either command or url")
        if self.type is not None and (self.type == "stdio") != (self.url is None):
            raise ValueError("type does not go with it")
        return self

    def asks(self, tool: str) -> bool:
        """Whether the user must agree to each call of the tool."""
        return self.approval and tool not in self.auto_approve

    def repeats(self, tool: str) -> bool:
        """Whether a call of the tool may be made twice."""
        return self.repeatable if isinstance(self.repeatable, bool) else tool in self.repeatable

    def redact(self, text: str) -> str:
        """The text without any value that was configured and may be a secret, or a word of one."""
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return text

    @cached_property
    def _secrets(self) -> Sequence[str]:
        values = [*self.env.values(), *self.headers.values(), *self.args, self.url or ""]
        words = [word for value in values for word in AROUND.split(value) if len(word) >= SHORTEST_WORD]
        # The longest first: of one that has another in it, the rest would be left.
        return sorted({*(value for value in values if len(value) >= 4), *words}, key=len, reverse=True)


def read_mcp_servers(text: str) -> dict[str, McpServerSettings]:
    """The servers in `{"mcpServers": {name: …}}`, those that are disabled left out. Raises `InvalidMcpServers`."""
    try:
        read = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise InvalidMcpServers("is no JSON") from None
    if not isinstance(read, dict) or not isinstance(servers := read.get("mcpServers"), dict):
        raise InvalidMcpServers('wants an object {"mcpServers": {…}}')
    found = {name: _read_server(name, server) for name, server in servers.items()}
    return {name: server for name, server in found.items() if not server.disabled}


def _read_server(name: str, server: Any) -> McpServerSettings:
    if not SERVER_NAME.fullmatch(name):
        raise InvalidMcpServers("a server's name has up to 32 letters and digits, with single - and _ between them")
    try:
        return McpServerSettings.model_validate(server)
    except ValidationError as error:
        problems = [_describe(name, problem) for problem in error.errors(include_input=False, include_url=False)]
        raise InvalidMcpServers("; ".join(problems)) from None


def _describe(name: str, problem: Any) -> str:
    where = ".".join([name, *(str(step) for step in problem["loc"] if isinstance(step, str))])
    return f"{where}: {problem['msg'].removeprefix('Value error, ')}"


def _variable(match: re.Match[str]) -> str:
    value = os.environ.get(match[1])
    if value is None:
        raise ValueError(f"the environment has no {match[1]}")
    return value
