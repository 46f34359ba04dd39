"""The small layers against the reference."""

import pytest
import torch

from ringroad.kernels.layers import gated, rms_norm, rotary_table, rotate
from tests import reference


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_rms_norm(dtype: torch.dtype, error: float) -> None:
    rows, weight = (random(5, 24) * 3).to(dtype), random(24)
    found = rms_norm(rows, weight, 1e-2)
    assert found.dtype == dtype
    for row, ours in zip(rows, found, strict=True):
        assert ours.tolist() == pytest.approx(
            reference.rms_norm(row.tolist(), weight.tolist(), 1e-2), rel=error, abs=error
        )


def test_rms_norm_in_bf16_is_computed_in_fp32() -> None:
    rows = random(4, 64).bfloat16()
    exact = rms_norm(rows.float(), torch.ones(64), 1e-6).bfloat16()
    assert torch.equal(rms_norm(rows, torch.ones(64), 1e-6), exact)


@pytest.mark.parametrize("theta", [100.0, 10_000.0, 1_000_000.0])
def test_rotate_turns_halves_as_complex_numbers(theta: float) -> None:
    heads = random(6, 3, 16)
    positions = torch.tensor([0, 1, 2, 63, 200, 511])
    cos, sin = rotary_table(512, 16, theta)
    found = rotate(heads, cos[positions], sin[positions])
    for token, position in enumerate(positions.tolist()):
        for head in range(3):
            expected = reference.rotated(heads[token, head].tolist(), position, theta)
            assert found[token, head].tolist() == pytest.approx(expected, abs=2e-4)


def test_position_zero_turns_nothing() -> None:
    cos, sin = rotary_table(1, 8, 1e4)
    heads = random(1, 2, 8)
    assert torch.equal(rotate(heads, cos[:1], sin[:1]), heads)


def test_rotate_keeps_the_dtype() -> None:
    cos, sin = rotary_table(4, 8, 1e4)
    assert rotate(random(4, 2, 8).bfloat16(), cos, sin).dtype == torch.bfloat16


def test_gated_is_silu_times_up() -> None:
    both = random(3, 10) * 4
    found = gated(both)
    assert found.shape == (3, 5)
    for row, ours in zip(both.tolist(), found.tolist(), strict=True):
        expected = [reference.gated(gate, up) for gate, up in zip(row[:5], row[5:], strict=True)]
        assert ours == pytest.approx(expected, rel=1e-5, abs=1e-6)
