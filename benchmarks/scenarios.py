"""What is measured: each scenario is one entry."""

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What the clients do."""

    #: Each sends a message over its own socket and reads the reply.
    STREAMS = "streams"
    #: As `STREAMS` with one-token replies: what a reply costs before its text.
    STARTS = "starts"
    #: One sends a message, all read the one reply.
    READERS = "readers"
    #: Each asks for a page, again and again.
    PAGE = "page"
    #: As `READERS`, but they take a kilobyte a second.
    SLOW = "slow"
    #: Each holds its socket open and says nothing.
    IDLE = "idle"


@dataclass(frozen=True)
class Scenario:
    """`clients` connections; `tokens` a reply at `rate` tokens a second; starts spread over `ramp` milliseconds."""

    name: str
    title: str
    kind: Kind
    clients: int
    tokens: int = 1
    rate: int = 50
    ramp: int = 1000
    requests: int = 0
    #: How long idle or slow sockets are held, in seconds.
    seconds: int = 0
    #: Seconds until those that have not finished count as failed.
    timeout: int = 60
    runs: int = 1
    #: Measured only when asked for by name.
    optional: bool = False


SCENARIOS = (
    Scenario("100", "100 streams × 200 tokens at 50 tokens/s", Kind.STREAMS, 100, tokens=200, runs=2),
    Scenario("200", "200 streams × 200 tokens at 50 tokens/s", Kind.STREAMS, 200, tokens=200, optional=True),
    Scenario("1000", "1,000 streams × 200 tokens at 50 tokens/s", Kind.STREAMS, 1000, tokens=200, timeout=40),
    Scenario("steady", "1,000 streams × 1,000 tokens at 50 tokens/s", Kind.STREAMS, 1000, tokens=1000, timeout=60),
    Scenario("starts", "Start of a run: 200 replies of one token", Kind.STARTS, 200, ramp=4000, runs=2),
    Scenario("readers", "One reply of 500 tokens with 100 readers", Kind.READERS, 100, tokens=500, runs=2),
    Scenario("page", "A page of 20 conversations with 6 fields", Kind.PAGE, 8, requests=3000, runs=2),
    Scenario("crowd", "One reply of 500 tokens with 1,000 readers", Kind.READERS, 1000, tokens=500, optional=True),
    Scenario("long", "One reply of 100,000 tokens", Kind.STREAMS, 1, 100_000, 5000, ramp=0, optional=True),
    Scenario("slow", "100 readers that take 1 kB a second", Kind.SLOW, 100, 40_000, 2000, seconds=20, optional=True),
    Scenario("idle", "10,000 idle sockets", Kind.IDLE, 10_000, seconds=10, timeout=120, optional=True),
)
