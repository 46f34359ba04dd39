"""Keys and values go round, queries stay (ring attention: Liu et al. 2023, section 3)."""

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from ringroad.kernels.ring.communicator import Communicator
from ringroad.kernels.ring.merge import Merge, Partial, merge
from ringroad.kernels.ring.wire import Heads, Move


def pass_kv(
    ring: Communicator,
    mine: Tensor,
    sizes: Sequence[int],
    attend: Callable[[Tensor, int], Partial],
    merged: Merge = merge,
) -> Partial:
    """This rank's rows over the keys of all ranks.

    mine [2, n, ...]: this rank's keys and values, one by one or in blocks; sizes: n of every rank; attend(
    keys and values, owner) = own queries over that rank's keys, also where there are none. Raises RingBroken.
    """
    ranks, rank = ring.ranks, ring.rank
    held, parts = mine, {}
    for step in range(ranks):
        owner, following = (rank - step) % ranks, (rank - step - 1) % ranks
        last = step == ranks - 1
        coming = mine.new_empty(2, 0 if last else sizes[following], *mine.shape[2:])
        if not last:
            ring.send_recv(held, (rank + 1) % ranks, coming, (rank - 1) % ranks)
            ring.commit()
        parts[owner] = attend(held, owner)
        ring.wait()
        held = coming
    return merged([parts[owner] for owner in range(ranks)])


def moves(sizes: Sequence[int], heads: Heads) -> Iterator[Move]:
    """What is sent, for `sizes` keys at each rank."""
    ranks = len(sizes)
    for step in range(ranks - 1):
        for rank in range(ranks):
            count = sizes[(rank - step) % ranks]
            if count:
                yield Move(rank, (rank + 1) % ranks, count * heads.key_value_bytes, step, step + 1)
