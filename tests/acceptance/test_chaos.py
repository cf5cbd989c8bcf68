"""Failures at random lose nothing and double nothing."""

from pathlib import Path

from tests.acceptance.chaos import run_chaos


async def test_chaos_loses_and_doubles_nothing(tmp_path: Path) -> None:
    report = await run_chaos(tmp_path, seconds=25, seed=1)
    assert report.problems == []
    assert (report.lost, report.doubled) == (0, 0)
    assert report.replies > 10
    assert report.faults.total() > 5
