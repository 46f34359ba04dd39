"""The memory of all sessions' keys and values: blocks of tokens, counted, shared, kept for later.

Blocks of tokens with reference counts after PagedAttention (Kwon et al. 2023, sections 4.2 and 4.4).
"""

import math
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap

import torch
from torch import Tensor

from ringroad.actors.engine.weights import Shape
from ringroad.actors.errors import CacheFull
from ringroad.kernels.native import BLOCK as BLOCK  # tokens: one number here and in C

BLANK = 0  # a block that nobody writes: zeros, read where attention's span ends behind the last block


class Pool:
    """Blocks [layers, key or value, kv_heads, BLOCK, head_dim], each with its holders.

    A block may be known by a key that says all its tokens and those before them (`prefix.key`). Known
    blocks are never written; when the last holder lets go they stay, and make room longest unused first.
    """

    def __init__(self, shape: Shape, dtype: torch.dtype, device: torch.device, max_bytes: int) -> None:
        """Room for as many blocks as fit into `max_bytes`; a CPU's memory is used when first written."""
        block = (shape.layers, 2, shape.kv_heads, BLOCK, shape.head_dim)
        self.block_bytes = math.prod(block) * dtype.itemsize
        self.data = _zeros((1 + max_bytes // self.block_bytes, *block), dtype, device)
        self._fresh = BLANK + 1  # this block and all after it were never used
        self._free: list[int] = []
        self._holders: dict[int, int] = {}
        self._known: dict[bytes, int] = {}
        self._keys: dict[int, bytes] = {}
        self._filled: dict[int, int] = {}  # tokens that its key says
        self._idle: dict[int, None] = {}  # known and without holders, longest unused first

    @property
    def capacity(self) -> int:
        """Blocks there is room for."""
        return len(self.data) - 1

    @property
    def held(self) -> int:
        """Blocks that sessions hold."""
        return len(self._holders)

    @property
    def idle(self) -> int:
        """Blocks that nobody holds, kept for a text with the same beginning."""
        return len(self._idle)

    def take(self) -> int:
        """A block of zeros with one holder. Raises CacheFull where every block is held."""
        if self._fresh < len(self.data):
            block = self._fresh
            self._fresh += 1
        else:
            if not self._free:
                self._evict()
            block = self._free.pop()
            # Attention multiplies what it masks by zero: what another text left could be a NaN.
            self.data[block].zero_()
        self._holders[block] = 1
        return block

    def hold(self, block: int) -> None:
        """One more holder of a known block."""
        self._idle.pop(block, None)
        self._holders[block] = self._holders.get(block, 0) + 1

    def drop(self, block: int) -> None:
        """One holder fewer."""
        self._holders[block] -= 1
        if self._holders[block]:
            return
        del self._holders[block]
        if block in self._keys:
            self._idle[block] = None
        else:
            self._free.append(block)

    def own(self, block: int) -> int:
        """A block to write in place of this one, which the caller holds: itself, or a copy where others do.

        A block of the caller alone is not known any more. Raises CacheFull.
        """
        if self._holders[block] == 1:
            self._forget(block)
            return block
        copy = self.take()
        self.data[copy] = self.data[block]
        self.drop(block)
        return copy

    def find(self, key: bytes) -> int | None:
        """The block known by a key."""
        return self._known.get(key)

    def publish(self, key: bytes, block: int, filled: int) -> int:
        """Makes a block known by the key of its first `filled` tokens. The caller holds it and wrote these.

        Returns the block to hold in its place: itself or, of full ones, that which is known by this key
        already, whose bits are the same. A block that is known by more tokens keeps that name.
        """
        if self._filled.get(block, 0) >= filled:
            return block
        known = self._known.get(key)
        if known is None:
            self._forget(block)
            self._known[key], self._keys[block], self._filled[block] = block, key, filled
        elif filled == BLOCK:
            self.hold(known)
            self.drop(block)
            return known
        return block

    def _evict(self) -> None:
        oldest = next(iter(self._idle), None)
        if oldest is None:
            size = self.capacity * self.block_bytes / 1e9
            raise CacheFull(f"sessions hold all {self.capacity * BLOCK} tokens of the cache ({size:.2f} GB)")
        del self._idle[oldest]
        self._forget(oldest)
        self._free.append(oldest)

    def _forget(self, block: int) -> None:
        key = self._keys.pop(block, None)
        if key is not None:
            del self._known[key], self._filled[block]


def _zeros(sizes: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    if device.type != "cpu":
        return torch.zeros(sizes, dtype=dtype, device=device)
    # Straight from the system, which gives zeros page by page as they are touched: torch would
    # write them all at once.
    memory = mmap(-1, math.prod(sizes) * dtype.itemsize, flags=MAP_PRIVATE | MAP_ANONYMOUS)
    return torch.frombuffer(memory, dtype=dtype).view(sizes)
