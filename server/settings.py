"""Settings: the environment, read once and frozen."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, HttpUrl, SecretStr, TypeAdapter, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from agent.mcp.settings import McpServerSettings, read_mcp_servers
from resolvers.inputs import LARGEST_INT


class InvalidSettings(Exception):
    """What is wrong with the environment, a line for each variable."""


class Settings(BaseSettings):
    """Every setting; the environment variable is the name in capitals after `LOQUENT_`, unless an alias says else."""

    model_config = SettingsConfigDict(env_prefix="LOQUENT_", frozen=True, populate_by_name=True)

    database_url: str | None = None
    database_pool: int = Field(default=20, ge=1, le=1000)
    valkey_url: str | None = None
    data_dir: Path = Path(".loquent")
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    #: An open socket that `serve --workers` hands down.
    listen_fd: int | None = None
    jwt_secret: SecretStr | None = None
    jwks_url: str | None = None
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    #: Seconds that a token may still last; one that lasts longer is refused.
    jwt_longest_life: float = Field(default=86_400, gt=0)
    anthropic_api_key: SecretStr | None = Field(default=None, validation_alias="ANTHROPIC_API_KEY")
    anthropic_base_url: str | None = Field(default=None, validation_alias="ANTHROPIC_BASE_URL")
    model: str = "claude-sonnet-5-5"
    #: Which ones users may choose from; `model` is always the first.
    models: Annotated[tuple[str, ...], NoDecode] = ()
    #: What the model is told before the conversation; None for the built-in text.
    system_prompt: str | None = None
    #: By name, the MCP servers whose tools the agent has.
    mcp_servers: Annotated[Mapping[str, McpServerSettings], NoDecode] = Field(default={}, repr=False)
    title_model: str = "claude-haiku-5-5"
    titles: bool = True
    history_messages: int = Field(default=20, ge=1, le=1000)
    max_steps: int = Field(default=8, ge=1, le=100)
    max_output_tokens: int = Field(default=8192, ge=1)
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    introspection: bool = False
    trusted_documents: Path | None = None
    rate_limit: int = Field(default=10, ge=1, le=LARGEST_INT)
    tokens_per_day: int | None = Field(default=None, ge=1, le=LARGEST_INT)
    body_bytes: int = Field(default=1024 * 1024, ge=1024)
    sockets_per_user: int = Field(default=100, ge=1)
    socket_message_bytes: int = Field(default=256 * 1024, ge=1024)
    operations_per_socket: int = Field(default=100, ge=1)
    #: Of one socket.
    operations_per_second: int = Field(default=50, ge=1)
    document_tokens: int = Field(default=2000, ge=1)
    document_depth: int = Field(default=16, ge=1)
    document_aliases: int = Field(default=30, ge=0)
    document_root_fields: int = Field(default=20, ge=1)
    document_directives: int = Field(default=50, ge=0)
    document_cost: int = Field(default=10_000, ge=1)
    runs_per_node: int = Field(default=1000, ge=1)
    max_attempts: int = Field(default=5, ge=1)
    lease_seconds: float = Field(default=10, gt=0.5)
    grace_seconds: float = Field(default=20, ge=0, le=3600)
    rehearsal_tokens_per_second: float = Field(default=40, ge=0)
    #: None for what suits where the log goes.
    log_format: Literal["json", "text"] | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    traces: bool = False
    #: Where the processes of `serve --workers` find each other, and which of them this one is.
    workers_dir: Path | None = None
    worker_index: int | None = None

    @field_validator(
        "jwt_secret",
        "jwt_issuer",
        "jwt_audience",
        "jwks_url",
        "anthropic_api_key",
        "anthropic_base_url",
        "database_url",
        "valkey_url",
        "trusted_documents",
        "tokens_per_day",
        "log_format",
        mode="before",
    )
    @classmethod
    def _empty_is_missing(cls, value: Any) -> Any:
        return value or None

    @field_validator("cors_origins", "models", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(entry.strip() for entry in value.split(",") if entry.strip())

    @field_validator("mcp_servers", mode="before")
    @classmethod
    def _is_json_or_its_file(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        text = value if value.lstrip().startswith("{") else value and _read_file(value)
        return read_mcp_servers(text) if text else {}

    @field_validator("system_prompt")
    @classmethod
    def _is_read_from_a_file(cls, value: str | None) -> str | None:
        if value is not None and value.startswith("@"):
            value = _read_file(value[1:])
        return value and (value.strip() or None)

    @field_validator("jwt_secret")
    @classmethod
    def _is_long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value().encode()) < 32:
            raise ValueError("must have at least 32 bytes")
        if value is not None and "-----BEGIN" in value.get_secret_value():
            raise ValueError("must be a secret, not a key: publish keys as a set, and name it by LOQUENT_JWKS_URL")
        return value

    @field_validator("valkey_url")
    @classmethod
    def _is_known_to_the_client(cls, value: str | None) -> str | None:
        # The client library knows these addresses by their older names.
        return value and re.sub(r"^valkey(s?)://", r"redis\1://", value)

    @field_validator("jwks_url")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None:
            TypeAdapter(HttpUrl).validate_python(value)
        return value

    @field_validator("database_url")
    @classmethod
    def _names_the_driver(cls, value: str | None) -> str | None:
        if value is None:
            return None
        scheme, separator, rest = value.partition("://")
        if not separator or scheme not in ("postgres", "postgresql", "postgresql+asyncpg"):
            raise ValueError("must begin with postgresql://")
        return f"postgresql+asyncpg://{rest}"


def load_settings(**overrides: Any) -> Settings:
    """The settings of this process. Raises `InvalidSettings`, naming each variable and never its value."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        problems = [f"{_variable(str(e['loc'][0]))}: {e['msg']}" for e in error.errors(include_input=False)]
        raise InvalidSettings("\n".join(problems)) from None


def require_for_production(settings: Settings) -> None:
    """Raise `InvalidSettings`, naming all that is missing to serve real users."""
    required = {
        "LOQUENT_DATABASE_URL": (settings.database_url, "where PostgreSQL is"),
        "LOQUENT_JWT_SECRET": (
            settings.jwt_secret or settings.jwks_url,
            "the secret that tokens are signed with (HS256), or LOQUENT_JWKS_URL, where the keys are published",
        ),
        "ANTHROPIC_API_KEY": (settings.anthropic_api_key, "the key of the model"),
    }
    problems = [f"{name} is missing: {meaning}" for name, (value, meaning) in required.items() if value is None]
    if settings.jwt_secret and settings.jwks_url:
        problems.append("LOQUENT_JWT_SECRET and LOQUENT_JWKS_URL are both set: one of them must go")
    if problems:
        raise InvalidSettings("\n".join(problems))


def _read_file(path: str) -> str:
    """The text of a file; raises `ValueError`, as validators do."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the file cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from None


def _variable(field: str) -> str:
    return field if field.isupper() else f"LOQUENT_{field.upper()}"
