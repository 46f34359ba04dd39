"""Which rank owns which position of a session, as a pure function: masks and places never travel.

Positions are cut into chunks, and these are given to ranks forth and back (0 to W-1, W-1 to 0, ...), so that
a rank's early positions, which see little, are made up for by late ones that see much.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

Position = TypeVar("Position", int, Tensor)  # an int, or int64 of any shape


class Layout(Protocol):
    """A rank's positions are numbered in their order: these are their local places."""

    @property
    def ranks(self) -> int: ...

    def owner(self, position: Position) -> Position:
        """The rank that owns a position."""

    def local(self, position: Position) -> Position:
        """The place of a position among its owner's."""

    def count(self, rank: int, length: Position) -> Position:
        """How many of the first `length` positions a rank owns."""

    def positions(self, rank: int, start: int, stop: int) -> Tensor:
        """A rank's positions from `start` up to `stop`, ascending: [n] int64."""


@dataclass(frozen=True)
class Dealt:
    """Blocks of `block` positions dealt forth and back, for a text of any length."""

    ranks: int
    block: int

    def owner(self, position: Position) -> Position:
        return _fold(position // self.block, self.ranks)

    def local(self, position: Position) -> Position:
        return position // (self.ranks * self.block) * self.block + position % self.block

    def count(self, rank: int, length: Position) -> Position:
        lap = self.ranks * self.block
        laps, rest = length // lap, length % lap
        turn = _fold(laps * self.ranks + rank, self.ranks)  # folding twice changes nothing
        return laps * self.block + _within(rest - turn * self.block, self.block)

    def positions(self, rank: int, start: int, stop: int) -> Tensor:
        local = torch.arange(self.count(rank, start), self.count(rank, stop))
        lap = local // self.block
        turn = _fold(lap * self.ranks + rank, self.ranks)
        return (lap * self.ranks + turn) * self.block + local % self.block


@dataclass(frozen=True)
class Zigzag:
    """A text of known length in twice as many chunks as ranks; rank r owns chunks r and 2 * ranks - 1 - r.
    Their sizes differ by at most one."""

    length: int
    ranks: int

    def owner(self, position: Position) -> Position:
        return _fold(self._chunk(position), self.ranks)

    def local(self, position: Position) -> Position:
        chunk = self._chunk(position)
        rank = _fold(chunk, self.ranks)
        first = self._start(rank + 1) - self._start(rank)
        return position - self._start(chunk) + chunk // self.ranks * first

    def count(self, rank: int, length: Position) -> Position:
        (low, middle), (late, high) = self._chunks(rank)
        return _within(length - low, middle - low) + _within(length - late, high - late)

    def positions(self, rank: int, start: int, stop: int) -> Tensor:
        if stop > self.length:
            raise ValueError(f"no position of the first {self.length}: {stop - 1}")
        ends = [(max(low, start), min(high, stop)) for low, high in self._chunks(rank)]
        return torch.cat([torch.arange(low, max(low, high)) for low, high in ends])

    def _start(self, chunk: Position) -> Position:
        return chunk * self.length // (2 * self.ranks)

    def _chunk(self, position: Position) -> Position:
        if bool(torch.as_tensor((position < 0) | (position >= self.length)).any()):
            raise ValueError(f"no position of the first {self.length}: {position}")
        return ((position + 1) * 2 * self.ranks - 1) // self.length

    def _chunks(self, rank: int) -> list[tuple[int, int]]:
        """Where a rank's two chunks begin and end."""
        return [(self._start(c), self._start(c + 1)) for c in (rank, 2 * self.ranks - 1 - rank)]


@dataclass(frozen=True)
class Alone:
    """One rank owns everything."""

    rank: int
    ranks: int

    def owner(self, position: Position) -> Position:
        return position * 0 + self.rank

    def local(self, position: Position) -> Position:
        return position

    def count(self, rank: int, length: Position) -> Position:
        return length * int(rank == self.rank)

    def positions(self, rank: int, start: int, stop: int) -> Tensor:
        return torch.arange(start, stop if rank == self.rank else start)


def dealt(ranks: int, block: int) -> Layout:
    """Blocks dealt forth and back. Raises ValueError for fewer than one of either."""
    if ranks < 1 or block < 1:
        raise ValueError(f"no layout of {ranks} ranks with blocks of {block}")
    return Dealt(ranks, block)


def zigzag(length: int, ranks: int) -> Layout:
    """Two chunks a rank of a text of known length. Raises ValueError for less than one rank."""
    if ranks < 1 or length < 0:
        raise ValueError(f"no layout of {length} positions for {ranks} ranks")
    return Zigzag(length, ranks)


def alone(rank: int, ranks: int) -> Layout:
    """Everything is one rank's. Raises ValueError for a rank that is not there."""
    if not 0 <= rank < ranks:
        raise ValueError(f"no rank {rank} of {ranks}")
    return Alone(rank, ranks)


def work(layout: Layout, start: int, stop: int) -> list[list[int]]:
    """Causal work on new rows [start, stop): pairs of a query of rank i and a key of rank j that it sees,
    [i][j]. A row's sum is what rank i computes where keys travel, a column's what rank j does where queries
    travel."""
    return [[int(seen.sum()) for seen in line] for line in _seen(layout, start, stop)]


def needed(layout: Layout, start: int, stop: int) -> list[list[int]]:
    """How many of rank i's new rows [start, stop) see any key of rank j: its last ones, [i][j]."""
    return [[int((seen > 0).sum()) for seen in line] for line in _seen(layout, start, stop)]


def _seen(layout: Layout, start: int, stop: int) -> Iterator[Iterator[Tensor]]:
    """How many of rank j's keys each of rank i's new rows sees: [i][j][row]."""
    for i in range(layout.ranks):
        reach = layout.positions(i, start, stop) + 1  # a row sees its own key, too
        yield (layout.count(j, reach) for j in range(layout.ranks))


def _within(value: Position, most: int) -> Position:
    return min(max(value, 0), most) if isinstance(value, int) else value.clamp(0, most)


def _fold(chunk: Position, ranks: int) -> Position:
    """Forth and back: the rank whose turn a chunk is, and as well the turn of a rank in a chunk's lap."""
    turn = chunk % ranks
    return turn + chunk // ranks % 2 * (ranks - 1 - 2 * turn)
