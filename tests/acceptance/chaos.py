"""Chaos: users converse while nodes, Valkey and PostgreSQL fail at random; in the end everything is counted.

`python -m tests.acceptance.chaos --seconds 300 --seed 7` prints what was done, how fast it was made good, and what
was lost or doubled.
"""

import argparse
import asyncio
import logging
import random
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from agent.stand_in.answers import Answer, Text, ToolUse
from agent.stand_in.server import serve_model
from tests.acceptance.nodes import LEASE, Cluster, Node, RoamingClient, run_cluster
from tests.client import Reading, Sent

logger = logging.getLogger(__name__)

NODES, USERS = 3, 10
#: Seconds after the end of all failures within which every reply must have finished.
RECOVERY = 120.0
SIGNS = ("", "é", "日本", "👍🏽", "👩‍👩‍👧", "𝔘")
WITH_A_TASK = " with a task"


def tokens_of(question: str, step: int) -> tuple[str, ...]:
    """What the model answers in a step: words that differ, so that each one lost or doubled is seen."""
    choose = random.Random(f"{question}/{step}")
    return tuple(f"{step}.{number}{choose.choice(SIGNS)} " for number in range(choose.randint(20, 160)))


def expected_text(question: str) -> str:
    steps = (0, 1) if question.endswith(WITH_A_TASK) else (0,)
    return "".join(token for step in steps for token in tokens_of(question, step))


@dataclass(frozen=True)
class Call:
    """A node asked the model for a step of a reply."""

    at: float
    writer: str
    step: int


class Script:
    """The model, which knows every answer beforehand and notes who asks."""

    def __init__(self) -> None:
        self.calls: dict[str, list[Call]] = defaultdict(list)

    def respond(self, request: dict[str, Any]) -> Answer:
        question, step = _find_question(request["messages"])
        self.calls[question].append(Call(time.monotonic(), request["model"], step))
        tokens = tokens_of(question, step)
        blocks: list[Text | ToolUse] = [Text("".join(tokens), tokens=tokens)]
        if step == 0 and question.endswith(WITH_A_TASK):
            blocks.append(ToolUse("addTask", {"title": question}))
        return Answer(blocks, tokens_per_second=random.Random(question).randint(30, 150))


def _find_question(messages: Sequence[dict[str, Any]]) -> tuple[str, int]:
    """The user's last words, and how many steps the model has taken since."""
    step = 0
    for message in reversed(messages):
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        texts = [block["text"] for block in blocks if block["type"] == "text"]
        if message["role"] == "user" and texts:
            return texts[-1], step
        step += message["role"] == "assistant"
    raise AssertionError("nothing was asked")


@dataclass(frozen=True)
class Exchange:
    """What a user asked, what the server answered, and what readers read."""

    owner: str
    question: str
    sent: Sent
    readings: Sequence[Reading]


@dataclass(frozen=True)
class Fault:
    at: float
    kind: str


@dataclass
class Report:
    """The sums of a run."""

    faults: Counter[str] = field(default_factory=Counter)
    #: Seconds from what befell a writer to the next one's call of the model, by what befell it.
    takeovers: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    replies: int = 0
    tasks: int = 0
    resumes: int = 0
    refusals: int = 0
    tokens: int = 0
    characters: int = 0
    lost: int = 0
    doubled: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{'failures made':28} {self.faults.total():>8}"]
        lines += [f"  {kind:26} {count:>8}" for kind, count in sorted(self.faults.items())]
        lines += [f"{'takeovers':28} {sum(map(len, self.takeovers.values())):>8}     seconds: p50     max"]
        for kind, seconds in sorted(self.takeovers.items()):
            known = f"{statistics.median(seconds):16.2f}{max(seconds):8.2f}" if any(seconds) else ""
            lines.append(f"  {kind:26} {len(seconds):>8} {known}")
        sums = {
            "replies": self.replies,
            "tasks added by tools": self.tasks,
            "streams resumed": self.resumes,
            "requests refused": self.refusals,
            "tokens checked": self.tokens,
            "characters checked": self.characters,
            "tokens lost": self.lost,
            "tokens doubled": self.doubled,
            "problems": len(self.problems),
        }
        lines += [f"{name:28} {value:>8}" for name, value in sums.items()]
        return "\n".join([*lines, *self.problems])


class Chaos:
    """One run: its users, its failures, and its checks."""

    def __init__(self, cluster: Cluster, script: Script, seed: int) -> None:
        self.report = Report()
        self._cluster = cluster
        self._script = script
        self._seed = seed
        self._over = asyncio.Event()
        self._exchanges: list[Exchange] = []
        self._faults: dict[str, list[Fault]] = defaultdict(list)

    async def run(self, seconds: float) -> Report:
        """Let things fail for so long, then let all end, and count."""
        users = [
            RoamingClient(self._cluster.nodes, f"user{index}", self._seed * 1000 + index) for index in range(USERS)
        ]
        conversing = [asyncio.create_task(self._converse(user, index)) for index, user in enumerate(users)]
        failing = [asyncio.create_task(self._fail(table)) for table in (self._node_faults(), self._other_faults())]
        await asyncio.wait([*conversing, *failing], timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        self._over.set()
        for result in await asyncio.gather(*failing, return_exceptions=True):
            self._note(result, "a failure could not be made good")
        [result] = await asyncio.gather(self._cluster.heal(), return_exceptions=True)
        self._note(result, "not all is well again")
        _, late = await asyncio.wait(conversing, timeout=RECOVERY)
        for task in late:
            task.cancel()
        for user, result in zip(users, await asyncio.gather(*conversing, return_exceptions=True), strict=True):
            self._note(result, f"{user.owner} did not get through")
            self.report.resumes += user.resumes
            self.report.refusals += len(user.refusals)
            await user.close()
        await self._check()
        return self.report

    def _note(self, result: BaseException | None, what: str) -> None:
        if result is not None:
            self.report.problems.append(f"{what}: {result!r}")

    # Users

    async def _converse(self, user: RoamingClient, index: int) -> None:
        choose = random.Random(f"{self._seed}/{index}")
        conversation: str | None = None
        number = 0
        while not self._over.is_set():
            number += 1
            question = f"{user.owner} asks {number}{WITH_A_TASK if choose.random() < 0.4 else ''}"
            more = {} if conversation is None or choose.random() < 0.3 else {"conversationId": conversation}
            # Now and then an impatient client sends twice at once.
            copies = 2 if choose.random() < 0.2 else 1
            sends = [user.send(question, question, seconds=RECOVERY, **more) for _ in range(copies)]
            sent, *again = await asyncio.gather(*sends)
            if any(answer != sent for answer in again):
                self.report.problems.append(f"{question!r}: one key, two answers")
            conversation = sent.conversation
            readers = [
                user.follow(sent.reply, seconds=RECOVERY),
                user.follow(sent.reply, stay=lambda: choose.randint(1, 15), seconds=RECOVERY),
            ]
            readings = await asyncio.gather(*readers[: choose.randint(1, 2)])
            for reader in readers[len(readings) :]:
                reader.close()
            self._exchanges.append(Exchange(user.owner, question, sent, readings))

    # Failures

    async def _fail(self, faults: dict[str, Callable[[random.Random], Awaitable[None]]]) -> None:
        choose = random.Random(f"{self._seed}/{sorted(faults)}")
        while not self._over.is_set():
            await asyncio.sleep(choose.uniform(0.3, 1.5))
            kind = choose.choice(sorted(faults))
            self.report.faults[kind] += 1
            self._faults[kind.split()[0]].append(Fault(time.monotonic(), kind))
            logger.info(kind)
            await faults[kind](choose)

    def _node_faults(self) -> dict[str, Callable[[random.Random], Awaitable[None]]]:
        return {"node killed": self._kill, "node told to end": self._terminate, "node asleep": self._freeze}

    def _other_faults(self) -> dict[str, Callable[[random.Random], Awaitable[None]]]:
        return {
            "Valkey killed": self._kill_valkey,
            "Valkey emptied": self._empty_valkey,
            "Valkey asleep": self._freeze_valkey,
            "connections ended": self._drop_connections,
            "PostgreSQL crashed": self._crash_postgres,
            "PostgreSQL asleep": self._freeze_postgres,
        }

    def _befall(self, kind: str, choose: random.Random) -> Node:
        node = choose.choice(self._cluster.nodes)
        self._faults[node.writer].append(Fault(time.monotonic(), kind))
        logger.info("%s: %s", node.writer, kind)
        return node

    async def _kill(self, choose: random.Random) -> None:
        node = self._befall("node killed", choose)
        node.kill()
        await asyncio.sleep(choose.uniform(0, 2))
        node.start()
        await node.wait_until_ready()

    async def _terminate(self, choose: random.Random) -> None:
        node = self._befall("node told to end", choose)
        status = await node.terminate()
        if status != 0:
            self.report.problems.append(f"{node.writer} was told to end and ended with {status}")
        node.start()
        await node.wait_until_ready()

    async def _freeze(self, choose: random.Random) -> None:
        node = self._befall("node asleep", choose)
        node.freeze()
        await asyncio.sleep(choose.uniform(0.5, LEASE * 2))
        node.thaw()

    async def _kill_valkey(self, choose: random.Random) -> None:
        self._cluster.valkey.kill()
        await asyncio.sleep(choose.uniform(0, 3))
        self._cluster.valkey.start()

    async def _empty_valkey(self, choose: random.Random) -> None:
        await self._cluster.valkey.empty()

    async def _freeze_valkey(self, choose: random.Random) -> None:
        self._cluster.valkey.freeze()
        await asyncio.sleep(choose.uniform(0.2, 3))
        self._cluster.valkey.thaw()

    async def _drop_connections(self, choose: random.Random) -> None:
        await self._cluster.postgres.drop_connections()

    async def _crash_postgres(self, choose: random.Random) -> None:
        self._cluster.postgres.crash()
        await self._cluster.postgres.wait_until_ready()

    async def _freeze_postgres(self, choose: random.Random) -> None:
        self._cluster.postgres.freeze()
        await asyncio.sleep(choose.uniform(0.2, 4))
        self._cluster.postgres.thaw()

    # Checks

    async def _check(self) -> None:
        await self._wait_for_runs()
        for exchange in self._exchanges:
            await self._check_exchange(exchange)
        await self._check_sums()
        self._measure_takeovers()

    async def _wait_for_runs(self) -> None:
        end = time.monotonic() + RECOVERY
        while left := await self._cluster.postgres.fetch("select message_id, attempt from run"):
            if time.monotonic() > end:
                self.report.problems.append(f"runs are left: {left}")
                return
            await asyncio.sleep(0.2)

    async def _check_exchange(self, exchange: Exchange) -> None:
        report, problems = self.report, self.report.problems
        rows = await self._cluster.postgres.fetch(
            "select id, status, parts, error_code from message where owner_id = :owner and idempotency_key = :key",
            owner=exchange.owner,
            key=f"send:{exchange.question}",
        )
        if [(str(row.id), row.status) for row in rows] != [(exchange.sent.reply, "COMPLETE")]:
            problems.append(f"{exchange.question!r}: saved as {[(str(r.id), r.status, r.error_code) for r in rows]}")
            return
        report.replies += 1
        parts = rows[0].parts
        expected = expected_text(exchange.question)
        saved = "".join(part["text"] for part in parts if part["type"] == "text")
        for place, text in [("saved", saved), *(("read", reading.text) for reading in exchange.readings)]:
            tokens, found = Counter(expected.split()), Counter(text.split())
            report.tokens += tokens.total()
            report.characters += len(expected)
            report.lost += (tokens - found).total()
            report.doubled += (found - tokens).total()
            if text != expected:
                problems.append(f"{exchange.question!r} {exchange.sent.reply}: {place} {text!r} for {expected!r}")
        for reading in exchange.readings:
            if reading.finished is None or reading.finished["text"] != saved:
                problems.append(f"{exchange.question!r}: a reader was told another end: {reading.finished}")
        await self._check_task(exchange, [part["status"] for part in parts if part["type"] == "tool_call"])

    async def _check_task(self, exchange: Exchange, statuses: Sequence[str]) -> None:
        [[count]] = await self._cluster.postgres.fetch(
            "select count(*) from task where owner_id = :owner and title = :title",
            owner=exchange.owner,
            title=exchange.question,
        )
        self.report.tasks += count
        if len(statuses) != exchange.question.endswith(WITH_A_TASK) or count > 1:
            self.report.problems.append(f"{exchange.question!r}: calls {statuses}, done {count} times")
        if statuses == ["SUCCEEDED"] and count != 1:
            self.report.problems.append(f"{exchange.question!r}: told as done, done {count} times")

    async def _check_sums(self) -> None:
        """Nothing was stored that nobody asked for."""
        [row] = await self._cluster.postgres.fetch(
            "select count(*) filter (where role = 'USER'), count(*) filter (where role = 'ASSISTANT'),"
            " (select count(*) from spending) from message"
        )
        if set(row) != {len(self._exchanges)} and not self.report.problems:
            self.report.problems.append(f"asked {len(self._exchanges)} times; questions, replies, bills: {tuple(row)}")

    def _measure_takeovers(self) -> None:
        for calls in self._script.calls.values():
            for before, after in pairwise(calls):
                if before.writer == after.writer and before.step != after.step:
                    continue
                known = [*self._faults["PostgreSQL"], *self._faults[before.writer]]
                fault = next((fault for fault in reversed(known) if before.at < fault.at < after.at), None)
                if fault is None:
                    self.report.takeovers["of another cause"].append(0)
                else:
                    self.report.takeovers[fault.kind].append(after.at - fault.at)


async def run_chaos(directory: Path, *, seconds: float, seed: int) -> Report:
    """Start everything, let it fail for so many seconds, and stop it; the logs of the nodes are in `directory`."""
    script = Script()
    async with (
        serve_model(script.respond) as model,
        run_cluster(directory, model.base_url, count=NODES, LOQUENT_MAX_ATTEMPTS="100") as cluster,
    ):
        return await Chaos(cluster, script, seed).run(seconds)


def main() -> int:
    """Run as a program; the exit status tells whether there were problems."""
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.chaos", description="Fail at random, and count.")
    parser.add_argument("--seconds", type=float, default=60, help="how long things fail (default 60)")
    parser.add_argument("--seed", type=int, default=random.randint(0, 9999), help="what fails, and when")
    parser.add_argument("--logs", type=Path, help="an empty directory for the logs of the nodes, which is kept")
    chosen = parser.parse_args()
    print(
        f"{chosen.seconds:g} seconds, seed {chosen.seed}: {NODES} nodes, {USERS} users, lease {LEASE:g} s", flush=True
    )
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        if chosen.logs:
            directory = chosen.logs
            directory.mkdir(parents=True, exist_ok=True)
            logging.basicConfig(filename=directory / "chaos.log", format="%(asctime)s %(message)s")
            logger.setLevel(logging.INFO)
        report = asyncio.run(run_chaos(directory, seconds=chosen.seconds, seed=chosen.seed))
    print(report)
    return 1 if report.problems or report.lost or report.doubled else 0


if __name__ == "__main__":
    sys.exit(main())
