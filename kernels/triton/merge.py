"""Merges partial attention, one program for a row of a head. Twin: `twins.merge`."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ringroad.kernels.triton.options import OPTIONS

PARTS = 16  # read at a time; of no account to the bits, since a part of no keys adds zeros


@triton.jit(do_not_specialize=["parts"])
def merge_kernel(
    outs: tl.tensor,
    lses: tl.tensor,
    out: tl.tensor,
    lse: tl.tensor,
    parts: tl.tensor,
    DIM: tl.constexpr,
    PARTS: tl.constexpr,
) -> None:
    """outs [parts, lines, DIM], lses [parts, lines] -> out [lines, DIM], lse [lines]: all fp32."""
    line = tl.program_id(0).to(tl.int64)
    lines = tl.num_programs(0)
    dims = tl.arange(0, DIM)
    top = tl.full((1,), float("-inf"), tl.float32)
    total = tl.zeros((1,), tl.float32)
    mixed = tl.zeros((DIM,), tl.float32)
    for start in range(0, parts, PARTS):
        part = start + tl.arange(0, PARTS)
        at = part * lines + line
        here = tl.load(lses + at, mask=part < parts, other=float("-inf"))
        higher = tl.maximum(top, tl.max(here, 0))
        base = tl.where(higher == float("-inf"), 0.0, higher)
        weight = tl.exp(here - base)
        piece = tl.load(outs + at[:, None] * DIM + dims, mask=weight[:, None] > 0, other=0.0)
        fade = tl.exp(top - base)
        total = total * fade + tl.sum(weight, 0)
        mixed = mixed * fade + tl.sum(weight[:, None] * piece, 0)
        top = higher
    some = tl.where(total == 0, 1.0, total)
    tl.store(out + line * DIM + dims, mixed / some)
    tl.store(lse + line + tl.arange(0, 1), tl.where(total == 0, float("-inf"), top + tl.log(some)))


def merge(outs: Tensor, lses: Tensor) -> tuple[Tensor, Tensor]:
    """As `twins.merge`; dim a power of two."""
    outs, lses = outs.contiguous(), lses.contiguous()
    out, lse = torch.empty_like(outs[0]), torch.empty_like(lses[0])
    merge_kernel[(lse.numel(),)](outs, lses, out, lse, len(outs), DIM=outs.shape[-1], PARTS=PARTS, **OPTIONS)
    return out, lse
