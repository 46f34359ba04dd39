"""What a process counts of its work, from its start on: told with its heartbeat, shown by gateways.

Plain numbers, changed in place: counting costs well under a microsecond, and nothing is made of them before
somebody looks (`gateway/metrics.py`). A process that starts again begins at 0, as Prometheus expects.
"""

from bisect import bisect_left

import msgspec

SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0]
GUESSES = [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0]
DEPTHS = 16  # of guesses below each other that are told apart; deeper ones count as the last


class Pass(msgspec.Struct, frozen=True, array_like=True):
    """A forward pass: the one that gave the first token of an answer. Each session in it reports it."""

    seconds: float
    rows: int  # new tokens, of all sessions in it
    sessions: int
    passes: int = 1  # the answer took, from this one on


class Tally(msgspec.Struct, array_like=True):
    """How often values came, by size: a histogram."""

    bounds: list[float]  # rising; of each the largest value that counts
    counts: list[int]  # values up to each bound and above the one before, and those above the last
    sum: float = 0.0

    @classmethod
    def of(cls, bounds: list[float]) -> "Tally":
        """An empty one."""
        return cls(bounds, [0] * (len(bounds) + 1))

    def observe(self, value: float, count: int = 1) -> None:
        """Counts a value, `count` times."""
        self.counts[bisect_left(self.bounds, value)] += count
        self.sum += value * count


def _seconds() -> Tally:
    return Tally.of(SECONDS)


class RoleFigures(msgspec.Struct, array_like=True):
    """Of a drafter, a verifier or a head."""

    steps: Tally = msgspec.field(default_factory=_seconds)  # seconds of forward passes
    rows: int = 0  # new tokens in these
    failed: int = 0  # sessions given up for an error in a step
    found: int = 0  # tokens of prompts that were in the cache already
    read: int = 0  # tokens of prompts that were not
    kv_held: int = 0  # tokens of room in the cache that sessions hold now, shared ones once
    kv_room: int = 0  # tokens of room in the whole cache


class RouterFigures(msgspec.Struct, array_like=True):
    """Of a router."""

    replica: int = 0  # which of the routers
    sessions: int = 0  # it has now
    backlog: int = 0  # of these, those that wait for a verdict
    judged: list[int] = msgspec.field(default_factory=lambda: [0] * DEPTHS)  # proposals as deep as this
    accepted: list[int] = msgspec.field(default_factory=lambda: [0] * DEPTHS)  # of which so many stayed
    budgets: Tally = msgspec.field(default_factory=lambda: Tally.of(GUESSES))  # of rounds of speculation
    lost: dict[str, int] = msgspec.field(default_factory=dict)  # peers, by role
