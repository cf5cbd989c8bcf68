"""How much there is to do, and how long it is therefore better to wait for more."""

#: Pieces a second up to which none waits, and from which on each waits for as long as it may.
QUIET_RATE, BUSY_RATE = 6_000, 10_000
#: Seconds over which pieces are counted.
MEASURED = 0.1


class Load:
    """The rate of pieces, and the wait that it asks for: none to `longest_wait` seconds."""

    __slots__ = ("_counted_since", "_longest_wait", "count", "wait")

    def __init__(self, longest_wait: float) -> None:
        self.wait = 0.0
        #: Pieces since the last measurement, for others to add to.
        self.count = 0
        self._longest_wait = longest_wait
        self._counted_since = 0.0

    def measure(self, now: float) -> float:
        """The wait at the time `now`, in seconds by the clock of the event loop; another one at most every 0.1 s."""
        passed = now - self._counted_since
        if passed > MEASURED:
            busy = (self.count / passed - QUIET_RATE) / (BUSY_RATE - QUIET_RATE)
            self.wait = self._longest_wait * min(1.0, max(0.0, busy))
            self.count, self._counted_since = 0, now
        return self.wait
