"""ggml's blocks: the gguf package's own reading is the oracle."""

import gguf
import numpy as np
import pytest
import torch

from ringroad.actors.engine import ggml

Kind = gguf.GGMLQuantizationType
HALVES = {  # where a block has fp16 numbers
    Kind.Q4_0: (0,),
    Kind.Q4_1: (0, 2),
    Kind.Q5_0: (0,),
    Kind.Q8_0: (0,),
    Kind.Q4_K: (0, 2),
    Kind.Q6_K: (208,),
}


def blocks(kind: Kind, count: int = 400) -> np.ndarray:
    """Random blocks [count, bytes], whose fp16 numbers are finite and of all sizes down to zero."""
    generator = np.random.default_rng(kind)
    found = generator.integers(0, 256, (count, gguf.GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
    for at in HALVES.get(kind, ()):
        numbers = generator.normal(size=count) * 10.0 ** generator.integers(-9, 2, count)
        found[:, at : at + 2] = numbers.astype(np.float16)[:, None].view(np.uint8)
    return found


@pytest.mark.parametrize("kind", HALVES)
def test_weights_are_those_of_the_gguf_package(kind: Kind) -> None:
    found = blocks(kind)
    expected = gguf.quants.dequantize(found, kind)
    assert np.array_equal(ggml.dequantise(torch.from_numpy(found), kind).numpy(), expected.reshape(-1))


@pytest.mark.parametrize("kind", HALVES)
def test_codes_say_the_same_when_both_operations_are_one(kind: Kind) -> None:
    found = blocks(kind)
    codes = ggml.read(torch.from_numpy(found), kind)
    assert codes is not None
    assert codes.codes.dtype == torch.int8
    assert len(codes.nested) == {Kind.Q4_K: 2, Kind.Q6_K: 1}.get(kind, 0)
    groups = codes.codes.view(*codes.scale.shape, -1).double()
    exact = codes.scale.double().unsqueeze(-1) * groups
    assert torch.equal(exact, exact.float().double()), "a product that fp32 cannot hold"
    if codes.minimum is not None:
        assert codes.codes.min() >= 0
        assert codes.codes.max() <= 15
        exact = exact - codes.minimum.double().unsqueeze(-1)
    expected = torch.from_numpy(gguf.quants.dequantize(found, kind))
    assert torch.equal(exact.float().view(expected.shape), expected)


def test_other_kinds_go_through_the_package() -> None:
    found = gguf.quants.quantize(np.linspace(-1, 1, 256, dtype=np.float32).reshape(1, -1), Kind.Q5_1)
    assert ggml.read(torch.from_numpy(found), Kind.Q5_1) is None
    assert not ggml.knows(Kind.Q5_1)
    expected = torch.from_numpy(gguf.quants.dequantize(found, Kind.Q5_1)).reshape(-1)
    assert torch.equal(ggml.dequantise(torch.from_numpy(found), Kind.Q5_1), expected)
