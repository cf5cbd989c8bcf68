"""What is made before the first measurement: the C tools and the Node rival's packages."""

import shutil
import subprocess
from pathlib import Path

from benchmarks.subjects import BUILD, HERE, Subject

_TOOLS = HERE / "tools"
_YOGA = HERE / "rivals" / "yoga"


def build_tool(name: str) -> Path:
    """The program made from `tools/NAME.c`, compiled where the sources are newer."""
    program = BUILD / name
    newest = max(source.stat().st_mtime for source in _TOOLS.iterdir())
    if not program.exists() or program.stat().st_mtime < newest:
        BUILD.mkdir(exist_ok=True)
        command = ["cc", "-O2", "-o", str(program), str(_TOOLS / f"{name}.c")]
        subprocess.run(command, check=True)  # noqa: S603 - our own sources
    return program


def find_missing(subject: Subject) -> str | None:
    """Why this subject cannot be measured here; installs what can be installed."""
    if subject.command[0] == "node":
        return _install_yoga()
    if Path(subject.command[0]).parent == BUILD:
        build_tool(Path(subject.command[0]).name)
    return None


def _install_yoga() -> str | None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "node is not installed"
    mark = _YOGA / "node_modules" / ".package-lock.json"
    if mark.exists() and mark.stat().st_mtime > (_YOGA / "package-lock.json").stat().st_mtime:
        return None
    done = subprocess.run(["npm", "ci", "--silent"], cwd=_YOGA, check=False)  # noqa: S607 - the npm that is there
    return "npm ci failed" if done.returncode else None
