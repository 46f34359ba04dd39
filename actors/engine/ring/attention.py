"""Attention of a step's rows over keys that lie at all ranks.

Every rank knows the whole step, so what a row may see is known everywhere, and only queries, keys and values,
and partial attention travel. Keys are counted in their order at each rank and partials merged in the order
of ranks: which schedule moves them, and what else is in the step, does not enter a row's bits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn.functional import pad

from ringroad.actors.engine.cache import Span
from ringroad.actors.engine.pool import BLOCK
from ringroad.actors.engine.ring.shards import Shards
from ringroad.kernels.attention import visible
from ringroad.kernels.ring.blocks import attend_paged
from ringroad.kernels.ring.merge import Merge, Partial, merge, silent
from ringroad.kernels.triton.batch import WORD, Step, marked
from ringroad.kernels.triton.decoder import fits
from ringroad.kernels.triton.select import TWINS, Kernels

# Of a layer and own queries [rows, heads, dim]: what these see at all ranks.
Around = Callable[[int, Tensor], Partial]


@dataclass(frozen=True)
class Dealt:
    """The rows of one session in a step, at their ranks."""

    cache: Shards
    rows: list[list[int]]  # of each rank: rows of the step
    start: int  # the session's first
    chain: bool  # and no tree
    sees: Tensor  # [rows, rows] bool: which of the session's new tokens each sees

    def keys(self, rank: int) -> int:
        """How many keys a rank has, the new ones included."""
        return self.cache.parts[rank].length + len(self.rows[rank])

    def blocks(self, rank: int) -> int:
        """In how many blocks it has them."""
        return -(-self.keys(rank) // BLOCK)

    def new(self, owner: int, rank: int) -> Tensor:
        """Which new keys of a rank the rows of another see: [rows, keys] bool."""
        return self.sees[self._own(owner)][:, self._own(rank)]

    def _own(self, rank: int) -> list[int]:
        return [row - self.start for row in self.rows[rank]]


def deal(span: Span[Shards], positions: Sequence[int]) -> Dealt:
    """The rows of a span, which have these positions, at their ranks."""
    count = span.stop - span.start
    rows: list[list[int]] = [[] for _ in span.cache.parts]
    for row, owner in enumerate(span.cache.owners(positions), span.start):
        rows[owner].append(row)
    parents = None if span.parents is None else list(span.parents)
    sees = visible(0, parents, count, torch.float32)[:, :count] == 0
    return Dealt(span.cache, rows, span.start, parents is None, sees)


@dataclass(frozen=True)
class Backend:
    """What computes attention over one rank's blocks, and makes one of several."""

    attend: Callable[[Tensor, Tensor, Tensor, Step], tuple[Tensor, Tensor]]  # as `twins.attend`
    merge: Merge


def backend(kernels: Kernels | None, head_dim: int) -> Backend:
    """By the kernels of a model's device, which a CPU may go without."""
    if kernels is None:
        return Backend(attend_paged, merge)
    chosen = kernels if fits(head_dim) else TWINS
    return Backend(chosen.attend, _merging(chosen))


def _merging(kernels: Kernels) -> Merge:
    def merged(parts: Sequence[Partial]) -> Partial:
        outs, lses = [part.out for part in parts], [part.lse for part in parts]
        return Partial(*kernels.merge(torch.stack(outs), torch.stack(lses)))

    return merged


class Together:
    """Sessions of a step whose rows and keys are gone through at once, as one text after another."""

    def __init__(self, sessions: Sequence[Dealt], rank: int, ranks: int, backend: Backend) -> None:
        self.sessions, self.merge = sessions, backend.merge
        self.rows = [[row for each in sessions for row in each.rows[rank]] for rank in range(ranks)]
        self.sizes = [sum(each.keys(rank) for each in sessions) for rank in range(ranks)]
        self.blocks = [sum(each.blocks(rank) for each in sessions) for rank in range(ranks)]
        self._rank, self._attend = rank, backend.attend
        self._steps: dict[tuple[int, int, int, bool], Step] = {}

    def write(self, layer: int, key: Tensor, value: Tensor) -> None:
        """Writes a rank's own new keys and values [rows, kv_heads, dim]."""
        at = 0
        for each in self.sessions:
            stop = at + len(each.rows[self._rank])
            each.cache.parts[self._rank].put(layer, key[at:stop], value[at:stop])
            at = stop

    def held(self, layer: int) -> Tensor:
        """This rank's keys and values where they lie: [2, blocks, kv_heads, BLOCK, dim]."""
        return self.sessions[0].cache.parts[self._rank].pool.data[:, layer].transpose(0, 1)

    def message(self, layer: int) -> Tensor:
        """Those of these sessions, to be sent, in the same shape."""
        held = self.held(layer)
        own = torch.cat([self._table(each, self._rank, 0, moved=False) for each in self.sessions])
        return torch.stack([side.index_select(0, own.to(side.device)) for side in held])

    def seen(self, query: Tensor, held: Tensor, owner: int, rank: int, moved: bool = False) -> Partial:
        """What the rows of one rank see of what another has, where it lies or `moved`: text after text; or,
        of a single text, its last rows."""
        if not len(query) or not self.sizes[rank]:
            return silent(len(query), query.shape[1], query.shape[2], query)
        at = (owner, rank, len(query), moved)
        if at not in self._steps:  # the same at every layer
            self._steps[at] = self._step(*at)
        return Partial(*self._attend(query, held[0], held[1], self._steps[at]))

    def _step(self, owner: int, rank: int, count: int, moved: bool) -> Step:
        sessions = self.sessions
        rows = [len(each.rows[owner]) for each in sessions]
        new = [each.new(owner, rank) for each in sessions]
        if len(sessions) == 1:
            rows, new = [count], [new[0][len(new[0]) - count :]]
        words = -(-max(each.shape[1] for each in new) // WORD)
        most = WORD << max(words - 1, 0).bit_length()  # a kernel is compiled for a number of words
        starts = accumulate((each.blocks(rank) for each in sessions), initial=0)
        tables = [
            self._table(each, rank, start, moved) for each, start in zip(sessions, starts, strict=False)
        ]
        width = max(map(len, tables))
        device = sessions[0].cache.parts[self._rank].pool.data.device

        def ints(numbers: Sequence[int]) -> Tensor:
            return torch.tensor(numbers, dtype=torch.int32, device=device)

        return Step(
            first=ints([0, *accumulate(rows)]),
            cached=ints([each.cache.parts[rank].length for each in sessions]),
            new=ints([len(each.rows[rank]) for each in sessions]),
            table=torch.stack([pad(table, (0, width - len(table))) for table in tables]).to(device),
            seen=torch.cat([marked(pad(each, (0, most - each.shape[1]))) for each in new]).to(device),
            most_rows=max(rows),
            most_places=max(each.keys(rank) for each in sessions),
        )

    @staticmethod
    def _table(session: Dealt, rank: int, start: int, moved: bool) -> Tensor:
        """The blocks of a session at a rank: as they lie in its pool, or, moved, from `start` on."""
        count = session.blocks(rank)
        if moved:
            return torch.arange(start, start + count, dtype=torch.int32)
        return session.cache.parts[rank].blocks()[:count]


class RingAttention:
    """One step's attention, as `Model.attended` calls it at every layer with this rank's rows."""

    def __init__(self, joint: Together, around: Around) -> None:
        self._joint, self._around = joint, around

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """query [rows, heads, dim]; key, value [rows, kv_heads, dim]. Returns [rows, heads * dim]."""
        self._joint.write(layer, key, value)
        return self._around(layer, query).out.to(query.dtype).flatten(1)
