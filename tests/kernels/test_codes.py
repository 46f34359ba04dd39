"""Weights kept as codes: to the last bit the layers of the bf16 numbers they stand for."""

import pytest
import torch
from torch import Tensor

from ringroad.kernels import native
from ringroad.kernels.codes import Codes, joined
from ringroad.kernels.linear import pack_codes
from ringroad.kernels.native.library import library

native_only = pytest.mark.skipif(library() is None, reason="no AVX-512 bf16, or the kernels were not built")

SIZES = [(16, 32), (80, 64), (64, 160), (320, 576), (1216, 896)]  # out, in: part panels, part chunks
ROWS = (1, 2, 5, 6, 7, 8, 13, 255, 257)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def coded(bits: int, out: int, width: int, group: int = 32) -> Codes:
    """Random codes of every value, with scales of few bits as files have them; some are zero."""
    numbers = generator(out + width)
    low, high = (0, 16) if bits == 4 else (-128, 128)
    codes = torch.randint(low, high, (out, width), generator=numbers, dtype=torch.int8)
    scale = torch.randn(out, width // group, generator=numbers).half().float() * 37
    scale[torch.rand(scale.shape, generator=numbers) < 0.05] = 0.0
    minimum = torch.randn(scale.shape, generator=numbers).half().float() * 53
    return Codes(codes, scale, minimum if bits == 4 else None)


def rows(count: int, width: int) -> Tensor:
    return torch.randn(count, width, generator=generator(3)).bfloat16()


def plain(weight: Codes) -> Tensor:
    """The numbers one by one, in Python's fp64: products and differences of these are exact there."""
    out, width = weight.codes.shape
    group = width // weight.scale.shape[1]
    found = torch.empty(out, width, dtype=torch.float64)
    for column in range(width):
        value = weight.codes[:, column].double() * weight.scale[:, column // group].double()
        if weight.minimum is not None:
            value = value - weight.minimum[:, column // group].double()
        found[:, column] = value
    return found


@pytest.mark.parametrize(("bits", "group"), [(4, 32), (8, 32), (8, 16)])
def test_a_weight_is_what_its_codes_say(bits: int, group: int) -> None:
    weight = coded(bits, 80, 64, group)
    assert torch.equal(weight.weight(torch.float32), plain(weight).float())
    assert torch.equal(weight.weight(torch.bfloat16), plain(weight).float().bfloat16())
    assert weight.bits == bits


@native_only
@pytest.mark.parametrize(("out", "width"), SIZES)
@pytest.mark.parametrize(("bits", "group"), [(4, 32), (8, 32), (8, 16)])
@pytest.mark.parametrize("gated", [False, True])
def test_a_coded_layer_has_the_bits_of_the_bf16_layer(
    out: int, width: int, bits: int, group: int, gated: bool
) -> None:
    if not native.fits_linear(out, width, gated):
        pytest.skip("too few outputs for a gate")
    weight, bias = coded(bits, out, width, group), torch.randn(out, generator=generator(1)).bfloat16()
    ours = native.pack_codes(weight, bias, gated)
    theirs = native.pack_bf16(plain(weight).float().bfloat16(), bias, gated)
    for count in ROWS:
        given = rows(count, width)
        assert torch.equal(ours(given), theirs(given)), count


@native_only
def test_its_first_outputs_can_be_had_alone() -> None:
    weight = coded(8, 320, 96)
    layer, given = native.pack_codes(weight, None), rows(3, 96)
    assert torch.equal(layer.leading(128)(given), layer(given)[:, :128])


@native_only
def test_sizes_that_do_not_fit_are_left_to_others() -> None:
    assert pack_codes(coded(4, 40, 64), None) is None
    assert pack_codes(coded(4, 48, 64), None, gated=True) is None
    assert pack_codes(coded(4, 48, 64), None) is not None


def test_parts_are_joined_where_they_are_alike() -> None:
    parts = [coded(4, 16, 64), coded(4, 80, 64)]
    whole = joined(parts)
    assert whole is not None
    assert torch.equal(whole.weight(torch.float32), torch.cat([part.weight(torch.float32) for part in parts]))
    assert joined([coded(4, 16, 64), coded(8, 16, 64)]) is None
    assert joined([coded(8, 16, 64, 16), coded(8, 16, 64, 32)]) is None


def test_smaller_groups_say_the_same() -> None:
    for bits in (4, 8):
        weight = coded(bits, 16, 64)
        smaller = weight.grouped(16)
        assert smaller.scale.shape == (16, 4)
        assert torch.equal(smaller.weight(torch.float32), weight.weight(torch.float32))
