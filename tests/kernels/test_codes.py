"""Weights kept as codes: to the last bit the layers of the bf16 numbers they stand for."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ringroad.kernels import native
from ringroad.kernels.codes import Codes, Nested, joined, of_nested
from ringroad.kernels.linear import pack_codes
from ringroad.kernels.native.library import CODED4, CODED8, NESTED4, NESTED8, library
from ringroad.kernels.native.linear import LANES

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


def sizes(out: int, blocks: int, numbers: torch.Generator) -> Tensor:
    """fp16 numbers of all sizes, down to those below its normal ones and zero."""
    powers = torch.randint(-7, 3, (out, blocks), generator=numbers)
    found = torch.randn(out, blocks, generator=numbers) * 10.0**powers
    found[torch.rand(out, blocks, generator=numbers) < 0.05] = 0.0
    return found.half()


def nested(bits: int, out: int, width: int, block: int = 128) -> Codes:
    """The same with scales, and minima, that are multiples of few units."""
    numbers, group = generator(out + width), 32 if bits == 4 else 16
    low, high = (0, 64) if bits == 4 else (-128, 128)
    of = [
        Nested(
            sizes(out, width // block, numbers),
            torch.randint(low, high, (out, width // group), generator=numbers, dtype=torch.int8),
        )
        for _ in range(2 if bits == 4 else 1)
    ]
    return of_nested(coded(bits, out, width, group).codes, *of)


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


@pytest.mark.parametrize("bits", [4, 8])
def test_nested_scales_are_multiples_of_their_unit(bits: int) -> None:
    weight = nested(bits, 16, 256)
    group = 32 if bits == 4 else 16
    for column in range(0, 256, group):
        each = [
            of.units[:, column // 128].double() * of.multiples[:, column // group] for of in weight.nested
        ]
        assert torch.equal(weight.scale[:, column // group].double(), each[0])
        assert weight.minimum is None or torch.equal(weight.minimum[:, column // group].double(), each[1])


@native_only
@pytest.mark.parametrize(("out", "width", "block"), [(64, 128, 128), (320, 512, 256), (272, 1152, 128)])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("gated", [False, True])
def test_a_layer_of_nested_scales_has_the_bits_of_the_bf16_layer(
    out: int, width: int, block: int, bits: int, gated: bool
) -> None:
    out += LANES if gated and out % 32 else 0
    weight, bias = nested(bits, out, width, block), torch.randn(out, generator=generator(1)).bfloat16()
    ours = native.pack_codes(weight, bias, gated)
    theirs = native.pack_bf16(plain(weight).float().bfloat16(), bias, gated)
    assert ours.descriptor.kind == (NESTED4 if bits == 4 else NESTED8)
    wide = native.pack_codes(replace(weight, nested=()), bias, gated)
    assert ours.nbytes < 0.9 * wide.nbytes
    assert torch.equal(ours(rows(3, width)), wide(rows(3, width)))
    for count in ROWS:
        given = rows(count, width)
        assert torch.equal(ours(given), theirs(given)), count


@native_only
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("width", [192, 256])
def test_smaller_blocks_than_the_kernels_are_kept_with_wide_scales(bits: int, width: int) -> None:
    weight = nested(bits, 64, width, block=64)
    layer, given = native.pack_codes(weight, None), rows(3, width)
    assert layer.descriptor.kind == (CODED4 if bits == 4 else CODED8)
    assert torch.equal(layer(given), native.pack_bf16(plain(weight).float().bfloat16(), None)(given))


@native_only
@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("out", [64, 1216])
@pytest.mark.parametrize("count", [1, 5])
def test_every_panel_is_computed_whatever_the_threads(threads: int, out: int, count: int) -> None:
    layer, before = native.pack_codes(nested(4, out, 256), None), torch.get_num_threads()
    given = [torch.randn(count, 256, generator=generator(i)).bfloat16() for i in range(20)]
    try:
        torch.set_num_threads(1)
        alone = [layer(each) for each in given]
        torch.set_num_threads(threads)
        assert all(torch.equal(layer(each), found) for each, found in zip(given, alone, strict=True))
    finally:
        torch.set_num_threads(before)


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


@pytest.mark.parametrize("bits", [4, 8])
def test_joined_parts_stay_nested_if_all_are(bits: int) -> None:
    parts, group = [nested(bits, 16, 256), nested(bits, 80, 256)], 32 if bits == 4 else 16
    whole, mixed = joined(parts), joined([*parts, coded(bits, 16, 256, group)])
    assert whole is not None
    assert mixed is not None
    assert [each.wide().shape for each in whole.nested] == [(96, 256 // group)] * len(parts[0].nested)
    assert torch.equal(whole.nested[0].wide(), torch.cat([part.scale for part in parts]))
    assert mixed.nested == ()
    turned = whole.map(lambda part: part.flip(0))
    assert torch.equal(turned.nested[-1].wide(), whole.nested[-1].wide().flip(0))


def test_smaller_groups_say_the_same() -> None:
    for bits in (4, 8):
        weight = coded(bits, 16, 64)
        smaller = weight.grouped(16)
        assert smaller.scale.shape == (16, 4)
        assert nested(bits, 16, 128).grouped(8).nested == ()
        assert nested(bits, 16, 128).grouped(32 if bits == 4 else 16).nested != ()
        assert torch.equal(smaller.weight(torch.float32), weight.weight(torch.float32))
