"""Random batches for the Triton kernels and their twins."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ringroad.kernels.triton.batch import Draws, Guesses, Step, marked
from tests import reference


@dataclass(frozen=True)
class Case:
    """A session: its cached places and the tree of its new tokens. At a rank of a ring, which of these are
    the rows, and which have their keys and values there; None: all."""

    cached: int
    parents: Sequence[int]
    rows: Sequence[int] | None = None
    held: Sequence[int] | None = None

    def seen(self) -> list[list[bool]]:
        """Which of the new places each row sees."""
        every = range(len(self.parents))
        rows, held = (every if some is None else some for some in (self.rows, self.held))
        return [[node in reference.ancestors(self.parents, row) for node in held] for row in rows]

    @property
    def count(self) -> int:
        return len(self.parents if self.rows is None else self.rows)

    @property
    def new(self) -> int:
        return len(self.parents if self.held is None else self.held)


def tree(count: int, seed: int) -> list[int]:
    """Parents of `count` nodes, any earlier one or none."""
    generator = torch.Generator().manual_seed(seed)
    return [int(torch.randint(-1, i, (), generator=generator)) if i else -1 for i in range(count)]


def chain(count: int) -> list[int]:
    return list(range(-1, count - 1))


def ints(numbers: Sequence[int]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int32)


def edges(counts: Sequence[int]) -> Tensor:
    return ints([0, *torch.tensor(counts).cumsum(0).tolist()])


@dataclass(frozen=True)
class Batch:
    """What `attend` takes, and where each session's places lie."""

    query: Tensor
    keys: Tensor
    values: Tensor
    step: Step

    def expected(self, cases: Sequence[Case]) -> Tensor:
        """The reference's attention: [rows, heads * dim] fp64."""
        outs = []
        for session, case in enumerate(cases):
            rows = slice(int(self.step.first[session]), int(self.step.first[session + 1]))
            k, v = (
                torch.cat([cache[block] for block in self.step.table[session].tolist()], 1)
                for cache in (self.keys, self.values)
            )
            outs.append(reference.attention(self.query[rows], k, v, seen_places(case)))
        return torch.cat(outs)


def seen_places(case: Case) -> list[list[int]]:
    cached, seen = case.cached, case.seen()
    return [[*range(cached), *(cached + i for i, sees in enumerate(row) if sees)] for row in seen]


def batch(
    cases: Sequence[Case],
    heads: int = 4,
    kv_heads: int = 2,
    dim: int = 16,
    block: int = 16,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> Batch:
    """Blocks in random order, one layer of several as a view, NaN wherever no session has a token."""
    generator = torch.Generator().manual_seed(seed)
    lengths = [case.cached + case.new for case in cases]
    per_session = max(1, *(-(-length // block) for length in lengths))
    places = torch.randperm(len(cases) * per_session, generator=generator)
    table = ints(places.tolist()).view(len(cases), per_session)
    pool = torch.full((len(places), 3, 2, kv_heads, block, dim), math.nan, dtype=dtype)
    for session, length in enumerate(lengths):
        fresh = torch.randn(2, kv_heads, per_session * block, dim, generator=generator).to(dtype)
        fresh[:, :, length:] = math.nan
        pool[table[session].long(), 1] = fresh.unflatten(2, (-1, block)).permute(2, 0, 1, 3, 4)
    counts = [case.count for case in cases]
    seen = torch.zeros(sum(counts), max(case.new for case in cases), dtype=torch.bool)
    for rows, case in zip(seen.split(counts), cases, strict=True):
        rows[:, : case.new] = torch.tensor(case.seen(), dtype=torch.bool).view(case.count, case.new)
    return Batch(
        query=torch.randn(sum(counts), heads, dim, generator=generator).to(dtype),
        keys=pool[:, 1, 0],
        values=pool[:, 1, 1],
        step=Step(
            first=edges(counts),
            cached=ints([case.cached for case in cases]),
            new=ints([case.new for case in cases]),
            table=table,
            seen=marked(seen),
            most_rows=max(counts),
            most_places=max(lengths),
        ),
    )


@dataclass(frozen=True)
class Row:
    """How one row is drawn."""

    seed: int = 1
    position: int = 0
    temperature: float = 1.0
    floor: float = -math.inf
    stream: int = 0


def draws(rows: Sequence[Row]) -> Draws:
    return Draws(
        seeds=torch.tensor([row.seed for row in rows], dtype=torch.uint64),
        streams=torch.tensor([row.stream for row in rows], dtype=torch.uint64),
        positions=torch.tensor([row.position for row in rows]),
        temperatures=torch.tensor([row.temperature for row in rows]),
        floors=torch.tensor([row.floor for row in rows]),
    )


def guesses(trees: Sequence[Sequence[int]], tokens: Sequence[int]) -> Guesses:
    """`trees`: of each session the parents of its guesses, counted among them; `tokens` of all rows."""
    counts = [1 + len(parents) for parents in trees]
    flat = [row for parents in trees for row in [-1, *(parent + 1 for parent in parents)]]
    return Guesses(edges(counts), ints(tokens), ints(flat), max(counts))
