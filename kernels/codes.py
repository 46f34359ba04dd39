"""Weights that are few bits and a scale: as model files keep them, before anything is rounded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Codes:
    """A weight [out, in] whose entries are scale * code - minimum in fp32.

    Scales times codes must need no rounding: one that fuses both operations says the same.
    """

    codes: Tensor  # [out, in] int8; 0..15 where there are minima
    scale: Tensor  # [out, in / group] fp32
    minimum: Tensor | None = None  # the same; None: 0

    @property
    def bits(self) -> int:
        """How many a code needs: 4 or 8."""
        return 8 if self.minimum is None else 4

    def weight(self, dtype: torch.dtype) -> Tensor:
        """[out, in], what the codes stand for."""
        grouped = self.codes.view(*self.scale.shape, -1)
        values = self.scale.unsqueeze(-1) * grouped
        if self.minimum is not None:
            values = values - self.minimum.unsqueeze(-1)
        return values.view(self.codes.shape).to(dtype)

    def map(self, change: Callable[[Tensor], Tensor]) -> "Codes":
        """Another order of the outputs, or more of them, for all parts alike."""
        minimum = None if self.minimum is None else change(self.minimum)
        return Codes(change(self.codes), change(self.scale), minimum)

    def grouped(self, size: int) -> "Codes":
        """The same with groups of `size` inputs, into which the present ones divide."""
        times = self.codes.shape[1] // self.scale.shape[1] // size
        minimum = None if self.minimum is None else self.minimum.repeat_interleave(times, 1)
        return Codes(self.codes, self.scale.repeat_interleave(times, 1), minimum)


def joined(parts: Sequence[Codes]) -> Codes | None:
    """The outputs of one after those of another; None where they are not coded alike."""
    kinds = {(part.bits, part.codes.shape[1] // part.scale.shape[1]) for part in parts}
    if len(kinds) != 1:
        return None
    minima = [part.minimum for part in parts if part.minimum is not None]
    return Codes(
        torch.cat([part.codes for part in parts]),
        torch.cat([part.scale for part in parts]),
        torch.cat(minima) if minima else None,
    )
