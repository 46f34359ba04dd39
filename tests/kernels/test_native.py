"""The C kernels against exact products and against their twins in torch; and equal bits in any company."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor

from ringroad.actors.engine.cache import Cache
from ringroad.actors.engine.model import Model, Span
from ringroad.actors.engine.pool import Pool
from ringroad.kernels import native
from ringroad.kernels.layers import gated
from ringroad.kernels.linear import pack, quantise
from ringroad.kernels.native.library import library
from tests import reference
from tests.engine.tiny import SHAPE, TinyWeights, tiny

pytestmark = pytest.mark.skipif(library() is None, reason="no AVX-512 bf16, or the kernels were not built")

SIZES = [(16, 32), (80, 64), (64, 160), (320, 576), (1216, 896)]  # out, in: part panels, part chunks
ROWS = (1, 2, 5, 6, 7, 8, 13, 255, 256, 257)


def normal(*sizes: int, seed: int = 0) -> Tensor:
    return torch.randn(sizes, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("out", "width"), SIZES)
@pytest.mark.parametrize("biased", [False, True])
def test_bf16_is_the_exact_product_rounded(out: int, width: int, biased: bool) -> None:
    weight, bias = normal(out, width).bfloat16() / width**0.5, normal(out, seed=1).bfloat16()
    rows = normal(257, width, seed=2).bfloat16()
    exact = rows.double() @ weight.double().T + (bias.double() if biased else 0)
    layer = native.pack_bf16(weight, bias if biased else None)
    for count in ROWS:
        found = layer(rows[:count])
        assert found.shape == (count, out)
        # bf16 keeps eight bits; what fp32 sums add to that is far less.
        torch.testing.assert_close(found.double(), exact[:count], rtol=2**-8, atol=1e-5)


@pytest.mark.parametrize(("out", "width"), SIZES)
def test_int4_is_the_product_with_the_dequantised_weight(out: int, width: int) -> None:
    weight = normal(out, width) / width**0.5
    codes, scales = quantise(weight)
    scale, zero = scales.double().transpose(0, 1).repeat_interleave(32, 1).unbind(-1)
    exact_weight = (codes.double() - 8) * scale + zero
    rows = normal(257, width, seed=2).bfloat16()
    layer = native.pack_int4(codes, scales, None)
    for count in ROWS:
        exact = rows[:count].double() @ exact_weight.T
        torch.testing.assert_close(layer(rows[:count]).double(), exact, rtol=2**-8, atol=1e-5)


@pytest.mark.parametrize("kind", ["bf16", "int4"])
def test_a_gated_layer_gates(kind: str) -> None:
    """silu(gate) * up of the halves that the same layer gives when it is not gated."""
    weight, bias = normal(320, 96), normal(320, seed=1)
    rows = normal(9, 96, seed=2).bfloat16()
    both = pack(weight, bias, kind)(rows).float()  # type: ignore[arg-type]
    found = pack(weight, bias, kind, gated=True)(rows)  # type: ignore[arg-type]
    assert found.shape == (9, 160)
    torch.testing.assert_close(found.float(), gated(both), rtol=0.04, atol=0.04)


def test_a_gate_far_out_is_neither_infinite_nor_nan() -> None:
    weight = torch.cat([torch.eye(32), torch.ones(32, 32)])
    rows = torch.zeros(4, 32)
    rows[0, 0], rows[1, 0], rows[2, 0] = 1e4, -1e4, -100
    found = pack(weight, None, "bf16", gated=True)(rows.bfloat16())
    assert torch.isfinite(found).all()
    assert float(found[0, 0]) == pytest.approx(1e8, rel=0.01)
    assert found[1, 0].abs() < 1e-20


@pytest.mark.parametrize("kind", ["bf16", "int4"])
def test_threads_do_not_change_bits(kind: str) -> None:
    layer = pack(normal(1216, 896), None, kind)  # type: ignore[arg-type]
    rows = normal(9, 896, seed=2).bfloat16()
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = layer(rows)
        torch.set_num_threads(2)
        assert all(torch.equal(layer(rows), alone) for _ in range(20))
    finally:
        torch.set_num_threads(before)


def test_what_does_not_fit_is_left_to_torch() -> None:
    assert not native.fits_linear(40, 64)
    assert not native.fits_linear(64, 48)
    assert not native.fits_linear(48, 64, gated=True)
    rows = normal(3, 48).bfloat16()
    assert pack(normal(40, 48), None, "bf16")(rows).shape == (3, 40)


def twins(**changes: int) -> tuple[Model, Model]:
    """The same weights, computed by C and by torch."""
    weights = TinyWeights(replace(SHAPE, **changes))  # type: ignore[arg-type]
    ours = Model(weights, "bf16", threads=1)
    theirs = Model(weights, "bf16", threads=1)
    assert ours._native is not None
    theirs._native = None  # the same packed layers, with attention and norms by torch
    return ours, theirs


def states(model: Model, base: int, count: int, parents: list[int] | None) -> Tensor:
    """Hidden states of `count` tokens behind `base` others."""
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(0, SHAPE.vocabulary, (base + count,), generator=generator)
    cache = Cache(Pool(model.shape, model.dtype, model.device, max_bytes=10**7))
    cache.reserve(base + count)
    with torch.inference_mode():
        if base:
            model.forward(tokens[:base], torch.arange(base), [Span(cache, 0, base)])
            cache.length = base
        tree = parents or range(-1, count - 1)
        depths = torch.tensor([len(reference.ancestors(tree, node)) - 1 for node in range(count)])
        return model.forward(tokens[base:], base + depths, [Span(cache, 0, count, parents)])


TREE = [-1, 0, 0, 2, -1, 4, 4]


@pytest.mark.parametrize("changes", [{}, {"heads": 8}, {"kv_heads": 4}, {"head_dim": 64}, {"head_dim": 128}])
@pytest.mark.parametrize(("base", "count"), [(0, 1), (0, 70), (63, 1), (64, 1), (100, 7), (130, 60)])
def test_a_step_against_torch(changes: dict[str, int], base: int, count: int) -> None:
    ours, theirs = (states(model, base, count, None) for model in twins(**changes))
    # A norm keeps the states near 1; two layers in bf16 differ by a few units of its eight bits.
    torch.testing.assert_close(ours.float(), theirs.float(), rtol=0.05, atol=0.12)


@pytest.mark.parametrize("base", [0, 5, 60, 64, 200])
def test_a_tree_against_torch(base: int) -> None:
    ours, theirs = (states(model, base, len(TREE), TREE) for model in twins())
    torch.testing.assert_close(ours.float(), theirs.float(), rtol=0.05, atol=0.12)


def test_heads_are_normed_where_the_model_does() -> None:
    """Qwen3's norms of query and key heads."""

    class Normed(TinyWeights):
        def has(self, name: str) -> bool:
            return name.endswith(("q_norm.weight", "k_norm.weight")) or super().has(name)

        def read(self, name: str, dtype: torch.dtype) -> Tensor:
            if name.endswith(("q_norm.weight", "k_norm.weight")):
                return 1 + normal(SHAPE.head_dim, seed=len(name)).to(dtype) / 4
            return super().read(name, dtype)

    ours, theirs, plain = Model(Normed(), "bf16"), Model(Normed(), "bf16"), tiny("bf16")
    theirs._native = None
    found = states(ours, 10, 20, None).float()
    torch.testing.assert_close(found, states(theirs, 10, 20, None).float(), rtol=0.05, atol=0.12)
    assert (found - states(plain, 10, 20, None).float()).abs().max() > 0.3


@pytest.mark.parametrize(("node", "base"), list(product(range(len(TREE)), [0, 61, 128])))
def test_a_branch_has_the_bits_of_a_chain(node: int, base: int) -> None:
    """Attention goes through keys in the order of the text, wherever they lie."""
    model = twins()[0]
    path = reference.ancestors(TREE, node)
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(0, SHAPE.vocabulary, (base + len(TREE),), generator=generator)
    tree = states(model, base, len(TREE), TREE)[path]
    cache = Cache(Pool(model.shape, model.dtype, model.device, max_bytes=10**7))
    text = torch.cat([tokens[:base], tokens[base:][path]])
    cache.reserve(len(text))
    with torch.inference_mode():
        chain = model.forward(text, torch.arange(len(text)), [Span(cache, 0, len(text))])
    assert torch.equal(tree, chain[base:])


def test_the_first_layers_alone() -> None:
    model = twins(layers=4)[0]
    shallow = Model(TinyWeights(replace(SHAPE, layers=2)), "bf16", threads=1)
    assert shallow._native is not None
    cache = Cache(Pool(model.shape, model.dtype, model.device, max_bytes=10**7))
    cache.reserve(9)
    tokens, places = torch.arange(9), torch.arange(9)
    with torch.inference_mode():
        full = model.forward(tokens, places, [Span(cache, 0, 9)])
        first = model.forward(tokens, places, [Span(cache, 0, 9)], depth=2)
        theirs = model._native, setattr(model, "_native", None)
        by_torch = model.forward(tokens, places, [Span(cache, 0, 9)], depth=2)
        model._native = theirs[0]
    assert not torch.equal(full, first)
    torch.testing.assert_close(first.float(), by_torch.float(), rtol=0.05, atol=0.12)
