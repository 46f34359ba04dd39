"""The small layers of a Llama-family decoder, each row by itself."""

import torch
from torch import Tensor


def rms_norm(rows: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Root-mean-square norm over the last dimension, in fp32 inside (Zhang & Sennrich 2019)."""
    wide = rows.float()
    scaled = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (scaled * weight).to(rows.dtype)


def rotary_table(length: int, dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines of rotary position embedding: two [length, 1, dim] fp32 (Su et al. 2021)."""
    frequency = 1.0 / (theta ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim))
    angle = torch.outer(torch.arange(length, dtype=torch.float32), frequency)
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([cos, cos], -1).unsqueeze(1), torch.cat([-sin, sin], -1).unsqueeze(1)


def rotate(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns heads [count, heads, dim] by their positions' rows of `rotary_table`; halves form the pairs."""
    swapped = heads.roll(heads.shape[-1] // 2, -1)
    return (heads * cos + swapped * sin).to(heads.dtype)


def gated(gate_up: Tensor) -> Tensor:
    """silu(gate) * up of a fused projection [rows, 2 * width] (Shazeer 2020)."""
    gate, up = gate_up.chunk(2, -1)
    return torch.nn.functional.silu(gate) * up
