"""Linear layers held in the layout their processor reads fastest, with one promise: a row's result
has the same bits whatever other rows are computed with it.

That promise is what makes text independent of batching and of drafts in bf16 too, not in fp32
alone (docs/decisions/0001). The native kernels keep it by construction. Of torch's, oneDNN keeps it
from two rows on: a single row takes another path through the library, so it is computed twice here.
Torch's int4 kernel keeps it for any count.
"""

from collections.abc import Callable
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from ringroad.kernels import native
from ringroad.kernels.codes import Codes
from ringroad.kernels.layers import gated as gated_rows

Weights = Literal["bf16", "fp32", "int4"]

DTYPES: dict[Weights, torch.dtype] = {"bf16": torch.bfloat16, "fp32": torch.float32, "int4": torch.bfloat16}
GROUP = 32  # input columns that share an int4 scale: the blocks of GGUF's 4-bit formats

Linear = Callable[[Tensor], Tensor]  # [rows, in] -> [rows, out], in the activations' dtype
TOGETHER = 64  # outputs that every packing here keeps in one piece


@runtime_checkable
class Divisible(Protocol):
    """A layer that can do less than the whole."""

    def leading(self, outputs: int) -> Linear:
        """The first `outputs`, a multiple of TOGETHER; with the bits that they have in the whole."""


def leading(layer: Linear, outputs: int) -> Linear:
    """A layer that gives at least the first `outputs` of a longer one, at the price of these.

    Weights are not held twice, but for oneDNN's, whose layout cannot be cut.
    """
    if not isinstance(layer, Divisible):
        return layer
    return layer.leading(-(-outputs // TOGETHER) * TOGETHER)


def pack(weight: Tensor, bias: Tensor | None, weights: Weights, gated: bool = False) -> Linear:
    """A linear layer from weight [out, in] and bias [out] of any float dtype.

    A gated one takes the first half of its outputs for gates: it gives silu(gate) * up, half as wide.
    """
    if weights == "int4" and weight.device.type != "cpu":
        raise ValueError(f"int4 weights are for the CPU, not {weight.device}")
    weight = weight.float() if weights == "int4" else weight.to(DTYPES[weights])
    bias = None if bias is None else bias.to(DTYPES[weights])
    if (
        weights != "fp32"
        and weight.device.type == "cpu"
        and native.fits_linear(weight.shape[0], weight.shape[1], gated)
    ):
        if weights == "int4":
            return native.pack_int4(*quantise(weight), bias, gated)
        return native.pack_bf16(weight, bias, gated)
    layer = _pack_for_torch(weight, bias, weights)
    return (lambda rows: gated_rows(layer(rows))) if gated else layer


def reads_codes() -> bool:
    """Whether there are kernels here that take weights as codes."""
    return native.library() is not None


def pack_codes(weight: Codes, bias: Tensor | None, gated: bool = False) -> Linear | None:
    """The bf16 layer that a weight [out, in] stands for, to the last bit, kept as codes.

    None where its sizes do not fit the kernels that can (docs/decisions/0013).
    """
    if not native.fits_linear(weight.codes.shape[0], weight.codes.shape[1], gated):
        return None
    return native.pack_codes(weight, None if bias is None else bias.bfloat16(), gated)


def _pack_for_torch(weight: Tensor, bias: Tensor | None, weights: Weights) -> Linear:
    if weights == "int4":
        codes, scales = quantise(weight)
        return _Int4(torch._convert_weight_to_int4pack_for_cpu(codes, 1), scales, bias)
    if weight.device.type == "cpu" and torch._C._has_mkldnn:
        return _OneDnn(weight, bias)
    return _Plain(weight, bias)


def _first(bias: Tensor | None, outputs: int) -> Tensor | None:
    return None if bias is None else bias[:outputs]


class _Plain:
    """Weights as they are, for devices whose libraries want them so."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight = weight
        self.bias = bias

    def __call__(self, rows: Tensor) -> Tensor:
        return torch.nn.functional.linear(rows, self.weight, self.bias)

    def leading(self, outputs: int) -> Linear:
        return _Plain(self.weight[:outputs], _first(self.bias, outputs))


class _OneDnn:
    """bf16 or fp32 weights in oneDNN's blocked layout."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), 8)
        self.bias = bias

    def __call__(self, rows: Tensor) -> Tensor:
        if len(rows) == 1:
            return self._product(rows.expand(2, -1).contiguous())[:1]
        return self._product(rows)

    def leading(self, outputs: int) -> Linear:
        return _OneDnn(self.packed.to_dense()[:outputs], _first(self.bias, outputs))

    def _product(self, rows: Tensor) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self.packed, self.bias, "none", [], "")
        return product


class _Int4:
    """4-bit weights, a bf16 scale and minimum for every GROUP columns of a row."""

    def __init__(self, packed: Tensor, scales: Tensor, bias: Tensor | None) -> None:
        """packed [out, in / 2] uint8, as torch has it; scales [in / GROUP, out, 2] bf16."""
        self.packed = packed
        self.scales = scales
        self.bias = bias

    def __call__(self, rows: Tensor) -> Tensor:
        product = torch._weight_int4pack_mm_for_cpu(rows, self.packed, GROUP, self.scales)
        return product if self.bias is None else product.add_(self.bias)

    def leading(self, outputs: int) -> Linear:
        scales = self.scales[:, :outputs].contiguous()
        return _Int4(self.packed[:outputs], scales, _first(self.bias, outputs))


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """weight [out, in] fp32 as codes [out, in] int32 in 0..15 and [in / GROUP, out, 2] bf16 of
    (scale, zero), where a weight is (code - 8) * scale + zero."""
    groups = weight.view(len(weight), -1, GROUP)
    low, high = groups.amin(-1), groups.amax(-1)
    scale = ((high - low) / 15).clamp(min=1e-9).bfloat16()
    zero = (low + 8 * scale.float()).bfloat16()
    steps = (groups - zero.float().unsqueeze(-1)) / scale.float().unsqueeze(-1)
    codes = (steps.round() + 8).clamp(0, 15).to(torch.int32).view_as(weight)
    return codes, torch.stack([scale, zero], -1).transpose(0, 1).contiguous()
