"""The commands of the process: serve, dev, rehearse, check, migrate, export-owner, delete-owner, token, schema."""

import argparse
import asyncio
import gc
import re
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from server.settings import InvalidSettings, Settings, load_settings

Result = TypeVar("Result")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit status."""
    parser = create_parser()
    chosen = parser.parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = chosen.command
    try:
        return command(chosen)
    except InvalidSettings as error:
        print(f"loquent: the settings are not right:\n{error}", file=sys.stderr)
        return 2


def create_parser() -> argparse.ArgumentParser:
    """The commands with their arguments; `command` of what it reads runs the one that was chosen."""
    parser = argparse.ArgumentParser(prog="loquent", description="A GraphQL server for chat with an AI agent.")
    commands = parser.add_subparsers(title="commands", required=True)

    serve = commands.add_parser("serve", help="serve users; the environment says where the database is")
    serve.add_argument("--workers", type=int, default=1, metavar="N", help="processes on this machine (default 1)")
    serve.set_defaults(command=_serve)

    develop = commands.add_parser("dev", help="serve on this machine with everything embedded")
    develop.set_defaults(command=_develop)

    rehearse = commands.add_parser("rehearse", help="serve the offline model, for servers without a key")
    rehearse.set_defaults(command=_rehearse)

    check = commands.add_parser("check", help="say whether `serve` has the settings that it needs")
    check.set_defaults(command=_check)

    migrate = commands.add_parser("migrate", help="bring the database to the newest version")
    migrate.set_defaults(command=_migrate)

    export = commands.add_parser("export-owner", help="write all that is stored about a user, as lines of JSON")
    export.add_argument("--owner", required=True, type=_name, metavar="ID", help="whose: the `sub` of their tokens")
    export.add_argument("--output", default="-", type=_name, metavar="FILE", help="a new file (default: stdout)")
    export.set_defaults(command=_export_owner)

    delete = commands.add_parser("delete-owner", help="delete all that is stored about a user, for good")
    delete.add_argument("--owner", required=True, type=_name, metavar="ID", help="whose: the `sub` of their tokens")
    delete.add_argument("--yes", action="store_true", help="do not ask")
    delete.set_defaults(command=_delete_owner)

    token = commands.add_parser("token", help="print a bearer token, signed with LOQUENT_JWT_SECRET")
    token.add_argument("--sub", required=True, metavar="NAME", help="whom it speaks for")
    token.add_argument("--ttl", default=3600.0, type=_seconds, help="how long, as 30m, 1h (default) or 7d")
    token.set_defaults(command=_token)

    schema = commands.add_parser("schema", help="print the GraphQL schema")
    schema.set_defaults(command=_schema)
    return parser


def _name(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("must be UTF-8") from None
    return text


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time like 30m, 1h or 7d")
    return int(match[1]) * _UNITS[match[2]]


# The parts of the server are imported by the command that needs them: the others start at once.


def _serve(chosen: argparse.Namespace) -> int:
    alone = chosen.workers <= 1
    if alone:
        # What is loaded stays: to search it for garbage takes a fifth of the start. The server does so once it runs.
        gc.disable()
    from runs.embedded_valkey import ValkeyStartError
    from server.serving import AddressTaken

    try:
        return _serve_alone(load_settings()) if alone else _serve_by_workers(load_settings(), chosen.workers)
    except (AddressTaken, ValkeyStartError) as error:
        return _give_up(error)


def _serve_alone(settings: Settings) -> int:
    from server.app import create_app
    from server.observability.logs import configure_logging
    from server.serving import run, run_server

    configure_logging(settings)
    return run(run_server(create_app(settings), settings))


def _serve_by_workers(settings: Settings, count: int) -> int:
    from server.workers import serve_workers

    return serve_workers(settings, count)


def _develop(_: argparse.Namespace) -> int:
    from persistence.embedded import AlreadyRunning, PostgresStartError
    from server.development import develop
    from server.serving import AddressTaken

    try:
        return develop(load_settings())
    except AlreadyRunning as error:
        print(f"loquent: already running: {error}", file=sys.stderr)
        return 1
    except (AddressTaken, PostgresStartError) as error:
        return _give_up(error)


def _give_up(error: Exception) -> int:
    print(f"loquent: cannot start: {error}", file=sys.stderr)
    return 1


def _rehearse(_: argparse.Namespace) -> int:
    from server.rehearsal import rehearse

    try:
        return rehearse(load_settings())
    except OSError as error:
        return _give_up(error)


def _check(_: argparse.Namespace) -> int:
    from server.settings import require_for_production

    require_for_production(load_settings())
    print("The settings are right.")
    return 0


def _migrate(_: argparse.Namespace) -> int:
    from persistence.database import Database
    from persistence.migrate import TablesBusy
    from server.observability.logs import configure_logging

    async def migrate(settings: Settings) -> bool:
        assert settings.database_url
        database = Database(settings.database_url)
        try:
            await database.migrate()
        finally:
            await database.close()
        return True

    configure_logging(load_settings())
    if _work(migrate, TablesBusy) is None:
        return 1
    print("The database is at the newest version.")
    return 0


def _export_owner(chosen: argparse.Namespace) -> int:
    from server.owners import NotDone, describe, export_owner, open_export

    async def export(settings: Settings) -> dict[str, int]:
        with open_export(chosen.output) as file:
            return await export_owner(settings, chosen.owner, file)

    counts = _work(export, NotDone)
    if counts is None:
        return 1
    print(f"Exported of {chosen.owner!r}: {describe(counts)}.", file=sys.stderr)
    return 0


def _delete_owner(chosen: argparse.Namespace) -> int:
    from server.owners import NotDone, delete_owner, describe

    def confirm(counts: Mapping[str, int]) -> bool:
        if chosen.yes:
            return True
        print(f"This deletes for good what is stored about {chosen.owner!r}: {describe(counts)}.")
        try:
            return bool(input("Type the owner's id to go on: ") == chosen.owner)
        except EOFError:
            return False

    counts = _work(lambda settings: delete_owner(settings, chosen.owner, confirm=confirm), NotDone)
    if counts is None:
        return 1
    print(f"Deleted of {chosen.owner!r}: {describe(counts)}.")
    return 0


def _work(work: Callable[[Settings], Awaitable[Result]], refusal: type[Exception]) -> Result | None:
    """Do what the database alone is needed for; None where that failed, once it is said why."""
    from asyncpg import PostgresError
    from sqlalchemy.exc import DBAPIError

    settings = load_settings()
    if settings.database_url is None:
        raise InvalidSettings("LOQUENT_DATABASE_URL is missing: where PostgreSQL is")

    async def run() -> Result:
        return await work(settings)

    try:
        return asyncio.run(run())
    except (refusal, OSError, PostgresError, DBAPIError) as error:
        print(f"loquent: {getattr(error, 'orig', None) or error}", file=sys.stderr)
        return None


def _token(chosen: argparse.Namespace) -> int:
    from server.auth import issue_token
    from server.development import development_secret

    settings: Settings = load_settings()
    if settings.jwks_url is not None:
        raise InvalidSettings("LOQUENT_JWKS_URL is set: tokens are made by whoever publishes that key set")
    if chosen.ttl > settings.jwt_longest_life:
        raise InvalidSettings(f"--ttl is longer than LOQUENT_JWT_LONGEST_LIFE ({settings.jwt_longest_life:g} seconds)")
    secret = settings.jwt_secret.get_secret_value() if settings.jwt_secret else development_secret(settings)
    if secret is None:
        raise InvalidSettings("LOQUENT_JWT_SECRET is missing: the secret that tokens are signed with (HS256)")
    print(issue_token(secret, chosen.sub, chosen.ttl, issuer=settings.jwt_issuer, audience=settings.jwt_audience))
    return 0


def _schema(_: argparse.Namespace) -> int:
    from schema.root import create_schema

    print(create_schema().as_str())
    return 0
