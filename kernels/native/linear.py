"""Linear layers packed for the C kernels: panels of 64 outputs (see linear.c)."""

import ctypes

import torch
from torch import Tensor

from ringroad.kernels.codes import Codes
from ringroad.kernels.native.library import (
    BF16,
    CODED4,
    CODED8,
    INT4,
    NESTED4,
    NESTED8,
    Linear,
    address,
    checked,
    library,
)

PANEL, LANES, GROUP = 64, 16, 32  # of linear.c and vector.h; GROUP: inputs that share an int4 scale
CODED4_GROUP, CODED8_GROUP = 32, 16  # inputs that share a scale of codes, in codes.h
UNIT_INPUTS = 128  # inputs that share a unit of nested scales there


def fits(outputs: int, inputs: int, gated: bool = False) -> bool:
    """Whether the kernels take a weight [outputs, inputs] on this machine."""
    step = 2 * LANES if gated else LANES
    return library() is not None and outputs % step == 0 and inputs % GROUP == 0


class Packed:
    """A linear layer of any kind here. Called like any: rows [rows, in] bf16 -> [rows, out] bf16."""

    def __init__(self, panels: Tensor, bias: Tensor | None, sizes: tuple[int, int], kind: int, gated: bool):
        self._panels, self._bias = panels, bias  # what `descriptor` points into
        outputs, inputs = sizes
        self.descriptor = Linear(address(panels), address(bias), inputs, outputs, kind, gated)
        self._sizes, self._kind, self._gated = sizes, kind, gated
        self._width = outputs // 2 if gated else outputs

    def __call__(self, rows: Tensor) -> Tensor:
        found = library()
        assert found is not None
        rows = rows.contiguous()
        result = rows.new_empty(len(rows), self._width)
        layer = ctypes.byref(self.descriptor)
        threads = torch.get_num_threads()
        checked(found.linear(layer, address(result), address(rows), None, len(rows), threads, None))
        return result

    @property
    def nbytes(self) -> int:
        """What its weights take."""
        return self._panels.nbytes

    def leading(self, outputs: int) -> "Packed":
        """A layer of the first `outputs`, a multiple of PANEL: the same weights, read as far as they go.

        A gated one stays whole.
        """
        if self._gated:
            return self
        least = min(outputs, self._sizes[0])
        return Packed(self._panels, self._bias, (least, self._sizes[1]), self._kind, gated=False)


def pack_bf16(weight: Tensor, bias: Tensor | None, gated: bool = False) -> Packed:
    """From weight [out, in] bf16 and bias [out]; of a gated layer the first half of out is the gate."""
    if gated:
        weight, bias = _alternate(weight), None if bias is None else _alternate(bias)
    outputs, inputs = weight.shape
    panels = _padded(weight).view(-1, PANEL // LANES, LANES, inputs // 2, 2).permute(0, 3, 1, 2, 4)
    return Packed(panels.contiguous(), _wide(bias), (outputs, inputs), BF16, gated)


def pack_int4(codes: Tensor, scales: Tensor, bias: Tensor | None, gated: bool = False) -> Packed:
    """From codes [out, in] 0..15 and [in / GROUP, out, 2] bf16 of (scale, zero): `linear.quantise`."""
    scales = scales.transpose(0, 1)  # [out, groups, 2]
    codes = codes.to(torch.int16)
    if gated:
        codes, scales = _alternate(codes), _alternate(scales)
        bias = None if bias is None else _alternate(bias)
    outputs, inputs = codes.shape
    groups = inputs // GROUP
    # A 16-bit word holds the codes of one input and of four outputs, LANES apart.
    split = _padded(codes).view(-1, PANEL // LANES, LANES, groups, GROUP // 2, 2).permute(0, 3, 4, 2, 5, 1)
    words = split[..., 0] | split[..., 1] << 4 | split[..., 2] << 8 | split[..., 3] << 12
    words = words.reshape(-1, groups, GROUP // 2 * 2 * LANES)
    pairs = _padded(scales.contiguous()).view(torch.int16).view(-1, PANEL, groups, 2).transpose(1, 2)
    panels = torch.cat([words, pairs.reshape(-1, groups, 2 * PANEL)], -1)
    return Packed(panels, _wide(bias), (outputs, inputs), INT4, gated)


def pack_codes(weight: Codes, bias: Tensor | None, gated: bool = False) -> Packed:
    """From a weight kept as codes: the same bits as `pack_bf16` of what it stands for, for fewer bytes."""
    if gated:
        weight, bias = weight.map(_alternate), None if bias is None else _alternate(bias)
    outputs, inputs = weight.codes.shape
    group = CODED4_GROUP if weight.bits == 4 else CODED8_GROUP
    weight = weight.map(_padded).grouped(group)
    # By panels, groups and 16 outputs: those outputs and their inputs, two and two.
    codes = weight.codes.view(-1, PANEL // LANES, LANES, inputs // group, group // 2, 2)
    if weight.bits == 4:
        # Eight pairs of inputs in a lane of 32 bits, each output's two inputs side by side.
        split = codes.view(-1, 4, 2, 8, inputs // group, 2, 8, 2).permute(0, 4, 1, 2, 5, 3, 7, 6).int()
        words = (split << torch.arange(0, 32, 4, dtype=torch.int32)).sum(-1, dtype=torch.int32)
        packed = words.reshape(-1, inputs // group, words[0, 0].numel()).view(torch.uint8)
    else:
        packed = codes.permute(0, 3, 4, 1, 2, 5).reshape(-1, inputs // group, group * PANEL).view(torch.uint8)
    nested = bool(weight.nested) and all(
        inputs // each.units.shape[1] % UNIT_INPUTS == 0 for each in weight.nested
    )
    if nested:
        panels = _nested(packed, weight)
    else:
        numbers = [weight.scale] if weight.minimum is None else [weight.scale, weight.minimum]
        panels = torch.cat([packed, *(_by_panels(each) for each in numbers)], -1)
    kind = {4: (CODED4, NESTED4), 8: (CODED8, NESTED8)}[weight.bits][nested]
    return Packed(panels, _wide(bias), (outputs, inputs), kind, gated)


def _nested(packed: Tensor, weight: Codes) -> Tensor:
    """Blocks of their units and then groups, from the groups' packed codes [panels, groups, bytes]."""
    blocks = weight.codes.shape[1] // UNIT_INPUTS
    units = [each.units.repeat_interleave(blocks // each.units.shape[1], 1) for each in weight.nested]
    groups = torch.cat([packed, *(_by_panels(each.multiples) for each in weight.nested)], -1)
    return torch.cat([*map(_by_panels, units), groups.view(len(packed), blocks, -1)], -1)


def _by_panels(numbers: Tensor) -> Tensor:
    """Bytes [panels, groups, of 64 numbers] from [out, groups]."""
    return numbers.view(-1, PANEL, numbers.shape[1]).transpose(1, 2).contiguous().view(torch.uint8)


def _padded(weight: Tensor) -> Tensor:
    """Zero outputs added up to a whole panel."""
    missing = -len(weight) % PANEL
    return torch.cat([weight, weight.new_zeros(missing, *weight.shape[1:])]) if missing else weight


def _alternate(halves: Tensor) -> Tensor:
    """LANES outputs of the first half, as many of the second, and so on."""
    rest = halves.shape[1:]
    return halves.view(2, -1, LANES, *rest).transpose(0, 1).reshape(halves.shape)


def _wide(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.float().contiguous()
