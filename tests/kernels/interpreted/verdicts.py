"""The noise inside a kernel, and coupled sampling with verification: the same bits, the same tokens."""

import math
from pathlib import Path

import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor

from ringroad.kernels import noise
from ringroad.kernels.triton import twins
from ringroad.kernels.triton.batch import Guesses, Verdicts
from ringroad.kernels.triton.noise import gumbel
from ringroad.kernels.triton.verdicts import SLICE, SPAN, verdicts
from tests.kernels.triton_batches import Row, draws, guesses, tree

ONES = 2**64 - 1
SIZE = 64
DOC = Path(__file__).parents[3] / "docs" / "noise.md"


@triton.jit
def noise_kernel(out, start, seeds, streams, positions, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    drawn = gumbel(start, tl.load(seeds), tl.load(streams), tl.load(positions), SIZE)
    tl.store(out + tl.arange(0, SIZE), drawn)


def noise_of(start: int, seed: int, stream: int, position: int) -> Tensor:
    place = draws([Row(seed, position, stream=stream)])
    out = torch.empty(SIZE)
    noise_kernel[(1,)](out, start, place.seeds, place.streams, place.positions, SIZE=SIZE)
    return out


@pytest.mark.parametrize("seed", [0, 42, 2**63, ONES])
@pytest.mark.parametrize(("stream", "position"), [(0, 0), (7, 2**31), (ONES, 2**40), (2**63, 1)])
@pytest.mark.parametrize("start", [0, 8, 1000])
def test_noise_has_the_twins_bits(seed: int, stream: int, position: int, start: int) -> None:
    theirs = noise.gumbel(seed, position, start + SIZE, stream)[start:]
    assert torch.equal(noise_of(start, seed, stream, position), theirs)


def test_noise_has_the_pages_bits() -> None:
    rows = [line.strip("| \n").split(" | ") for line in DOC.read_text().splitlines() if line.startswith("|")]
    assert len(rows) == 11
    for seed, stream, position, token, _, _, bits in rows[2:]:
        start = int(token) // 8 * 8
        found = noise_of(start, int(seed), int(stream), int(position))[int(token) % 8]
        assert f"{int(found.view(torch.int32)) % 2**32:08x}" == bits


def one_each(rows: int) -> Guesses:
    """No guesses: every row is the root of its session."""
    return guesses([[]] * rows, [0] * rows)


def spread(rows: int, vocabulary: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed)) * 3


def assert_equal(ours: Verdicts, theirs: Verdicts) -> None:
    for name in Verdicts._fields:
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name


@pytest.mark.parametrize("vocabulary", [1, 7, SLICE, SLICE + 1, SPAN, 2 * SPAN + 13])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.filterwarnings("ignore:overflow encountered in divide")  # the interpreter's, at 1e-38
def test_draws(vocabulary: int, dtype: torch.dtype) -> None:
    logits = spread(5, vocabulary).to(dtype)
    rows = [
        Row(1, 3),
        Row(ONES, 4, 0.7),
        Row(3, 2**40, 0.0),
        Row(4, 6, 1.3, -4.0, stream=ONES),
        Row(5, 7, 1e-38),
    ]
    assert_equal(verdicts(logits, draws(rows), one_each(5)), twins.verdicts(logits, draws(rows), one_each(5)))


def test_the_same_logits_at_many_positions() -> None:
    logits = spread(1, 60).expand(40, -1)
    rows = [Row(9, position, 3.0) for position in range(40)]
    found = verdicts(logits, draws(rows), one_each(40))
    assert_equal(found, twins.verdicts(logits, draws(rows), one_each(40)))
    assert len(set(found.drawn.tolist())) > 20


def test_of_equals_the_lowest_id_wins() -> None:
    logits = torch.zeros(1, 2 * SPAN)
    logits[0, [SPAN + 700, SLICE + 5, 3 * SLICE + 4]] = 1.0
    found = verdicts(logits, draws([Row(temperature=0.0)]), one_each(1))
    assert found.tokens.tolist() == [SLICE + 5]


def test_scores_so_large_that_they_swallow_the_noise() -> None:
    """At such a temperature sums of different noise are equal, and rounding decides as in the twin."""
    logits = torch.full((8, 900), -1.0)
    logits[:, 100:] = -1.0 - 2.0**-20
    logits[:, ::7] = 0.0
    rows = [Row(2, position, 2.0**-18) for position in range(8)]
    assert_equal(verdicts(logits, draws(rows), one_each(8)), twins.verdicts(logits, draws(rows), one_each(8)))


@pytest.mark.parametrize("limits", [(5, 1.0, 0.0), (0, 0.5, 0.0), (0, 1.0, 0.2), (50, 0.9, 0.02)])
def test_truncation_by_a_floor(limits: tuple[int, float, float]) -> None:
    logits = spread(12, 700, 3) / 3
    rows = [Row(3, i, 0.9, float(twins.floor(line, 0.9, *limits))) for i, line in enumerate(logits)]
    found = verdicts(logits, draws(rows), one_each(12))
    assert_equal(found, twins.verdicts(logits, draws(rows), one_each(12)))
    loose = verdicts(logits, draws([Row(3, i, 0.9) for i in range(12)]), one_each(12))
    assert not torch.equal(found.drawn, loose.drawn)


def test_forbidden_tokens_are_not_drawn() -> None:
    logits = spread(6, 200)
    logits[:, torch.arange(200) % 50 != 3] = -math.inf
    rows = [Row(1, i) for i in range(6)]
    found = verdicts(logits, draws(rows), one_each(6))
    assert_equal(found, twins.verdicts(logits, draws(rows), one_each(6)))
    assert set(found.drawn.tolist()) <= {3, 53, 103, 153}


@pytest.mark.parametrize("seed", range(12))
def test_trees_of_guesses(seed: int) -> None:
    """Guesses of which many are right, siblings that guess the same, sessions without any."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(0, 12, (4,), generator=generator).tolist()
    trees = [tree(size, seed) for size in sizes]
    count = sum(sizes) + 4
    logits = spread(count, 40, seed)
    places = draws([Row(seed, i, temperature=float(i % 3 > 0)) for i in range(count)])
    right = twins.verdicts(logits, places, one_each(count)).drawn
    tokens = torch.randint(0, 40, (count,), generator=generator).tolist()
    start = 0
    for parents in trees:
        for node, parent in enumerate(parents):
            if (node + seed) % 4:
                tokens[start + 1 + node] = int(right[start + 1 + parent])
        start += 1 + len(parents)
    ours = verdicts(logits, places, guesses(trees, tokens))
    assert_equal(ours, twins.verdicts(logits, places, guesses(trees, tokens)))
    assert int(ours.kept.sum()) > 0 or not any(sizes)


def test_rows_of_a_larger_matrix() -> None:
    logits = spread(3, 500)[:, :300]
    places = draws([Row(1, i) for i in range(3)])
    assert_equal(verdicts(logits, places, one_each(3)), twins.verdicts(logits, places, one_each(3)))
