"""The keys and values of one session: a table of blocks that grows as it needs, rolls back exactly."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from ringroad.actors.engine.pool import BLANK, BLOCK, Pool
from ringroad.actors.errors import CacheFull
from ringroad.kernels.attention import span


class Kept(Protocol):
    """The keys and values of one session, wherever they are."""

    length: int  # tokens that are kept
    root: bytes  # names what stands before the first block: texts of one root have the same bits

    def make_room(self, positions: Sequence[int]) -> None:
        """Room for new tokens, of these positions in their text. Raises CacheFull, then nothing changed."""

    def advance(self, positions: Sequence[int]) -> None:
        """Keeps the tokens that a step has written, of these positions."""

    def keep(self, start: int, path: Sequence[int]) -> None:
        """Keeps `start` tokens and, of those written behind them, only `path`, in its order."""

    def truncate(self, length: int) -> None:
        """Rolls back to the first `length` tokens and lets go of the blocks behind them."""

    def beside(self, other: Any) -> bool:
        """Whether what another one of the kind lets go of may serve this one."""

    def find(self, index: int, key: bytes) -> int | None:
        """The block known by a key, for the place `index` in the text's blocks."""

    def publish(self, index: int, key: bytes, filled: int) -> None:
        """Makes the block at `index` known by the key of its first `filled` tokens."""

    def take_over(self, index: int, blocks: Sequence[int], length: int) -> None:
        """Holds known blocks from `index` on, in place of what stood there. `length` tokens are kept then."""


class Cache:
    """Keys and values of `length` tokens, and room behind them for the tokens of a step."""

    root = b""  # keys and values here depend on tokens alone

    def __init__(self, pool: Pool) -> None:
        self.length = 0
        self._pool = pool
        self._blocks: list[int] = []
        self._numbers: Tensor | None = None
        self._table: Tensor | None = None
        self._rows: Tensor | None = None  # of one layer, as `_gathered` reads them

    @property
    def pool(self) -> Pool:
        """Where the blocks are."""
        return self._pool

    @property
    def places(self) -> int:
        """Tokens there is memory for."""
        return len(self._blocks) * BLOCK

    def reserve(self, tokens: int) -> None:
        """Makes room for `tokens` in all, those from `length` on to be written: a block that others
        read as well is copied first. Raises CacheFull, then nothing has changed."""
        try:
            self._own(self.length, tokens)
        except CacheFull:
            self.truncate(self.length)
            raise

    def make_room(self, positions: Sequence[int]) -> None:
        """As Kept."""
        self.reserve(self.length + len(positions))

    def advance(self, positions: Sequence[int]) -> None:
        """As Kept."""
        self.length += len(positions)

    def beside(self, other: "Cache") -> bool:
        """As Kept."""
        return other._pool is self._pool

    def find(self, index: int, key: bytes) -> int | None:
        """As Kept."""
        return self._pool.find(key)

    def write(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """As `put`. Returns all keys and values that attention reads, those included: [kv_heads, span,
        head_dim], a copy."""
        self.put(layer, key, value)
        return self._gathered(layer, span(self.length + len(key)))

    def put(self, layer: int, key: Tensor, value: Tensor) -> None:
        """Puts key and value [rows, kv_heads, head_dim] behind what is kept, without keeping them yet."""
        end = self.length + len(key)
        rows = torch.stack([key, value]).transpose(1, 2)  # [2, kv_heads, rows, head_dim]
        at = self.length
        while at < end:
            offset = at % BLOCK
            stop = min(end, at - offset + BLOCK)
            block = self._pool.data[self._blocks[at // BLOCK], layer]
            block[:, :, offset : offset + stop - at] = rows[:, :, at - self.length : stop - self.length]
            at = stop

    def blocks(self) -> Tensor:
        """The blocks' numbers: [places / BLOCK] int32 on the CPU."""
        if self._numbers is None:
            self._numbers = torch.tensor(self._blocks, dtype=torch.int32)
        return self._numbers

    def table(self) -> Tensor:
        """Where the blocks lie in a CPU's memory: addresses [places / BLOCK] int64."""
        if self._table is None:
            self._table = self.blocks().long() * self._pool.block_bytes + self._pool.data.data_ptr()
        return self._table

    def part(self, blocks: Sequence[int]) -> "Cache":
        """The same cache with only these of its full blocks, for one pass, which writes where it would here.

        Its places are counted as if the others were not there. It holds no block: to be read and written
        as far as this one has reserved, and for nothing else.
        """
        full = self.length // BLOCK
        part = Cache(self._pool)
        part._blocks = [*(self._blocks[block] for block in blocks), *self._blocks[full:]]
        part.length = self.length - (full - len(blocks)) * BLOCK
        return part

    def keep(self, start: int, path: Sequence[int]) -> None:
        """Keeps `start` tokens and, of those written behind them, only `path`, in its order."""
        end = start + len(path)
        if any(node != i for i, node in enumerate(path)):
            self._own(start, end)
            data = self._pool.data
            source = self._slots(torch.tensor([start + node for node in path]))
            target = self._slots(torch.arange(start, end))
            moved = data[source[0], :, :, :, source[1]]  # a copy, as the two may overlap
            data[target[0], :, :, :, target[1]] = moved
        self.length = end

    def truncate(self, length: int) -> None:
        """Rolls back to the first `length` tokens and lets go of the blocks behind them."""
        self.length = length
        kept = -(-length // BLOCK)
        if kept >= len(self._blocks):
            return  # and what is known of their places stands: a step's work must not grow with the text
        for block in reversed(self._blocks[kept:]):  # last first: so they are evicted, too
            self._pool.drop(block)
        self._replace(kept, [])

    def publish(self, index: int, key: bytes, filled: int) -> None:
        """As Kept."""
        known = self._pool.publish(key, self._blocks[index], filled)
        if known != self._blocks[index]:
            self._blocks[index] = known
            self._changed()

    def take_over(self, index: int, blocks: Sequence[int], length: int) -> None:
        """Holds known blocks from `index` on, in place of what stood there. `length` tokens are kept then."""
        for block in blocks:
            self._pool.hold(block)
        self.truncate(min(self.length, index * BLOCK))
        self._replace(index, blocks)
        self.length = length

    def _slots(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """The blocks in which places lie, and where in them: of the places' size, on the pool's device."""
        blocks, device = self.blocks().long()[places // BLOCK], self._pool.data.device
        return blocks.to(device), (places % BLOCK).to(device)

    def _own(self, start: int, stop: int) -> None:
        """Makes the places from `start` to `stop` writable."""
        for index in range(start // BLOCK, -(-stop // BLOCK)):
            if index == len(self._blocks):
                self._replace(index, [self._pool.take()])
                continue
            owned = self._pool.own(self._blocks[index])
            if owned != self._blocks[index]:
                self._blocks[index] = owned
                self._changed()

    def _replace(self, index: int, blocks: Sequence[int]) -> None:
        self._blocks[index:] = blocks
        self._changed()

    def _changed(self) -> None:
        self._numbers = self._table = self._rows = None

    def _gathered(self, layer: int, reach: int) -> tuple[Tensor, Tensor]:
        layers, _, kv_heads, _, head_dim = self._pool.data.shape[1:]
        if self._rows is None or self._rows.shape[1] != reach // BLOCK:
            blocks = torch.full((reach // BLOCK,), BLANK)
            blocks[: len(self._blocks)] = self.blocks()[: len(blocks)]
            rows = blocks * (layers * 2 * kv_heads) + torch.arange(2 * kv_heads).unsqueeze(1)
            self._rows = rows.to(self._pool.data.device)
        rows = self._rows + layer * 2 * kv_heads  # [2 * kv_heads, blocks]
        found = self._pool.data.view(-1, BLOCK, head_dim).index_select(0, rows.view(-1))
        keys, values = found.view(2, kv_heads, reach, head_dim)
        return keys, values


Holds = TypeVar("Holds", bound=Kept, covariant=True)


@dataclass(frozen=True)
class Span(Generic[Holds]):
    """The rows of one session in a step, and what they may look at."""

    cache: Holds
    start: int  # first row
    stop: int
    parents: Sequence[int] | None = None  # of each row, counted from start; None is a chain
