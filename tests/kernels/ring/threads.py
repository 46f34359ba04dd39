"""A ring of threads: the communicator's interface without a process group, for many shapes in little time."""

import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from torch import Tensor

from ringroad.kernels.ring.communicator import RingBroken

T = TypeVar("T")
Lines = dict[tuple[int, int], "queue.SimpleQueue[Tensor]"]


class Threads:
    """One rank's end. A message is the bits that its tensor has when it is committed."""

    def __init__(self, rank: int, ranks: int, lines: Lines, timeout: float = 10.0) -> None:
        self.rank, self.ranks = rank, ranks
        self._lines, self._timeout = lines, timeout
        self._queued: list[tuple[Tensor | None, int, Tensor | None, int]] = []
        self._expected: list[tuple[Tensor, int]] = []

    def send_recv(self, send: Tensor | None, to: int, into: Tensor | None, source: int) -> None:
        self._queued.append((send, to, into, source))

    def commit(self) -> None:
        for send, to, into, source in self._queued:
            if send is not None and send.numel():
                self._lines[self.rank, to].put(send.clone())
            if into is not None and into.numel():
                self._expected.append((into, source))
        self._queued.clear()

    def wait(self) -> None:
        expected, self._expected = self._expected, []
        for into, source in expected:
            try:
                message = self._lines[source, self.rank].get(timeout=self._timeout)
            except queue.Empty:
                raise RingBroken(source, f"silent for {self._timeout} s") from None
            assert message.shape == into.shape
            assert message.dtype == into.dtype
            into.copy_(message)


def rings(ranks: int, timeout: float = 10.0) -> list[Threads]:
    """A new ring's ends."""
    lines: Lines = {(a, b): queue.SimpleQueue() for a in range(ranks) for b in range(ranks)}
    return [Threads(rank, ranks, lines, timeout) for rank in range(ranks)]


def together(ranks: int, body: Callable[[int], T]) -> list[T]:
    """What `body(rank)` returns in a thread for each rank. Raises what any of them raises."""
    with ThreadPoolExecutor(ranks) as pool:
        return [future.result() for future in [pool.submit(body, rank) for rank in range(ranks)]]
