"""What a step on a GPU does in torch, or has a twin for: a whole batch at once, against row by row."""

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from ringroad.kernels.layers import rotary_table
from ringroad.kernels.ranking import ranked
from ringroad.kernels.triton import twins
from ringroad.kernels.triton.batch import Turn, ancestry, lineage
from ringroad.kernels.triton.decoder import fits
from ringroad.kernels.triton.floors import floors
from tests import reference
from tests.kernels.triton_batches import Row, chain, draws


def spread(*sizes: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(sizes, generator=torch.Generator().manual_seed(seed))


@given(
    st.lists(
        st.lists(st.sampled_from([-math.inf, -2.5, -0.0, 0.0, 1e-42, 1.0, 3.0]), min_size=6, max_size=6),
        min_size=1,
    ),
    st.integers(1, 6),
    st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_of_equals_the_lowest_id_is_ranked_first(rows: list[list[float]], k: int, dtype: torch.dtype) -> None:
    scores = torch.tensor(rows, dtype=dtype)
    ids, values = ranked(scores, k)
    for row, line in enumerate(scores.float().tolist()):
        expected = sorted(range(6), key=lambda i: (-line[i], i))[:k]
        assert ids[row].tolist() == expected
        assert values[row].tolist() == [line[i] for i in expected]


truncations = st.tuples(
    st.sampled_from([0.0, 0.3, 1.0, 2.0]),
    st.sampled_from([0, 1, 3, 20, 99]),
    st.sampled_from([1e-6, 0.4, 0.9, 1.0]),
    st.sampled_from([0.0, 0.05, 0.5]),
)


@given(st.lists(truncations, min_size=1, max_size=5), st.integers(0, 10**6), st.booleans())
def test_floors_leave_what_truncation_leaves(
    limits: list[tuple[float, int, float, float]], seed: int, ties: bool
) -> None:
    logits = spread(len(limits), 20, seed=seed) * 2
    logits = logits.round() if ties else logits
    temperatures, top_k, top_p, min_p = (torch.tensor(column) for column in zip(*limits, strict=True))
    found = floors(logits, temperatures, top_k, top_p, min_p.log())
    for row, (temperature, k, p, least) in enumerate(limits):
        if temperature == 0.0:
            assert found[row] == -math.inf
            continue
        expected, nearest = reference.left_by((logits[row] / temperature).tolist(), k, p, least)
        assume(nearest > 1e-4)
        left = twins.scaled(logits[row], temperature) >= found[row]
        assert set(left.nonzero().squeeze(1).tolist()) == expected


def test_a_rows_floor_has_the_same_bits_in_any_batch() -> None:
    logits = spread(6, 5000, seed=1)
    limits = torch.full((6,), 0.9), torch.zeros(6, dtype=torch.int64), torch.full((6,), 0.8)
    together = floors(logits, *limits, torch.full((6,), -math.inf))
    for row in range(6):
        mine = slice(row, row + 1)
        alone = floors(logits[mine], *(part[mine] for part in limits), torch.full((1,), -math.inf))
        assert torch.equal(alone, together[mine])


@given(st.integers(1, 150), st.integers(3, 4))
def test_the_lineage_of_a_chain_is_its_ancestry(count: int, words: int) -> None:
    assert torch.equal(lineage(count, words), ancestry(chain(count), words))


@pytest.mark.parametrize(("dim", "expected"), [(8, False), (16, True), (80, False), (96, False), (128, True)])
def test_heads_that_the_kernels_take(dim: int, expected: bool) -> None:
    assert fits(dim) == expected


@pytest.mark.parametrize("normed", [True, False])
def test_heads_are_normed_turned_and_written(normed: bool) -> None:
    heads, places, theta = spread(3, 4 + 2 * 2, 16, seed=2), 16, 1e4
    norms = (spread(16, seed=3), spread(16, seed=4)) if normed else None
    positions, slots = [0, 7, 30], [21, -1, 3]
    pool = torch.full((2, 2, places, 16), math.nan), torch.full((2, 2, places, 16), math.nan)
    turn = Turn(torch.tensor(positions), torch.tensor(slots), *rotary_table(40, 16, theta), 1e-5, norms)
    query = twins.place(heads.clone(), *pool, turn)

    def turned(row: int, head: int) -> list[float]:
        line = heads[row, head].tolist()
        if norms:
            line = reference.rms_norm(line, norms[head >= 4].tolist(), 1e-5)
        return reference.rotated(line, positions[row], theta)

    for row, slot in enumerate(slots):
        for head in range(4):
            assert query[row, head].tolist() == pytest.approx(turned(row, head), abs=1e-5)
        if slot < 0:
            continue
        for head in range(2):
            key, value = (cache[slot // places, head, slot % places] for cache in pool)
            assert key.tolist() == pytest.approx(turned(row, 4 + head), abs=1e-5)
            assert torch.equal(value, heads[row, 6 + head])
    assert sum(int(cache.isfinite().all(-1).sum()) for cache in pool) == 2 * 2 * 2


def test_a_norm_adds_to_the_stream_first() -> None:
    stream, added, weight = spread(4, 24, seed=5), spread(4, 24, seed=6), spread(24, seed=7)
    total = stream + added
    found = twins.add_norm(stream, added, weight, 1e-5)
    assert torch.equal(stream, total)
    for row, ours in zip(total.tolist(), found.tolist(), strict=True):
        assert ours == pytest.approx(reference.rms_norm(row, weight.tolist(), 1e-5), abs=1e-5)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_noisy_scores_are_what_the_draw_is_the_best_of(temperature: float) -> None:
    logits, floor = spread(1, 50, seed=8) * 3, -2.0
    (scores,) = twins.noisy(logits, draws([Row(9, 4, temperature, floor)])).tolist()
    line, top = logits[0].tolist(), float(logits.max())
    for token, score in enumerate(scores):
        expected = line[token]
        if temperature:
            expected = (line[token] - top) / temperature
            expected = expected + reference.noise(9, 4, token) if expected >= floor else -math.inf
        assert score == pytest.approx(expected, abs=1e-5)
