"""The keys and values of sessions, dealt to the ranks of a ring by position.

Every rank keeps the books of all ranks, each over the memory that it has or would have: told the same, all
decide alike without asking each other.
"""

from collections.abc import Sequence

import torch

from ringroad.actors.engine.cache import Cache
from ringroad.actors.engine.pool import BLOCK, Pool
from ringroad.actors.engine.weights import Shape
from ringroad.actors.errors import CacheFull
from ringroad.kernels.ring.layout import Layout, alone, dealt

ELSEWHERE = torch.device("meta")  # other ranks' memory: it has a shape and no numbers


class Pools:
    """A pool for each rank."""

    def __init__(
        self, shape: Shape, dtype: torch.dtype, device: torch.device, max_bytes: int, rank: int, ranks: int
    ) -> None:
        """Every rank's keys and values take at most `max_bytes`; those of `rank` are here, on `device`."""
        self.each = [
            Pool(shape, dtype, device if each == rank else ELSEWHERE, max_bytes) for each in range(ranks)
        ]
        self._turn = -1  # of the last text that one rank has

    @property
    def held(self) -> int:
        """Blocks that sessions hold."""
        return sum(pool.held for pool in self.each)

    @property
    def idle(self) -> int:
        """Blocks that nobody holds, kept for a text with the same beginning."""
        return sum(pool.idle for pool in self.each)

    @property
    def capacity(self) -> int:
        """Blocks that the longest text may have, which all ranks share."""
        # One block at each rank is for guesses, all of which may be one rank's.
        return len(self.each) * (self.each[0].capacity - 1) + 1

    def shards(self, together: bool) -> "Shards":
        """Room for a text: `together` on all ranks, or on one of them in turn."""
        if together and len(self.each) > 1:
            return Shards(self.each, dealt(len(self.each), BLOCK), b"ring")
        self._turn += 1
        return Shards(self.each, alone(self._turn % len(self.each), len(self.each)), b"")


class Shards:
    """One session's keys and values: at each rank those of the positions that it owns.

    A branch of a tree lies where its positions belong, so that what stays of it is where it should be.
    """

    def __init__(self, pools: Sequence[Pool], layout: Layout, root: bytes) -> None:
        """`root`: names the layout, since texts of another one have other last bits: their attention is
        merged from other parts. Empty where one rank has everything."""
        self.length = 0
        self.root = root
        self.layout = layout
        self.parts = [Cache(pool) for pool in pools]
        self._pools = pools
        self._owners: list[int] = []  # of the tokens of the last step

    @property
    def holder(self) -> int | None:
        """The rank that has everything; None where all share it."""
        return None if self.root else self.layout.owner(0)

    def owners(self, positions: Sequence[int]) -> list[int]:
        """The ranks of some positions."""
        return [self.layout.owner(position) for position in positions]

    def make_room(self, positions: Sequence[int]) -> None:
        """As Kept."""
        owners = self.owners(positions)
        try:
            for rank, part in enumerate(self.parts):
                part.reserve(part.length + owners.count(rank))
        except CacheFull:
            for part in self.parts:
                part.truncate(part.length)
            raise

    def advance(self, positions: Sequence[int]) -> None:
        """As Kept."""
        self._owners = self.owners(positions)
        for rank, part in enumerate(self.parts):
            part.length += self._owners.count(rank)
        self.length += len(positions)

    def keep(self, start: int, path: Sequence[int]) -> None:
        """As Kept; `path` is of the last step's tokens."""
        for rank, part in enumerate(self.parts):
            own = [node for node, owner in enumerate(self._owners) if owner == rank]
            places = {node: place for place, node in enumerate(own)}
            part.keep(part.length - len(own), [places[node] for node in path if node in places])
        self._owners = [self._owners[node] for node in path]
        self.length = start + len(path)

    def truncate(self, length: int) -> None:
        """As Kept."""
        self.length = length
        for rank, part in enumerate(self.parts):
            part.truncate(self.layout.count(rank, length))

    def beside(self, other: "Shards") -> bool:
        """As Kept."""
        return None in (self.holder, other.holder) or self.holder == other.holder

    def find(self, index: int, key: bytes) -> int | None:
        """As Kept."""
        return self._pools[self.layout.owner(index * BLOCK)].find(key)

    def publish(self, index: int, key: bytes, filled: int) -> None:
        """As Kept."""
        rank, place = self._at(index)
        self.parts[rank].publish(place, key, filled)

    def take_over(self, index: int, blocks: Sequence[int], length: int) -> None:
        """As Kept."""
        ranks = self.owners([(index + i) * BLOCK for i in range(len(blocks))])
        first = [self.layout.count(rank, index * BLOCK) // BLOCK for rank in range(len(self.parts))]
        for rank, part in enumerate(self.parts):
            own = [block for block, owner in zip(blocks, ranks, strict=True) if owner == rank]
            part.take_over(first[rank], own, self.layout.count(rank, length))
        self.length = length

    def _at(self, index: int) -> tuple[int, int]:
        """The rank of a block of the text, and its place in that rank's table."""
        return self.layout.owner(index * BLOCK), self.layout.local(index * BLOCK) // BLOCK
