"""Weights that are few bits and a scale: as model files keep them, before anything is rounded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Nested:
    """Scales that are codes with a scale themselves: multiples of units, exact in fp32."""

    units: Tensor  # [out, in / block] fp16
    multiples: Tensor  # [out, in / group] int8

    def wide(self) -> Tensor:
        """[out, in / group] fp32."""
        grouped = self.multiples.view(*self.units.shape, -1)
        return (self.units.float().unsqueeze(-1) * grouped).view(self.multiples.shape)

    def map(self, change: Callable[[Tensor], Tensor]) -> "Nested":
        """Another order of the outputs, or more of them, for both alike."""
        return Nested(change(self.units), change(self.multiples))


@dataclass(frozen=True)
class Codes:
    """A weight [out, in] whose entries are scale * code - minimum in fp32.

    Scales times codes must need no rounding: one that fuses both operations says the same.
    """

    codes: Tensor  # [out, in] int8; 0..15 where there are minima
    scale: Tensor  # [out, in / group] fp32
    minimum: Tensor | None = None  # the same; None: 0
    nested: tuple[Nested, ...] = ()  # what scale and, if there is one, minimum were computed from

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
        nested = tuple(each.map(change) for each in self.nested)
        return Codes(change(self.codes), change(self.scale), minimum, nested)

    def grouped(self, size: int) -> "Codes":
        """The same with groups of `size` inputs, into which the present ones divide."""
        times = self.codes.shape[1] // self.scale.shape[1] // size
        if times == 1:
            return self
        minimum = None if self.minimum is None else self.minimum.repeat_interleave(times, 1)
        return Codes(self.codes, self.scale.repeat_interleave(times, 1), minimum)


def joined(parts: Sequence[Codes]) -> Codes | None:
    """The outputs of one after those of another; None where they are not coded alike."""
    kinds = {(part.bits, part.codes.shape[1] // part.scale.shape[1]) for part in parts}
    if len(kinds) != 1:
        return None
    minima = [part.minimum for part in parts if part.minimum is not None]
    nested = all(part.nested for part in parts)
    return Codes(
        torch.cat([part.codes for part in parts]),
        torch.cat([part.scale for part in parts]),
        torch.cat(minima) if minima else None,
        tuple(map(_joined, *(part.nested for part in parts))) if nested else (),
    )


def _joined(*parts: Nested) -> Nested:
    return Nested(torch.cat([part.units for part in parts]), torch.cat([part.multiples for part in parts]))


def of_nested(codes: Tensor, *nested: Nested) -> Codes:
    """Codes [out, in] int8 with a nested scale and, where a second is given, a nested minimum."""
    scale, *minimum = (each.wide() for each in nested)
    return Codes(codes, scale, minimum[0] if minimum else None, nested)
