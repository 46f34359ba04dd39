"""Heads of random weights: what tests of the learned router share."""

import torch
from torch import Tensor

from ringroad.kernels.head import TOPS, Sight

NARROW, INNER, WIDE, BUCKETS = 32, 64, 128, 50


def tensors(
    width: int, blocks: int = 2, seed: int = 0, scale: float = 0.2, inner: int = INNER
) -> dict[str, Tensor]:
    """A head for hidden states of a width, small enough that its doubts spread over [0, 1]."""
    generator = torch.Generator().manual_seed(seed)

    def some(*sizes: int) -> Tensor:
        return torch.randn(sizes, generator=generator) * scale

    found = {
        "token": some(BUCKETS, NARROW),
        "in.weight": some(inner, width + TOPS + NARROW),
        "in.bias": some(inner),
        "norm": 1.0 + some(inner),
        "out.weight": some(1, inner),
        "out.bias": some(1),
    }
    # What rows differ by: far tops fall alike, and would drown the rest.
    found["in.weight"][:, width : width + TOPS] *= 0.02
    found["out.weight"] *= 3.0
    for n in range(blocks):
        found |= {
            f"blocks.{n}.norm": 1.0 + some(inner),
            f"blocks.{n}.up.weight": some(WIDE, inner),
            f"blocks.{n}.up.bias": some(WIDE),
            f"blocks.{n}.down.weight": some(inner, WIDE),
            f"blocks.{n}.down.bias": some(inner),
        }
    return found


def sight(rows: int, width: int, seed: int = 0) -> Sight:
    generator = torch.Generator().manual_seed(seed)
    tops = torch.randn(rows, TOPS, generator=generator) * 5 + 20
    return Sight(
        torch.randn(rows, width, generator=generator).bfloat16(),
        tops.sort(descending=True).values,
        torch.randint(0, 10**5, (rows,), generator=generator),
    )
