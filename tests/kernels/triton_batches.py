"""Random batches for the Triton kernels and their twins."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ringroad.kernels.triton.batch import Draws, Guesses, Step, ancestry
from tests import reference


@dataclass(frozen=True)
class Case:
    """A session: its cached places and the tree of its new tokens."""

    cached: int
    parents: Sequence[int]


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
    nodes = range(len(case.parents))
    return [
        [*range(case.cached), *(case.cached + n for n in reference.ancestors(case.parents, i))] for i in nodes
    ]


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
    lengths = [case.cached + len(case.parents) for case in cases]
    per_session = max(-(-length // block) for length in lengths)
    places = torch.randperm(len(cases) * per_session, generator=generator)
    table = ints(places.tolist()).view(len(cases), per_session)
    pool = torch.full((len(places), 3, 2, kv_heads, block, dim), math.nan, dtype=dtype)
    for session, length in enumerate(lengths):
        fresh = torch.randn(2, kv_heads, per_session * block, dim, generator=generator).to(dtype)
        fresh[:, :, length:] = math.nan
        pool[table[session].long(), 1] = fresh.unflatten(2, (-1, block)).permute(2, 0, 1, 3, 4)
    counts = [len(case.parents) for case in cases]
    words = -(-max(counts) // 64)
    return Batch(
        query=torch.randn(sum(counts), heads, dim, generator=generator).to(dtype),
        keys=pool[:, 1, 0],
        values=pool[:, 1, 1],
        step=Step(
            first=edges(counts),
            cached=ints([case.cached for case in cases]),
            table=table,
            seen=torch.cat([ancestry(case.parents, words) for case in cases]),
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
