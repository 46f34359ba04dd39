"""Linear layers: near the exact product, and a row's bits do not depend on the rows beside it."""

import pytest
import torch
from torch import Tensor

from ringroad.kernels.linear import DTYPES, GROUP, TOGETHER, Weights, leading, pack, quantise
from ringroad.kernels.native.library import library
from ringroad.kernels.native.linear import Packed

SIZES = [(96, 64), (64, 192), (960, 576), (576, 1536)]  # out, in
KINDS: list[Weights] = ["bf16", "fp32", "int4"]


def made(out: int, width: int, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(out)
    weight = torch.randn(out, width, generator=generator) / width**0.5
    return weight, torch.randn(out, generator=generator), torch.randn(rows, width, generator=generator)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("out", "width"), SIZES)
@pytest.mark.parametrize("biased", [True, False])
def test_a_row_has_the_same_bits_in_any_company(kind: Weights, out: int, width: int, biased: bool) -> None:
    weight, bias, rows = made(out, width, 300)
    rows = rows.to(DTYPES[kind])
    linear = pack(weight, bias if biased else None, kind)
    alone = torch.cat([linear(row) for row in rows.split(1)])
    for count in (*range(1, 41), 64, 127, 128, 129, 256, 300):
        assert torch.equal(linear(rows[:count]), alone[:count]), f"{count} rows"
        assert torch.equal(linear(rows[-count:]), alone[-count:]), f"the last {count} rows"


@pytest.mark.parametrize(("kind", "error"), [("fp32", 1e-5), ("bf16", 0.03)])
def test_near_the_exact_product(kind: Weights, error: float) -> None:
    weight, bias, rows = made(96, 64, 9)
    dtype = DTYPES[kind]
    found = pack(weight, bias, kind)(rows.to(dtype))
    assert found.dtype == dtype
    exact = rows.to(dtype).double() @ weight.to(dtype).double().T + bias.to(dtype).double()
    torch.testing.assert_close(found.double(), exact, rtol=error, atol=error)


def dequantised(codes: Tensor, scales: Tensor) -> Tensor:
    """fp64 weights, an entry at a time."""
    out = torch.empty(codes.shape, dtype=torch.float64)
    for row in range(len(codes)):
        for column in range(codes.shape[1]):
            scale, zero = scales[column // GROUP, row].double()
            out[row, column] = (float(codes[row, column]) - 8) * scale + zero
    return out


def test_int4_is_the_product_with_the_dequantised_weight() -> None:
    weight, bias, rows = made(32, 64, 5)
    rows = rows.bfloat16()
    exact = rows.double() @ dequantised(*quantise(weight)).T + bias.bfloat16().double()
    torch.testing.assert_close(pack(weight, bias, "int4")(rows).double(), exact, rtol=0.02, atol=0.03)


@pytest.mark.parametrize("offset", [0.0, 0.5, -3.0])
def test_int4_error_is_half_a_step(offset: float) -> None:
    """Half a step of a group's own range, and what rounding scale and zero to bf16 adds."""
    weight = made(32, 96, 1)[0] + offset
    codes, scales = quantise(weight)
    assert codes.dtype == torch.int32
    assert (codes.min(), codes.max()) == (0, 15)
    assert scales.shape == (96 // GROUP, 32, 2)
    groups = weight.view(32, -1, GROUP)
    step = (groups.amax(-1) - groups.amin(-1)) / 15
    reach = groups.abs().amax(-1)
    bound = step / 2 + 15 * step * 2**-8 + (reach + 8 * step) * 2**-8
    error = (dequantised(codes, scales) - weight).abs().view(32, -1, GROUP).amax(-1)
    assert (error <= bound).all()


def test_int4_of_a_constant_and_of_zeros() -> None:
    for value in (0.0, 0.25):
        codes, scales = quantise(torch.full((16, GROUP), value))
        assert dequantised(codes, scales).sub(value).abs().max() < 1e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("outputs", [1, 64, 100, 512, 959])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("native", [True, False])
def test_the_first_outputs_have_the_bits_they_have_in_the_whole(
    kind: Weights, outputs: int, biased: bool, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no others are computed, but for those that are packed together with them."""
    if not native:
        monkeypatch.setattr("ringroad.kernels.native.linear.library", lambda: None)
    weight, bias, rows = made(960, 576, 9)
    rows = rows.to(DTYPES[kind])
    whole = pack(weight, bias if biased else None, kind)
    part = leading(whole, outputs)
    assert isinstance(whole, Packed) == (native and kind != "fp32" and library() is not None)
    for count in (1, 2, 9):
        found = part(rows[:count])
        assert outputs <= found.shape[1] < outputs + TOGETHER
        assert torch.equal(found, whole(rows[:count])[:, : found.shape[1]])


def test_weights_are_held_once_where_the_layout_can_be_cut() -> None:
    if library() is None:
        pytest.skip("no AVX-512 bf16, or the kernels were not built")
    for kind in ("bf16", "int4"):
        whole = pack(made(960, 576, 1)[0], None, kind)  # type: ignore[arg-type]
        part = leading(whole, 100)
        assert part.descriptor.weights == whole.descriptor.weights  # type: ignore[attr-defined]


def test_a_layer_that_cannot_be_cut_is_whole() -> None:
    """One that gates: its first outputs are not those of its first rows."""
    weight, _, rows = made(96, 64, 3)
    for kind in KINDS:
        layer = pack(weight, None, kind, gated=True)
        ours = rows.to(DTYPES[kind])
        assert torch.equal(leading(layer, 16)(ours)[:, :16], layer(ours)[:, :16])
