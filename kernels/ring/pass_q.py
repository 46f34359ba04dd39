"""Queries go straight to every rank and partial attention straight back: for few rows over many keys."""

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from ringroad.kernels.ring.communicator import Communicator
from ringroad.kernels.ring.merge import Merge, Partial, merge, silent, unpacked, wide
from ringroad.kernels.ring.wire import Heads, Move


def pass_q(
    ring: Communicator,
    query: Tensor,
    rows: Sequence[int],
    attend: Callable[[Tensor, int], Partial],
    merged: Merge = merge,
) -> Partial:
    """This rank's rows over the keys of all ranks.

    query [rows[rank], heads, dim]; rows of every rank; attend(queries, owner) = that rank's queries over own
    keys, not called for no rows. Raises RingBroken.
    """
    ranks, rank = ring.ranks, ring.rank
    _, heads, dim = query.shape
    theirs = {}
    for step in range(1, ranks):
        to, source = (rank + step) % ranks, (rank - step) % ranks
        theirs[source] = query.new_empty(rows[source], heads, dim)
        ring.send_recv(query, to, theirs[source], source)
    ring.commit()
    parts = {rank: attend(query, rank) if len(query) else silent(0, heads, dim, query)}
    ring.wait()
    for step in range(1, ranks):
        owner, source = (rank + step) % ranks, (rank - step) % ranks
        answer = attend(theirs[owner], owner).packed() if rows[owner] else None
        coming = query.new_empty(len(query), heads, dim + 1, dtype=wide(query.dtype))
        parts[source] = unpacked(coming)
        ring.send_recv(answer, owner, coming, source)
        ring.commit()
    ring.wait()
    return merged([parts[source] for source in range(ranks)])


def moves(rows: Sequence[int], heads: Heads) -> Iterator[Move]:
    """What is sent, for so many `rows` of each rank."""
    ranks = len(rows)
    for step in range(1, ranks):
        for rank in range(ranks):
            owner = (rank + step) % ranks
            if rows[rank]:
                yield Move(rank, owner, rows[rank] * heads.query_bytes, 0, 1)
            if rows[owner]:
                yield Move(rank, owner, rows[owner] * heads.partial_bytes, step + 1, ranks + 1)
