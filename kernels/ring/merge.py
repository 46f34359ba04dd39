"""What ranks say of a row's attention, each over its own keys, and how it becomes one."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Partial:
    """Attention over some of the keys. Where a row saw none of them, lse is -inf and out is not read."""

    out: Tensor  # [rows, heads, dim] fp32 or fp64
    lse: Tensor  # [rows, heads], of the same dtype; log-sum-exp of the scaled scores

    def packed(self) -> Tensor:
        """As one message: [rows, heads, dim + 1]."""
        return torch.cat([self.out, self.lse.unsqueeze(-1)], -1)


Merge = Callable[[Sequence[Partial]], Partial]


def unpacked(message: Tensor) -> Partial:
    """A Partial of the message that `packed` made, sharing its memory."""
    return Partial(message[..., :-1], message[..., -1])


def silent(rows: int, heads: int, dim: int, like: Tensor) -> Partial:
    """Attention over no keys, in the dtype that partials of queries `like` these have."""
    out = like.new_zeros(rows, heads, dim, dtype=wide(like.dtype))
    return Partial(out, out.new_full((rows, heads), -math.inf))


def wide(dtype: torch.dtype) -> torch.dtype:
    """What sums of numbers of a dtype are kept in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def merge(parts: Sequence[Partial]) -> Partial:
    """One attention from those over parts of the keys (Milakov & Gimelshein 2018, section 3.1).

    Parts are added in their order, number by number: a row's bits depend on neither other rows nor on parts
    that saw nothing, and one part alone stays as it is. Raises ValueError for no parts.
    """
    if not parts:
        raise ValueError("nothing to merge")
    top = torch.stack([part.lse for part in parts]).amax(0)
    base = top.masked_fill(top == -math.inf, 0.0)
    total, out = torch.zeros_like(base), torch.zeros_like(parts[0].out)
    for part in parts:
        weight = (part.lse - base).exp()
        total = total + weight
        weight = weight.unsqueeze(-1)
        out += weight * part.out.masked_fill(weight == 0, 0.0)
    return Partial(out / total.masked_fill(total == 0, 1.0).unsqueeze(-1), base + total.log())
