"""What the benchmarks report is what was measured, and what they store is what the server would have stored."""

from typing import Any

from benchmarks.chart import draw_chart
from benchmarks.report import write_report, write_table
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.seed import Amount, jump_depths, seed
from persistence.branches import Branch, fetch_branches
from persistence.conversations import list_conversations
from persistence.database import Database
from persistence.pages import Window
from tests.conftest import empty

HUNDRED = SCENARIOS[0]


def record(subject: str = "loquent", scenario: Scenario = HUNDRED, **changes: Any) -> dict[str, Any]:
    figures = {
        "clients": 100,
        "ok": 100,
        "error": "",
        "seconds": 5.0,
        "ideal_seconds": 5.0,
        "tokens": 20_000,
        "requests": 0,
        "lag_p50_ms": 20.0,
        "lag_p99_ms": 41.0,
        "first_token_p99_ms": 7.0,
        "memory_before_kb": 80_000,
        "memory_highest_kb": 85_000,
        "wal_bytes": 0,
        "cpu_us": {"server": 400_000, "postgres": 20_000},
        **changes,
    }
    return {"subject": subject, "scenario": scenario.name, "figures": figures, "machine": {"date": "today"}}


def test_cpu_time_is_reported_for_each_token_the_store_s_apart() -> None:
    table = write_table([record()], HUNDRED)
    assert "| Loquent | 100 | 20.0 | 1.0 |" in table


def test_of_several_runs_the_median_and_the_range_are_reported() -> None:
    runs = [record(cpu_us={"server": cpu}) for cpu in (200_000, 400_000, 900_000)]
    assert "| 20.0 (10.0–45.0) |" in write_table(runs, HUNDRED)


def test_a_subject_that_lost_tokens_is_shown_with_its_error() -> None:
    table = write_table([record("yoga", ok=97, error="connection 3: the reply ended early")], HUNDRED)
    assert "**97 of 100**" in table
    assert "GraphQL Yoga, Node failed: `connection 3: the reply ended early`" in table


def test_a_subject_that_did_not_keep_up_is_called_saturated() -> None:
    assert "100, saturated" in write_table([record(seconds=8.0)], HUNDRED)


def test_a_subject_that_did_not_start_has_a_row_without_figures() -> None:
    broken = {**record("floor"), "figures": {"error": "did not start: no port"}}
    assert "**0 of 100**" in write_table([record(), broken], HUNDRED)


def test_the_report_names_the_machine() -> None:
    assert "- date: today" in write_report([record()])


def test_the_chart_has_a_bar_for_each_subject_that_was_measured() -> None:
    chart = draw_chart([record(), record("floor", cpu_us={"server": 100_000})])
    assert chart.count('class="server"') == 1
    assert chart.count('class="other"') == 1
    assert "20.0 + 1.0" in chart


def test_jumps_of_an_unbranched_conversation_go_far_up() -> None:
    depths = jump_depths(1000)
    assert depths[0] == 0
    assert all(0 <= jump < depth for depth, jump in enumerate(depths) if depth)
    steps, depth = 0, 999
    while depth:
        depth, steps = depths[depth], steps + 1
    assert steps < 20


async def test_seeded_conversations_are_read_as_the_server_s_own(database: Database) -> None:
    await empty(database)
    url = database.engine.url.render_as_string(hide_password=False)
    await seed(url, Amount(conversations=6, messages=180, owners=2))
    async with database.session() as session:
        listed = await list_conversations(session, "user1", Window(10), archived=False, search=None)
        assert listed.rows[0].title == "Conversation number 5"
        branch = Branch(listed.rows[0].id)
        [page] = await fetch_branches(session, "user1", [(branch, Window(5, from_end=True, before=(20,)))])
        assert [message.depth for message in page.rows] == [15, 16, 17, 18, 19]
        assert [message.role for message in page.rows][-1] == "ASSISTANT"
        found = await list_conversations(session, "user1", Window(10), archived=False, search="conversation5")
        assert [conversation.id for conversation in found.rows] == [branch.conversation_id]
    await empty(database)
