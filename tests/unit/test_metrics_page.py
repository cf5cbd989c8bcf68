"""The figures of several processes as one page."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from prometheus_client import CollectorRegistry, Gauge
from starlette.requests import Request

from persistence.database import Database
from server.observability.metrics_page import MetricsPage, Sibling
from server.observability.node_figures import Queue


class StalledDatabase:
    """Takes connections and answers nothing."""

    @asynccontextmanager
    async def driver(self) -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield


async def test_a_database_that_stalls_hides_no_process(tmp_path: Path) -> None:
    pages = []
    for index in range(2):
        registry = CollectorRegistry()
        Gauge("alive", "Whether it lives.", registry=registry).set(1)
        queue = Queue(cast("Database", StalledDatabase()))
        pages.append(MetricsPage(registry, queue.refresh, Sibling(tmp_path, index)))
        await pages[-1].start()
    try:
        response = await pages[0].respond(Request({"type": "http"}))
    finally:
        for page in pages:
            await page.close()
    text = bytes(response.body).decode()
    assert 'alive{worker="0"} 1.0' in text
    assert 'alive{worker="1"} 1.0' in text
