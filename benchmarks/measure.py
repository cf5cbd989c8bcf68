"""One measurement: a fresh model and a fresh server, a warm-up, and the load generator's word."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.build import build_tool
from benchmarks.processes import SUBJECT_CORE, DidNotStart, run_process
from benchmarks.scenarios import Kind, Scenario
from benchmarks.stores import Store
from benchmarks.subjects import BUILD, MODEL_PORT, PORT, SECRET, USERS, Subject
from server.auth import issue_token

#: What the load generator printed, or {"error": …} alone.
Figures = dict[str, Any]


def measure(subject: Subject, scenario: Scenario, stores: Sequence[Store]) -> Figures:
    """Run the scenario against the subject once."""
    used = [store for store in stores if getattr(subject, store.name)]
    addresses = {store.variable: store.address for store in used}
    environment = subject.full_environment(scenario.kind, addresses)
    try:
        with ExitStack() as stack:
            model = run_process([str(build_tool("model")), str(MODEL_PORT)], MODEL_PORT, BUILD / "model.log")
            server = _run_subject(subject, PORT, environment, BUILD / f"{subject.name}-{scenario.name}.log")
            watched = {"model": stack.enter_context(model)}
            # The memory of the first is looked at.
            watched = {"server": stack.enter_context(server), **watched} | {store.name: store.pid for store in used}
            if subject.second_port is not None:
                second = {**environment, "LOQUENT_PORT": str(subject.second_port)}
                watched["second"] = stack.enter_context(
                    _run_subject(subject, subject.second_port, second, BUILD / "second.log")
                )
            _load(subject, _warm_up(scenario), watched)
            written = [store.count_written() for store in used]
            figures = _load(subject, scenario, watched)
            figures["wal_bytes"] = sum(store.count_written() for store in used) - sum(written)
            return figures
    except DidNotStart as error:
        return {"error": f"did not start: {error}"}


def _run_subject(subject: Subject, port: int, environment: Mapping[str, str], log: Path) -> AbstractContextManager[int]:
    return run_process(subject.command, port, log, core=SUBJECT_CORE, environment=environment)


def _warm_up(scenario: Scenario) -> Scenario:
    """A little of the same, so that nothing is compiled, connected or cached for the first time."""
    if scenario.kind is Kind.PAGE:
        return replace(scenario, requests=2000)
    if scenario.kind is Kind.IDLE:
        return replace(scenario, clients=3, seconds=1)
    return replace(scenario, kind=Kind.STREAMS, clients=10, tokens=20, rate=50, ramp=200)


def _load(subject: Subject, scenario: Scenario, watched: dict[str, int]) -> Figures:
    contract = subject.contract
    options: dict[str, object] = {
        "mode": _mode(subject, scenario),
        "port": PORT,
        "path": contract.path,
        "init": contract.init,
        "header": contract.header,
        "clients": scenario.clients,
        "tokens": scenario.tokens,
        "rate": scenario.rate,
        "ramp": scenario.ramp,
        "requests": scenario.requests,
        "seconds": scenario.seconds,
        "timeout": scenario.timeout,
    }
    command = [str(build_tool("load"))]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    if contract.send is not None and contract.read is not None:
        command += ["--send", contract.send.document, contract.send.variables, contract.send.key]
        command += ["--read", contract.read.document, contract.read.variables]
    if scenario.kind is Kind.PAGE and contract.page is not None:
        command += ["--body", contract.page.body, "--expect", contract.page.expected, str(contract.page.times)]
    elif contract.body is not None:
        command += ["--body", contract.body]
    if scenario.kind in (Kind.READERS, Kind.SLOW):
        command.append("--readers")
    if scenario.kind is Kind.SLOW:
        command += ["--slow", "1000"]
    if subject.second_port is not None and scenario.kind is Kind.READERS:
        command += ["--read-port", str(subject.second_port)]
    if "$TOKEN" in contract.init:
        command += ["--bearers", _write_bearers()]
    for process, pid in watched.items():
        command += ["--watch", f"{process}={pid}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own program
    if not done.stdout:
        return {"error": f"the load generator ended with {done.returncode}: {done.stderr}"}
    figures: Figures = json.loads(done.stdout)
    figures["cpu_us"]["server"] += figures["cpu_us"].pop("second", 0)
    return figures


def _mode(subject: Subject, scenario: Scenario) -> str:
    if scenario.kind is Kind.PAGE:
        return "query"
    if scenario.kind is Kind.IDLE:
        return "hold"
    return "sse" if subject.contract.body is not None else "ws"


def _write_bearers() -> str:
    path = BUILD / "bearers.txt"
    path.write_text("".join(issue_token(SECRET, f"user{number}", 3600) + "\n" for number in range(USERS)))
    return str(path)
