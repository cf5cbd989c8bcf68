"""The commands around serving: what is checked before it, what answers in place of a model, what a container asks."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from agent.anthropic.model import AnthropicModel
from agent.model import Usage
from agent.title import write_title
from tests.acceptance.nodes import free_port
from tests.conftest import RunningServer, until
from tests.model import SECRET

REPOSITORY = Path(__file__).parents[2]


def start(*arguments: str, **environment: str) -> "subprocess.Popen[str]":
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LOQUENT", "ANTHROPIC"))}
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=REPOSITORY,
        env={**clean, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """The exit status of a command, and what it says."""
    command = start(*arguments, **environment)
    output, errors = await asyncio.to_thread(command.communicate, timeout=60)
    return command.returncode, output, errors


async def test_check_names_all_that_serving_lacks() -> None:
    status, _, errors = await run("server", "check", LOQUENT_JWT_SECRET="short")
    assert (status, "LOQUENT_JWT_SECRET: " in errors) == (2, True)
    status, _, errors = await run("server", "check")
    assert status == 2
    assert all(name in errors for name in ("LOQUENT_DATABASE_URL", "LOQUENT_JWT_SECRET", "ANTHROPIC_API_KEY"))
    status, _, errors = await run(
        "server",
        "check",
        LOQUENT_DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing",
        LOQUENT_JWT_SECRET=SECRET,
        ANTHROPIC_API_KEY="key",
    )
    assert (status, errors) == (0, "")


async def test_the_rehearsal_model_answers_at_the_address_it_is_given_until_it_is_ended() -> None:
    port = free_port()
    command = start("server", "rehearse", LOQUENT_PORT=str(port), LOQUENT_REHEARSAL_TOKENS_PER_SECOND="0")
    try:
        assert command.stdout is not None
        assert f"http://127.0.0.1:{port}" in await asyncio.to_thread(command.stdout.readline)
        model = AnthropicModel(api_key="any", base_url=f"http://127.0.0.1:{port}", max_output_tokens=100)
        title = await write_title(model, "rehearsal", "add milk to my list", "I added milk.", Usage())
        assert title
        await model.close()
        taken, _, errors = await run("server", "rehearse", LOQUENT_PORT=str(port))
        assert (taken, len(errors.splitlines())) == (1, 1)
        command.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(command.wait, 30) == 0
    finally:
        command.kill()
        command.communicate()


async def test_a_probe_says_whether_the_server_on_a_port_is_ready(server: RunningServer) -> None:
    async with httpx2.AsyncClient() as http:

        async def is_ready() -> bool:
            return (await http.get(f"{server.url}/readyz")).status_code == 200

        await until(is_ready)
    port = server.url.rpartition(":")[2]
    assert (await run("server.probe", LOQUENT_PORT=port))[0] == 0
    assert (await run("server.probe", "/readyz", LOQUENT_PORT=port))[0] == 0
    assert (await run("server.probe", "/nothing", LOQUENT_PORT=port))[0] == 1
    assert (await run("server.probe", LOQUENT_PORT=str(free_port())))[0] == 1


@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/healthz", "/graphql", "/"])
async def test_a_path_with_a_lines_end_is_none_of_ours(server: RunningServer, path: str) -> None:
    async with httpx2.AsyncClient() as http:
        assert (await http.get(f"{server.url}{path}%0a")).status_code == 404
