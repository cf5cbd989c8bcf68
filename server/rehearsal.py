"""The rehearsal model as a server of its own, which other servers ask in place of the Anthropic API."""

import asyncio

from agent.rehearsal import improvise
from agent.stand_in.server import serve_model
from server.serving import run
from server.settings import Settings


def rehearse(settings: Settings) -> int:
    """Serve the Messages API on the settings' address until a signal ends it. Raises `OSError`."""
    return run(_rehearse(settings))


async def _rehearse(settings: Settings) -> int:
    speed = settings.rehearsal_tokens_per_second
    async with serve_model(improvise, tokens_per_second=speed, host=settings.host, port=settings.port) as model:
        print(f"The rehearsal model answers at {model.base_url}: set ANTHROPIC_BASE_URL to it.", flush=True)
        await asyncio.Event().wait()
    return 0
