"""Rings of engines in threads."""

import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from ringroad.actors.engine.model import Model
from ringroad.actors.engine.ring.engine import FirstEngine, OtherEngine
from ringroad.actors.engine.ring.model import RingModel, Way
from ringroad.kernels.ring.communicator import Counted
from ringroad.kernels.ring.cost import Device, Link
from tests.kernels.ring.threads import rings

PATIENCE = 120.0  # seconds that a rank waits: a busy machine interprets slowly


class Ring:
    """The engines of a ring, and what they sent."""

    def __init__(self, model: Model, ranks: int, min_tokens: int, cache_bytes: int, schedule: str) -> None:
        self.sent = [Counted(end) for end in rings(ranks, PATIENCE)]
        way = Way(schedule, Link(2e9, 5e-4), Device(1.2e10, 2.5e9))
        ways = zip(self.sent, rings(ranks, PATIENCE), strict=True)
        ends = [RingModel(model, end, back, min_tokens, way) for end, back in ways]
        self.lines: list[queue.SimpleQueue[bytes]] = [queue.SimpleQueue() for _ in range(1, ranks)]
        self.others = [OtherEngine(end, cache_bytes) for end in ends[1:]]
        self.first = FirstEngine(ends[0], cache_bytes, self.tell)

    def tell(self, message: bytes) -> None:
        """To all ranks but the first."""
        for line in self.lines:
            line.put(message)


@contextmanager
def ring(
    model: Model, ranks: int, min_tokens: int = 0, cache_bytes: int = 10**7, schedule: str = "auto"
) -> Iterator[Ring]:
    """A ring whose other ranks follow the first on threads of their own."""
    found = Ring(model, ranks, min_tokens, cache_bytes, schedule)
    with ThreadPoolExecutor(ranks) as pool:
        pairs = zip(found.others, found.lines, strict=True)
        following = [pool.submit(other.follow, iter(line.get, b"")) for other, line in pairs]
        try:
            yield found
        finally:
            found.tell(b"")
        for each in following:
            each.result()
