"""Queries go round, partial attention straight to their owner, keys stay (TokenRing: Wang et al. 2024)."""

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from ringroad.kernels.ring.communicator import Communicator
from ringroad.kernels.ring.merge import Merge, Partial, merge, silent, unpacked
from ringroad.kernels.ring.wire import Heads, Move

Needed = Sequence[Sequence[int]]  # [i][j]: how many of rank i's rows, its last ones, see keys of rank j


def token_ring(
    ring: Communicator,
    back: Communicator,
    query: Tensor,
    needed: Needed,
    attend: Callable[[Tensor, int], Partial],
    merged: Merge = merge,
) -> Partial:
    """This rank's rows over the keys of all ranks.

    query [rows, heads, dim], by position; needed: of every rank; attend(queries, owner) = that rank's last so
    many queries over own keys, not called for none. `back` is a second communicator of the same ranks. Only
    rows that somebody further on needs go on. Raises RingBroken.
    """
    ranks, rank = ring.ranks, ring.rank
    rows, heads, dim = query.shape
    held, parts = query, {}
    for step in range(ranks):
        owner, source = (rank + step) % ranks, (rank - step) % ranks
        on, next_on = (_carried(needed, who, step + 1) for who in (owner, (owner + 1) % ranks))
        coming = query.new_empty(next_on, heads, dim)
        ring.send_recv(_last(held, on), (rank - 1) % ranks, coming, (rank + 1) % ranks)
        ring.commit()
        seeing = _last(held, needed[owner][rank])
        part = attend(seeing, owner) if len(seeing) else silent(0, heads, dim, query)
        parts[source] = silent(rows, heads, dim, query).packed()
        answered = _last(parts[source], needed[rank][source])
        if source == rank:
            answered.copy_(part.packed())
        else:
            back.send_recv(part.packed(), owner, answered, source)
            back.commit()
        ring.wait()
        held = coming
    back.wait()
    return merged([unpacked(parts[source]) for source in range(ranks)])


def moves(needed: Needed, heads: Heads) -> Iterator[Move]:
    """What is sent, where so many rows are `needed`: queries in steps, partials after them."""
    ranks = len(needed)
    for step in range(ranks):
        for rank in range(ranks):
            owner = (rank + step) % ranks
            on, count = _carried(needed, owner, step + 1), needed[owner][rank]
            if on:
                yield Move(rank, (rank - 1) % ranks, on * heads.query_bytes, step, step + 1)
            if count and owner != rank:
                yield Move(rank, owner, count * heads.partial_bytes, step + 1, ranks + 1)


def _carried(needed: Needed, owner: int, step: int) -> int:
    """How many of a rank's rows are somewhere at `step`: as many as anyone from there on needs."""
    ranks = len(needed)
    return max((needed[owner][(owner - later) % ranks] for later in range(step, ranks)), default=0)


def _last(rows: Tensor, count: int) -> Tensor:
    return rows[len(rows) - count :]
