"""The small layers of a Llama-family decoder, each row by itself."""

import math

import torch
from torch import Tensor

from ringroad.kernels.scaling import Divided, Linear, Llama3, Scaling, Yarn

PIECE = 4096  # positions


def rms_norm(rows: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Root-mean-square norm over the last dimension, in fp32 inside (Zhang & Sennrich 2019)."""
    wide = rows.float()
    scaled = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (scaled * weight).to(rows.dtype)


def frequencies(dim: int, theta: float, scaling: Scaling | None = None) -> Tensor:
    """How far a position turns each pair of a head: [dim / 2] fp32, radians."""
    wave = theta ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)  # positions to a radian
    plain = 1.0 / wave
    match scaling:
        case Linear(factor):
            return plain / factor
        case Yarn():
            return _yarn(wave, dim, theta, scaling)
        case Llama3():
            return _llama3(plain, scaling)
        case Divided(by):
            return plain / torch.tensor(by, dtype=torch.float32)
        case None:
            return plain


def rotary_table(
    length: int, dim: int, theta: float, scaling: Scaling | None = None
) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines of rotary position embedding: two [length, 1, dim] fp32 (Su et al. 2021)."""
    frequency = frequencies(dim, theta, scaling)
    size = scaling.magnitude if isinstance(scaling, Yarn) else 1.0
    cosines, sines = torch.empty(length, 1, dim), torch.empty(length, 1, dim)
    # A piece at a time: of a long table the whole in between would take three times its memory.
    for start in range(0, length, PIECE):
        piece = slice(start, min(start + PIECE, length))
        angle = torch.outer(torch.arange(piece.start, piece.stop, dtype=torch.float32), frequency)
        cos, sin = angle.cos() * size, angle.sin() * size
        cosines[piece, 0] = torch.cat([cos, cos], -1)
        sines[piece, 0] = torch.cat([-sin, sin], -1)
    return cosines, sines


def rotate(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns heads [count, heads, dim] by their positions' rows of `rotary_table`; halves form the pairs."""
    swapped = heads.roll(heads.shape[-1] // 2, -1)
    return (heads * cos + swapped * sin).to(heads.dtype)


def gated(gate_up: Tensor) -> Tensor:
    """silu(gate) * up of a fused projection [rows, 2 * width] (Shazeer 2020)."""
    gate, up = gate_up.chunk(2, -1)
    return torch.nn.functional.silu(gate) * up


def _yarn(wave: Tensor, dim: int, theta: float, yarn: Yarn) -> Tensor:
    def pair(turns: float) -> float:
        """Which pair turns so often over the original tokens."""
        return dim * math.log(yarn.original / (turns * 2 * math.pi)) / (2 * math.log(theta))

    first, last = pair(yarn.fast), pair(yarn.slow)
    if yarn.whole:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, dim - 1)
    if first == last:
        last += 0.001  # a step in place of a ramp
    stays = 1 - ((torch.arange(dim // 2, dtype=torch.float32) - first) / (last - first)).clamp(0, 1)
    # In the order of transformers: at position 100,000 the last bit of a frequency is a hundredth radian.
    return 1.0 / (yarn.factor * wave) * (1 - stays) + 1.0 / wave * stays


def _llama3(plain: Tensor, llama: Llama3) -> Tensor:
    turns = llama.original / (2 * math.pi / plain)
    stays = ((turns - llama.low) / (llama.high - llama.low)).clamp(0, 1)
    return (1 - stays) * plain / llama.factor + stays * plain
