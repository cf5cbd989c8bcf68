"""From records to tables: a record is one measurement, a row the median of a subject's records."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.scenarios import SCENARIOS, Kind, Scenario
from benchmarks.subjects import SUBJECTS

Record = Mapping[str, Any]
Figures = Mapping[str, Any]

HOW = """\
- Subject, model and clients run on one machine over 127.0.0.1. The subject has core 0 for itself; the stand-in for the
  model, the load generator and the stores share core 1.
- The model speaks the Anthropic wire format. Every tenth token carries the time at which it was sent.
- The load generator checks every token of every stream: complete, in order, exactly once. **ok** says how many were.
- **CPU** is the time of the subject's processes by the kernel's clock (nanoseconds, all threads, user and kernel), from
  the first message to the end of the last reply, so it includes sending, subscribing and the call of the model.
- **PostgreSQL** and **Valkey**: the CPU time of the stores' own processes meanwhile, on the other core. PostgreSQL has
  its usual durability (fsync on). The rivals and the floor keep nothing, know no users and check no limits.
- **lag**: when a token reached the client, less when the model sent it. **first token**: from sending the message to
  its arrival, less the model's own time. The floor writes to a reader at most every 40 ms, the rivals for each token.
  **memory**: the highest during the run, less that before the sockets were opened, per stream.
- **saturated**: it took more than 15 % and half a second longer than the model did, or the core was full. Where the
  other core is full too, model and load generator may be what was late.
"""


@dataclass(frozen=True)
class Column:
    """`value` of a record's figures (None where it has none): the median over the runs, and the range if `ranged`."""

    title: str
    value: Callable[[Figures], float | None]
    digits: int = 1
    ranged: bool = False

    def write(self, all_figures: Sequence[Figures]) -> str:
        values = [value for figures in all_figures if (value := self.value(figures)) is not None]
        if not values:
            return "–"
        middle = _number(median(values), self.digits)
        if len(values) == 1 or not self.ranged:
            return middle
        return f"{middle} ({_number(min(values), self.digits)}–{_number(max(values), self.digits)})"


def _number(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}"


def cpu_per(unit: str, process: str, scale: float = 1) -> Callable[[Figures], float | None]:
    """CPU time of a process per unit of work, in microseconds over `scale`."""

    def value(figures: Figures) -> float | None:
        used = figures["cpu_us"].get(process)
        return float(used / figures[unit] / scale) if used is not None and figures[unit] else None

    return value


def figure(name: str) -> Callable[[Figures], float | None]:
    """A figure as the load generator printed it; it prints a negative one where it has none."""
    return lambda figures: float(figures[name]) if figures[name] >= 0 else None


def memory_per_client(figures: Figures) -> float:
    """Kilobytes per connection."""
    return float(figures["memory_highest_kb"] - figures["memory_before_kb"]) / int(figures["clients"])


def load_percent(figures: Figures) -> float:
    """How full the subject's core was."""
    return float(figures["cpu_us"]["server"] / figures["seconds"] / 1e4)


def is_saturated(figures: Figures) -> bool:
    """Whether the subject could not keep up with the model."""
    late = figures["seconds"] > figures["ideal_seconds"] * 1.15 + 0.5
    return late or load_percent(figures) > 95


def wal_per_token(figures: Figures) -> float | None:
    """Bytes that PostgreSQL wrote ahead for each token; None of a subject that keeps nothing."""
    written: int = figures["wal_bytes"]
    return written / figures["tokens"] if written and figures["tokens"] else None


def other_core_percent(figures: Figures) -> float:
    """How full the core of model, load generator and stores was."""
    return float(sum(v for name, v in figures["cpu_us"].items() if name != "server") / figures["seconds"] / 1e4)


def _stores(unit: str, scale: float = 1) -> tuple[Column, Column]:
    return (
        Column("PostgreSQL", cpu_per(unit, "postgres", scale)),
        Column("Valkey", cpu_per(unit, "valkey", scale)),
    )


_LAG = (Column("lag p50 ms", figure("lag_p50_ms")), Column("lag p99 ms", figure("lag_p99_ms")))
COLUMNS: Mapping[Kind, tuple[Column, ...]] = {
    Kind.STREAMS: (
        Column("CPU µs/token", cpu_per("tokens", "server"), ranged=True),
        *_stores("tokens"),
        Column("WAL bytes/token", wal_per_token, 0),
        Column("core %", load_percent, 0),
        Column("other core %", other_core_percent, 0),
        *_LAG,
        Column("first token p99 ms", figure("first_token_p99_ms")),
        Column("memory kB/stream", memory_per_client, 0),
        Column("seconds", figure("seconds")),
    ),
    Kind.STARTS: (
        Column("CPU ms/start", cpu_per("clients", "server", 1000), 2, ranged=True),
        *_stores("clients", 1000),
        Column("first token p50 ms", figure("first_token_p50_ms")),
        Column("first token p99 ms", figure("first_token_p99_ms")),
    ),
    Kind.READERS: (
        Column("CPU µs/token and reader", cpu_per("tokens", "server"), ranged=True),
        *_stores("tokens"),
        Column("core %", load_percent, 0),
        *_LAG,
    ),
    Kind.PAGE: (
        Column("CPU µs/request", cpu_per("requests", "server"), 0, ranged=True),
        *_stores("requests"),
        Column("answer p50 ms", figure("answer_p50_ms")),
        Column("answer p99 ms", figure("answer_p99_ms")),
        Column("requests/s", lambda figures: figures["requests"] / figures["seconds"], 0),
    ),
    Kind.SLOW: (
        Column("memory kB/reader", memory_per_client, 0),
        Column("memory grown MB", lambda figures: (figures["memory_highest_kb"] - figures["memory_before_kb"]) / 1024),
        Column("core %", load_percent, 0),
    ),
    Kind.IDLE: (
        Column("memory kB/socket", memory_per_client),
        Column("CPU ms/s", lambda figures: figures["cpu_us"]["server"] / 1000 / figures["seconds"]),
    ),
}


def read_records(path: Path) -> list[Record]:
    """The records of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def select(records: Iterable[Record], subject: str, scenario: str) -> list[Figures]:
    """The figures of one subject in one scenario, one for each run."""
    return [r["figures"] for r in records if (r["subject"], r["scenario"]) == (subject, scenario)]


def write_table(records: Sequence[Record], scenario: Scenario) -> str:
    """The scenario's table in Markdown; empty where nothing was measured. A store nobody used has no column."""
    rows = [(s.title, select(records, s.name, scenario.name)) for s in SUBJECTS]
    rows = [row for row in rows if row[1]]
    columns = [c for c in COLUMNS[scenario.kind] if any(_write_cell(c, figures) != "–" for _, figures in rows)]
    if not rows:
        return ""
    lines = [f"## {scenario.title}", "", "| subject | ok | " + " | ".join(c.title for c in columns) + " |"]
    lines.append("| --- | --- |" + " ---: |" * len(columns))
    for title, figures in rows:
        lines.append(
            " | ".join([f"| {title}", write_ok(scenario, figures), *(_write_cell(c, figures) for c in columns)]) + " |"
        )
    for title, figures in rows:
        errors = [f["error"] for f in figures if f["error"]]
        lines += ["", f"{title} failed: `{errors[0].strip()[:300].replace('`', ' ')}`"] if errors else []
    return "\n".join(lines) + "\n"


def _write_cell(column: Column, figures: Sequence[Figures]) -> str:
    return column.write([f for f in figures if "cpu_us" in f])


def write_ok(scenario: Scenario, all_figures: Sequence[Figures]) -> str:
    """How many connections got all they should, in the worst run, and whether the subject kept up."""
    worst = min(f.get("ok", 0) for f in all_figures)
    words = [f"{worst:,}" if worst == scenario.clients else f"**{worst:,} of {scenario.clients:,}**"]
    if scenario.kind in (Kind.STREAMS, Kind.READERS) and any("cpu_us" in f and is_saturated(f) for f in all_figures):
        words.append("saturated")
    return ", ".join(words)


def write_report(records: Sequence[Record]) -> str:
    """All of RESULTS.md."""
    machine = records[-1]["machine"]
    about = "\n".join(f"- {name}: {value}" for name, value in machine.items())
    tables = "\n".join(table for scenario in SCENARIOS if (table := write_table(records, scenario)))
    return (
        "# What it costs\n\n![CPU time for each token](results.svg)\n\n"
        "Medians of the runs; in brackets the lowest and the highest where there were several.\n\n"
        f"{tables}\n## How it is measured\n\n{HOW}\n## Where\n\n{about}\n"
    )
