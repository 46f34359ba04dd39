"""A residual stream and its norm in one pass, one program a row. Twin: `twins.add_norm`."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ringroad.kernels.triton.options import OPTIONS


@triton.jit
def norm_kernel(
    stream: tl.tensor,
    added: tl.tensor,
    weight: tl.tensor,
    out: tl.tensor,
    width: tl.tensor,
    eps: tl.tensor,
    ADDS: tl.constexpr,
    WIDTH: tl.constexpr,
) -> None:
    """stream [rows, width] += added, rounded to its dtype; out is the root-mean-square norm of the sum."""
    at = tl.program_id(0).to(tl.int64) * width + tl.arange(0, WIDTH)
    real = tl.arange(0, WIDTH) < width
    row = tl.load(stream + at, mask=real, other=0.0)
    if ADDS:
        row = (row.to(tl.float32) + tl.load(added + at, mask=real, other=0.0).to(tl.float32)).to(row.dtype)
        tl.store(stream + at, row, mask=real)
    wide = row.to(tl.float32)
    root = tl.sqrt_rn(tl.sum(wide * wide, 0) / width + eps)
    scaled = tl.div_rn(wide, root) * tl.load(weight + tl.arange(0, WIDTH), mask=real, other=0.0)
    tl.store(out + at, scaled.to(row.dtype), mask=real)


def add_norm(stream: Tensor, added: Tensor | None, weight: Tensor, eps: float) -> Tensor:
    """As `twins.add_norm`; all contiguous."""
    out = torch.empty_like(stream)
    rows, width = stream.shape
    norm_kernel[(rows,)](
        stream,
        stream if added is None else added,
        weight,
        out,
        width,
        eps,
        ADDS=added is not None,
        WIDTH=triton.next_power_of_2(width),
        **OPTIONS,
    )
    return out
