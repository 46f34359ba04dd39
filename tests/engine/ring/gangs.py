"""A ring of engines in threads, and the one engine that its text has to equal."""

import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from ringroad.actors.engine.model import Model
from ringroad.actors.engine.ring.engine import FirstEngine, OtherEngine
from ringroad.actors.engine.ring.model import RingModel
from tests.kernels.ring.threads import rings


@contextmanager
def gang(model: Model, ranks: int, min_tokens: int = 0, cache_bytes: int = 10**7) -> Iterator[FirstEngine]:
    """The first of `ranks` engines, the others of which do as it does on threads of their own."""
    ends = [RingModel(model, end, min_tokens) for end in rings(ranks)]
    lines: list[queue.SimpleQueue[bytes]] = [queue.SimpleQueue() for _ in range(1, ranks)]
    others = [OtherEngine(end, cache_bytes) for end in ends[1:]]
    with ThreadPoolExecutor(ranks) as pool:
        following = [
            pool.submit(other.follow, iter(line.get, b"")) for other, line in zip(others, lines, strict=True)
        ]

        def tell(message: bytes) -> None:
            for line in lines:
                line.put(message)

        try:
            yield FirstEngine(ends[0], cache_bytes, tell)
        finally:
            for line in lines:
                line.put(b"")
        for each in following:
            each.result()
