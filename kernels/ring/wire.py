"""What a schedule moves, in bytes: the same numbers for tests, the cost model and the simulator."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from ringroad.kernels.ring.merge import wide


@dataclass(frozen=True)
class Heads:
    """What of a model decides how many bytes a position's attention is, in one layer."""

    query: int  # heads
    key: int  # heads of keys, and as many of values
    dim: int
    dtype: torch.dtype

    @property
    def query_bytes(self) -> int:
        """One row's query."""
        return self.query * self.dim * self.dtype.itemsize

    @property
    def key_value_bytes(self) -> int:
        """One position's key and value."""
        return 2 * self.key * self.dim * self.dtype.itemsize

    @property
    def partial_bytes(self) -> int:
        """One row's partial attention, packed."""
        return self.query * (self.dim + 1) * wide(self.dtype).itemsize


class Move(NamedTuple):
    """A message of a schedule. Ranks compute one block in each of the steps 0 to W-1 and none in step W."""

    source: int
    to: int
    bytes: int
    step: int  # it starts before the sender's block of this step
    due: int  # it is waited for before the receiver's block of this step; W + 1: before all is done


def sent(moves: Iterable[Move], ranks: int) -> list[list[int]]:
    """Bytes from each rank to each: [source][to]."""
    totals = [[0] * ranks for _ in range(ranks)]
    for move in moves:
        totals[move.source][move.to] += move.bytes
    return totals
