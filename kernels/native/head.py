"""The learned token router as one call of C (head.c)."""

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from ringroad.kernels.native.library import Block, Head, address, checked, head_function
from ringroad.kernels.native.linear import Packed


class NativeHead:
    """The layers of `kernels.head.Head`, packed; the same bits."""

    def __init__(
        self,
        token: Tensor,
        first: Packed,
        blocks: Sequence[tuple[Tensor, Packed, Packed]],
        norm: Tensor,
        out: Packed,
        sizes: tuple[int, int],
        eps: float,
    ) -> None:
        """token [buckets, narrow] bf16; blocks of (norm fp32, up, down), all alike; sizes: of hidden states,
        and how many of their highest logits are read."""
        self._weights = token, first, blocks, norm, out  # what `_head` points into
        wide = blocks[0][1].descriptor.outputs if blocks else 0
        parts = [Block(address(each), up.descriptor, down.descriptor) for each, up, down in blocks]
        self._head = Head(
            *sizes,
            *token.shape,
            wide,
            len(blocks),
            eps,
            address(token),
            first.descriptor,
            (Block * len(parts))(*parts),
            address(norm),
            out.descriptor,
        )

    def doubts(self, hidden: Tensor, tops: Tensor, tokens: Tensor) -> Tensor:
        """[rows] fp32, of hidden [rows, width], tops [rows, tops] and tokens [rows] int64."""
        # Held by their names: C gets addresses only.
        hidden, tops = hidden.bfloat16().contiguous(), tops.float().contiguous()
        tokens, result = tokens.contiguous(), torch.empty(len(tokens))
        seen = address(hidden), address(tops), address(tokens)
        threads = torch.get_num_threads()
        code = head_function()(ctypes.byref(self._head), address(result), *seen, len(tokens), threads)
        checked(code)
        return result
