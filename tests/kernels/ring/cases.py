"""A text over a ring of threads by each schedule, and what the whole sequence's attention would be."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ringroad.kernels.ring.blocks import attend
from ringroad.kernels.ring.communicator import Communicator, Counted
from ringroad.kernels.ring.layout import Layout, needed
from ringroad.kernels.ring.merge import Partial
from ringroad.kernels.ring.pass_kv import pass_kv
from ringroad.kernels.ring.pass_q import pass_q
from ringroad.kernels.ring.token_ring import token_ring
from tests import reference
from tests.kernels.ring.threads import rings, together

DIM = 16


@dataclass(frozen=True)
class Case:
    """New rows [start, stop) of a text; `parents`, where given, make a tree of them."""

    layout: Layout
    start: int
    stop: int
    heads: int
    kv_heads: int
    dtype: torch.dtype = torch.float64
    parents: Sequence[int] | None = None

    def tensors(self) -> tuple[Tensor, Tensor]:
        """query [rows, heads, dim] and keys and values [2, stop, kv_heads, dim] of all ranks."""
        generator = torch.Generator().manual_seed(self.stop)
        query = torch.randn(self.stop - self.start, self.heads, DIM, generator=generator, dtype=torch.float64)
        both = torch.randn(2, self.stop, self.kv_heads, DIM, generator=generator, dtype=torch.float64)
        return query.to(self.dtype), both.to(self.dtype)

    def sees(self, row: int, key: int) -> bool:
        """Whether the row at a position sees the key at a position."""
        if self.parents is None or key < self.start:
            return key <= row
        return key - self.start in reference.ancestors(self.parents, row - self.start)

    def rows(self, rank: int) -> Tensor:
        return self.layout.positions(rank, self.start, self.stop)

    def keys(self, rank: int) -> Tensor:
        return self.layout.positions(rank, 0, self.stop)

    def mask(self, rows: Tensor, keys: Tensor) -> Tensor:
        seen = [self.sees(row, key) for row in rows.tolist() for key in keys.tolist()]
        return torch.tensor(seen, dtype=torch.bool).view(len(rows), len(keys))

    def expected(self) -> Tensor:
        """The naive reference's: [rows, heads, dim] fp64."""
        query, both = self.tensors()
        rows = range(self.start, self.stop)
        seen = [[key for key in range(self.stop) if self.sees(row, key)] for row in rows]
        keys, values = both.transpose(1, 2)
        return reference.attention(query, keys, values, seen).view(query.shape)


@dataclass(frozen=True)
class Ran:
    """What a schedule did on all ranks."""

    out: Tensor  # [rows, heads, dim]
    lse: Tensor  # [rows, heads]
    bytes: list[list[int]]  # [source][to]
    messages: int


def by_pass_kv(case: Case, rank: int, ring: Communicator, back: Communicator) -> Partial:
    query, both = case.tensors()
    rows = case.rows(rank)
    sizes = [len(case.keys(other)) for other in range(ring.ranks)]

    def over(keys_values: Tensor, owner: int) -> Partial:
        mask = case.mask(rows, case.keys(owner))
        return attend(query[rows - case.start], keys_values[0], keys_values[1], mask)

    return pass_kv(ring, both[:, case.keys(rank)], sizes, over)


def by_pass_q(case: Case, rank: int, ring: Communicator, back: Communicator) -> Partial:
    query, _ = case.tensors()
    rows = [len(case.rows(other)) for other in range(ring.ranks)]
    return pass_q(ring, query[case.rows(rank) - case.start], rows, _over_own(case, rank))


def by_token_ring(case: Case, rank: int, ring: Communicator, back: Communicator) -> Partial:
    query, _ = case.tensors()
    wanted = needed(case.layout, case.start, case.stop)
    return token_ring(ring, back, query[case.rows(rank) - case.start], wanted, _over_own(case, rank))


Way = Callable[[Case, int, Communicator, Communicator], Partial]
WAYS: dict[str, Way] = {"pass_kv": by_pass_kv, "pass_q": by_pass_q, "token_ring": by_token_ring}


def ran(case: Case, way: Way) -> Ran:
    """A case over a new ring of threads."""
    ranks = case.layout.ranks
    ends = [(Counted(ring), Counted(back)) for ring, back in zip(rings(ranks), rings(ranks), strict=True)]
    parts = together(ranks, lambda rank: way(case, rank, *ends[rank]))
    query, _ = case.tensors()
    out = torch.full(query.shape, torch.nan, dtype=parts[0].out.dtype)
    lse = out[..., 0].clone()
    for rank, part in enumerate(parts):
        out[case.rows(rank) - case.start] = part.out
        lse[case.rows(rank) - case.start] = part.lse
    moved = [[ring.bytes[to] + back.bytes[to] for to in range(ranks)] for ring, back in ends]
    return Ran(out, lse, moved, sum(sum(end.messages.values()) for both in ends for end in both))


def random_tree(count: int, seed: int) -> list[int]:
    """Parents of `count` nodes: any earlier one, or none."""
    chance = random.Random(seed)
    return [chance.randrange(-1, node) if node else -1 for node in range(count)]


def _over_own(case: Case, rank: int) -> Callable[[Tensor, int], Partial]:
    """Another rank's last rows over a rank's own keys."""
    _, both = case.tensors()
    keys, values = both[:, case.keys(rank)]

    def over(query: Tensor, owner: int) -> Partial:
        rows = case.rows(owner)[-len(query) :]
        return attend(query, keys, values, case.mask(rows, case.keys(rank)))

    return over
