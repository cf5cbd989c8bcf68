"""Development: a PostgreSQL, a model and a token of its own, with nothing to set up."""

import os
import secrets
from contextlib import AsyncExitStack
from pathlib import Path

from pydantic import SecretStr

from agent.rehearsal import REHEARSALS, improvise
from agent.stand_in.server import serve_model
from persistence.database import Database
from persistence.embedded import run_postgres
from server.app import create_app
from server.auth import issue_token
from server.observability.logs import configure_logging
from server.serving import run, run_server
from server.settings import Settings

TOKEN_LIFETIME = 30 * 86400.0
DEVELOPER = "developer"


def develop(settings: Settings) -> int:
    """Serve on this machine until a signal ends it; what the environment does not name is embedded.

    Raises `AddressTaken`, `AlreadyRunning` and `PostgresStartError`.
    """
    configure_logging(settings, development=True)
    if settings.database_url:
        return run(_develop(settings, settings.database_url))
    with run_postgres(settings.data_dir.absolute()) as url:
        return run(_develop(settings, url))


async def _develop(settings: Settings, database_url: str) -> int:
    overrides: dict[str, object] = {
        "database_url": database_url,
        "introspection": True,
        "jwt_longest_life": max(settings.jwt_longest_life, TOKEN_LIFETIME),
    }
    if settings.jwks_url is None and settings.jwt_secret is None:
        overrides["jwt_secret"] = SecretStr(_create_secret(settings))
    if "grace_seconds" not in settings.model_fields_set:
        # Whoever presses Ctrl-C has seen enough; the next start goes on with what was being written.
        overrides["grace_seconds"] = 1.0
    async with AsyncExitStack() as stack:
        model = f"{settings.model} of the Anthropic API"
        if settings.anthropic_api_key is None:
            rehearsal = await stack.enter_async_context(
                serve_model(improvise, tokens_per_second=settings.rehearsal_tokens_per_second)
            )
            overrides |= {
                "anthropic_api_key": SecretStr("rehearsal"),
                "anthropic_base_url": rehearsal.base_url,
                # What wrote a message is shown beside it.
                "model": REHEARSALS[0],
                "models": REHEARSALS,
                "title_model": REHEARSALS[0],
            }
            model = "the rehearsal model, offline (set ANTHROPIC_API_KEY for a real one)"
        settings = settings.model_copy(update=overrides)
        await _migrate(database_url)
        token = _issue_token(settings)
        app = create_app(settings, development_token=token)
        return await run_server(app, settings, on_start=lambda port: _welcome(settings.host, port, token, model))


def _issue_token(settings: Settings) -> str:
    """The developer's token; empty where another server issues tokens."""
    if settings.jwt_secret is None:
        return ""
    return issue_token(
        settings.jwt_secret.get_secret_value(),
        DEVELOPER,
        TOKEN_LIFETIME,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
    )


async def _migrate(url: str) -> None:
    database = Database(url)
    try:
        await database.migrate()
    finally:
        await database.close()


def _welcome(host: str, port: int, token: str, model: str) -> None:
    address = f"http://{host}:{port}"
    print(
        f"\n  Loquent is running. Model: {model}.\n"
        f"\n  Chat page   {address}/"
        f"\n  GraphiQL    {address}/graphql"
        f"\n  Token       {token or 'from where LOQUENT_JWKS_URL is'}"
        + (f"\n              (for «{DEVELOPER}», 30 days)\n" if token else "\n")
        + "\n  Ctrl-C ends it.\n",
        flush=True,
    )


def development_secret(settings: Settings) -> str | None:
    """The secret that development tokens are signed with, once there is one."""
    path = _secret_path(settings)
    return path.read_text().strip() if path.exists() else None


def _create_secret(settings: Settings) -> str:
    """Kept in the data directory, so that a token outlives a restart."""
    if (known := development_secret(settings)) is not None:
        return known
    path = _secret_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:  # noqa: PTH123
        file.write(secret := secrets.token_urlsafe(48))
    return secret


def _secret_path(settings: Settings) -> Path:
    return settings.data_dir / "jwt-secret"
