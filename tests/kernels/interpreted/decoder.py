"""The small kernels of a decoder's layer, and scores with noise: as their twins have them."""

import math

import pytest
import torch
from torch import Tensor

from ringroad.kernels.layers import rotary_table
from ringroad.kernels.triton import twins
from ringroad.kernels.triton.batch import Turn
from ringroad.kernels.triton.noisy import noisy
from ringroad.kernels.triton.norm import add_norm
from ringroad.kernels.triton.place import place
from ringroad.kernels.triton.verdicts import SLICE, SPAN
from tests.kernels.triton_batches import Row, draws

# bf16 is compiled only: the interpreter cuts its last bits off where hardware rounds.
LIMITS = {torch.float32: 1e-6, torch.float16: 2.0**-10}


def spread(*sizes: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(sizes, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("width", [16, 96, 300])
@pytest.mark.parametrize("adds", [True, False])
@pytest.mark.parametrize("dtype", LIMITS)
def test_norm(width: int, adds: bool, dtype: torch.dtype) -> None:
    stream, added = spread(5, width, dtype=dtype), spread(5, width, seed=1, dtype=dtype) * 3
    weight = spread(width, seed=2) + 1
    ours, theirs = stream.clone(), stream.clone()
    found = add_norm(ours, added if adds else None, weight, 1e-5)
    expected = twins.add_norm(theirs, added if adds else None, weight, 1e-5)
    assert found.dtype == dtype
    assert torch.equal(ours, theirs)
    assert torch.equal(ours, stream) != adds
    torch.testing.assert_close(found, expected, rtol=LIMITS[dtype], atol=LIMITS[dtype])


@pytest.mark.parametrize("dim", [16, 64])
@pytest.mark.parametrize("normed", [True, False])
@pytest.mark.parametrize("dtype", LIMITS)
def test_place(dim: int, normed: bool, dtype: torch.dtype) -> None:
    queries, kv_heads, places = 6, 2, 16
    slots = torch.tensor([0, 17, -1, 63, 30, -1])
    heads = spread(len(slots), queries + 2 * kv_heads, dim, dtype=dtype)
    norms = (1 + spread(dim, seed=3), 1 + spread(dim, seed=4)) if normed else None
    cos, sin = rotary_table(99, dim, 1e4)
    turn = Turn(torch.tensor([0, 98, 5, 5, 6, 0]), slots, cos, sin, 1e-6, norms)
    pool = spread(4, 3, 2, kv_heads, places, dim, seed=9, dtype=dtype)
    ours, theirs = pool.clone(), pool.clone()
    found = place(heads, ours[:, 1, 0], ours[:, 1, 1], turn)
    expected = twins.place(heads, theirs[:, 1, 0], theirs[:, 1, 1], turn)
    torch.testing.assert_close(found, expected, rtol=LIMITS[dtype], atol=LIMITS[dtype])
    torch.testing.assert_close(ours, theirs, rtol=LIMITS[dtype], atol=LIMITS[dtype])
    changed = ours.ne(pool).any(-1).any(3).transpose(0, 1).flatten(2, 3)  # [layers, blocks, 2 * places]
    assert changed[1].view(4, 2, places).any(1).sum() == (slots >= 0).sum()
    assert not changed[0].any()
    assert not changed[2].any()


@pytest.mark.parametrize("vocabulary", [7, SLICE + 1, SPAN + 13])
@pytest.mark.filterwarnings("ignore:overflow encountered in divide")  # the interpreter's, at 1e-38
def test_scores_with_noise(vocabulary: int) -> None:
    logits = spread(4, vocabulary + 8)[:, :vocabulary]
    rows = [Row(1, 3), Row(2**64 - 1, 4, 0.7, -2.0), Row(3, 2**40, 0.0), Row(4, 6, 1.3, stream=9)]
    found = noisy(logits, draws(rows))
    assert torch.equal(found, twins.noisy(logits, draws(rows)))
    assert torch.equal(found[2], logits[2])
    assert (found[1] == -math.inf).any()
