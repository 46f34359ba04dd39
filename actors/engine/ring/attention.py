"""Attention of a step's rows over keys that lie at all ranks.

Every rank knows the whole step, so what a row may see is known everywhere, and only queries, keys and values,
and partial attention travel. Keys are counted in their order at each rank and partials merged in the order
of ranks: which schedule moves them, and what else is in the step, does not enter a row's bits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ringroad.actors.engine.cache import Span
from ringroad.actors.engine.ring.shards import Shards
from ringroad.kernels.attention import visible
from ringroad.kernels.ring.blocks import attend
from ringroad.kernels.ring.merge import Partial, silent

# Of own queries [rows, heads, dim], and own keys and values [2, n, kv_heads, dim]: what the queries see at
# all ranks.
Around = Callable[[Tensor, Tensor], Partial]


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

    def mask(self, owner: int, rank: int) -> Tensor:
        """Which keys of a rank the rows of another see: all that was kept, and new ones."""
        new = self.sees[self._own(owner)][:, self._own(rank)]
        return torch.nn.functional.pad(new, (self.cache.parts[rank].length, 0), value=True)

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


class Together:
    """Sessions of a step whose rows and keys are gone through at once, as one text after another."""

    def __init__(self, sessions: Sequence[Dealt], ranks: int) -> None:
        self.sessions = sessions
        self._masks: dict[tuple[int, int, int], Tensor] = {}
        self.rows = [[row for each in sessions for row in each.rows[rank]] for rank in range(ranks)]
        self.sizes = [sum(each.keys(rank) for each in sessions) for rank in range(ranks)]

    def written(self, layer: int, rank: int, key: Tensor, value: Tensor) -> Tensor:
        """Writes a rank's own new keys and values [rows, kv_heads, dim]; returns all that it has, text after
        text: [2, n, kv_heads, dim]."""
        parts, at = [key.new_empty(2, 0, *key.shape[1:])], 0
        for each in self.sessions:
            stop = at + len(each.rows[rank])
            if each.keys(rank):
                sides = each.cache.parts[rank].write(layer, key[at:stop], value[at:stop])
                parts.append(torch.stack(sides)[:, :, : each.keys(rank)].transpose(1, 2))
            at = stop
        return torch.cat(parts, 1)

    def seen(self, query: Tensor, held: Tensor, owner: int, rank: int) -> Partial:
        """What the rows of one rank see of the keys and values of another, text after text; or, of a single
        text, its last rows."""
        parts, row, at = [silent(0, query.shape[1], query.shape[2], query)], 0, 0
        for number, each in enumerate(self.sessions):
            stop, end = row + min(len(each.rows[owner]), len(query) - row), at + each.keys(rank)
            mask = self._mask(number, owner, rank)[len(each.rows[owner]) - (stop - row) :]
            parts.append(attend(query[row:stop], held[0, at:end], held[1, at:end], mask))
            row, at = stop, end
        return Partial(torch.cat([part.out for part in parts]), torch.cat([part.lse for part in parts]))

    def _mask(self, number: int, owner: int, rank: int) -> Tensor:
        at = (number, owner, rank)
        if at not in self._masks:  # the same at every layer
            self._masks[at] = self.sessions[number].mask(owner, rank)
        return self._masks[at]


class RingAttention:
    """One step's attention, as `Model.attended` calls it at every layer with this rank's rows."""

    def __init__(self, rank: int, joint: Together, around: Around) -> None:
        self._rank, self._joint, self._around = rank, joint, around

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """query [rows, heads, dim]; key, value [rows, kv_heads, dim]. Returns [rows, heads * dim]."""
        held = self._joint.written(layer, self._rank, key, value)
        return self._around(query, held).out.to(query.dtype).flatten(1)
