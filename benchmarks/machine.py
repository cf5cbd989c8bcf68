"""Where and with what it was measured."""

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.subjects import HERE

_PACKAGES = (
    "strawberry-graphql",
    "graphql-core",
    "starlette",
    "uvicorn",
    "uvloop",
    "anthropic",
    "sqlalchemy",
    "asyncpg",
)


def describe_machine() -> dict[str, str]:
    """Lines for the report: name and value."""
    processor = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{processor[1] if processor else platform.machine()}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.release()}",
        "Loquent": _say("git", "describe", "--always", "--dirty", "--abbrev=12"),
        "Python": f"{platform.python_version()}; " + ", ".join(f"{name} {version(name)}" for name in _PACKAGES),
        "Node": _say("node", "--version"),
        "C": _say("cc", "--version").splitlines()[0],
        "command": f"`{shlex.join(['python', '-m', 'benchmarks', *sys.argv[1:]])}`",
    }


def _say(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return "not there"
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    return done.stdout.strip() or "unknown"
