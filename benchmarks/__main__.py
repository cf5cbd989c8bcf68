"""`python -m benchmarks`: measures all subjects in all scenarios, prints the tables and writes RESULTS.md."""

import argparse
import json
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.build import find_missing
from benchmarks.chart import draw_chart
from benchmarks.machine import describe_machine
from benchmarks.measure import measure
from benchmarks.processes import prepare
from benchmarks.report import Record, read_records, write_report, write_table
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.stores import run_stores
from benchmarks.subjects import BUILD, HERE, SUBJECTS, Subject

RECORDS = BUILD / "results.jsonl"


def main() -> int:
    """Measure what the options choose; gives the exit status."""
    chosen = _read_options()
    if chosen.report:
        return _report(read_records(RECORDS), write=True)
    if not sys.platform.startswith("linux") or shutil.which("cc") is None:
        print("benchmarks: this needs Linux and a C compiler (cc)", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started is ended
    subjects = [s for s in SUBJECTS if _is_chosen(s, chosen.subjects)]
    scenarios = [s for s in SCENARIOS if s.name in chosen.scenarios or not (chosen.scenarios or s.optional)]
    prepare()
    RECORDS.parent.mkdir(exist_ok=True)
    with RECORDS.open("w") as file:
        for record in _measure_all(_find_present(subjects), scenarios, chosen.runs):
            print(json.dumps(record), file=file, flush=True)
    return _report(read_records(RECORDS), write=chosen.write or not (chosen.subjects or chosen.scenarios))


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description="What the server costs, beside others.")
    parser.add_argument("--subjects", nargs="+", default=[], choices=[s.name for s in SUBJECTS])
    parser.add_argument("--scenarios", nargs="+", default=[], choices=[s.name for s in SCENARIOS])
    parser.add_argument("--runs", type=int, help="of each scenario; each has a number of its own")
    parser.add_argument("--write", action="store_true", help="write RESULTS.md though only a part is measured")
    parser.add_argument("--report", action="store_true", help="measure nothing, write RESULTS.md from the last run")
    return parser.parse_args()


def _is_chosen(subject: Subject, names: Sequence[str]) -> bool:
    return subject.name in names or not (names or subject.valkey)


def _find_present(subjects: Sequence[Subject]) -> list[Subject]:
    present = []
    for subject in subjects:
        missing = find_missing(subject)
        if missing is None:
            present.append(subject)
        else:
            print(f"{subject.title} is left out: {missing}")
    return present


def _measure_all(subjects: Sequence[Subject], scenarios: Sequence[Scenario], runs: int | None) -> Iterator[Record]:
    machine = describe_machine()
    postgres, valkey = any(s.postgres for s in subjects), any(s.valkey for s in subjects)
    with run_stores(postgres=postgres, valkey=valkey) as stores:
        for scenario in scenarios:
            for run in range(runs or scenario.runs):
                for subject in subjects:
                    if scenario.kind in subject.kinds:
                        print(f"{scenario.title}: {subject.title}, run {run + 1}", file=sys.stderr, flush=True)
                        figures = measure(subject, scenario, stores)
                        names = {"subject": subject.name, "scenario": scenario.name}
                        yield {**names, "figures": figures, "machine": machine}


def _report(records: Sequence[Record], *, write: bool) -> int:
    print("\n".join(table for scenario in SCENARIOS if (table := write_table(records, scenario))))
    if write:
        _write(HERE / "RESULTS.md", write_report(records))
        _write(HERE / "results.svg", draw_chart(records))
    return 0


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    print(f"wrote {path.relative_to(HERE.parent)}")


if __name__ == "__main__":
    sys.exit(main())
