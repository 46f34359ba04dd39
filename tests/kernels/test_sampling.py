"""Drawing a token: against the reference, and what each truncation leaves."""

import math
from dataclasses import asdict

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from ringroad.actors.messages import Sampling
from ringroad.kernels.sampling import CANDIDATES, Draw, best, best_rows, draw, survey, truncate
from tests import reference

pytestmark = pytest.mark.usefixtures("both_readings")

CLOSE = 1e-4  # nearer to a cut than this, fp32 may fall on either side


def left(logits: torch.Tensor) -> set[int]:
    return set(logits.isfinite().nonzero().squeeze(1).tolist())


def spread(size: int, scale: float, seed: int = 0) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) * scale


logit_vectors = st.builds(
    spread, st.integers(1, 60), st.sampled_from([0.0, 0.3, 2.0, 8.0]), st.integers(0, 10**6)
)
top_ks = st.sampled_from([0, 1, 2, 5, 20, 59, 60, 61, 1000])
top_ps = st.sampled_from([1e-6, 0.1, 0.5, 0.8, 0.95, 0.999, 1.0])
min_ps = st.sampled_from([0.0, 1e-6, 0.02, 0.1, 0.5, 0.99])


@given(logit_vectors, top_ks, top_ps, min_ps, st.booleans())
def test_truncation_leaves_what_sorting_leaves(
    logits: torch.Tensor, top_k: int, top_p: float, min_p: float, ties: bool
) -> None:
    logits = logits.round() if ties else logits
    expected, nearest = reference.left_by(logits.tolist(), top_k, top_p, min_p)
    assume(nearest > CLOSE)
    ours = truncate(logits, top_k, top_p, min_p)
    assert left(ours) == expected
    assert torch.equal(ours[list(expected)], logits[list(expected)])


def test_truncation_works_on_what_the_rule_before_has_left() -> None:
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    assert left(truncate(logits, top_p=0.65)) == {0, 1}
    # Of two tokens the first alone has 4/7 = 0.571, so 0.55 now stops after it.
    assert left(truncate(logits, top_p=0.55)) == {0, 1}
    assert left(truncate(logits, top_k=2, top_p=0.55)) == {0}


@pytest.mark.parametrize(
    ("top_p", "count"), [(0.49, 1), (0.51, 2), (0.74, 2), (0.76, 3), (0.87, 3), (0.88, 4)]
)
def test_the_nucleus_has_the_token_that_reaches_top_p(top_p: float, count: int) -> None:
    logits = torch.tensor([0.5, 0.25, 0.125, 0.0625, 0.0625]).log()
    expected = count if count < 4 else 5  # the last two are equals: both or neither
    assert len(left(truncate(logits, top_p=top_p))) == expected


def test_equals_stay_together() -> None:
    logits = torch.tensor([1.0, 1.0, 0.0, 1.0])
    assert left(truncate(logits, top_k=1)) == {0, 1, 3}
    assert left(truncate(logits, top_p=0.01)) == {0, 1, 3}
    assert left(truncate(logits, min_p=1.0)) == {0, 1, 3}


@pytest.mark.parametrize("top_p", [0.3, 0.9, 0.999])
def test_a_nucleus_wider_than_the_candidates(top_p: float) -> None:
    logits = spread(4 * CANDIDATES, 0.2)
    mass = logits.softmax(0).double().sort(descending=True)
    wanted = int((mass.values.cumsum(0) < top_p).sum()) + 1
    found = left(truncate(logits, top_p=top_p))
    assert abs(len(found) - wanted) <= 2  # fp32 sums
    assert wanted > CANDIDATES or top_p == 0.3
    assert found == set(logits.topk(len(found)).indices.tolist())


def test_a_nucleus_of_everything_leaves_everything() -> None:
    assert len(left(truncate(spread(50, 1.0), top_p=1 - 1e-7))) >= 49
    assert len(left(truncate(torch.zeros(3000), top_p=0.9999999))) == 3000


@given(
    logit_vectors,
    st.sampled_from([0.0, 0.05, 0.7, 1.0, 1.2, 3.0]),
    top_ks,
    top_ps,
    min_ps,
    st.integers(0, 2**64 - 1),
    st.integers(0, 10**6),
)
def test_draw_is_the_reference_draw(
    logits: torch.Tensor, temperature: float, top_k: int, top_p: float, min_p: float, seed: int, position: int
) -> None:
    asked = Sampling(seed, temperature, top_k, top_p, min_p)
    if temperature:
        scores = [logit / temperature for logit in logits.tolist()]
        assume(reference.left_by(scores, top_k, top_p, min_p)[1] > CLOSE)
    ours = draw(
        logits,
        seed=seed,
        position=position,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
    )
    assert ours == reference.draw(logits.tolist(), asked, position)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_draw_reads_logits_of_any_dtype(dtype: torch.dtype) -> None:
    logits = spread(500, 3.0).to(dtype)
    for position in range(100):
        ours = draw(logits, seed=5, position=position, temperature=0.9, top_k=50)
        assert ours == reference.draw(logits.tolist(), Sampling(5, 0.9, 50), position)


def test_rows_drawn_together_are_those_drawn_alone() -> None:
    """To the last bit of what they are compared by, however many are wanted of the others."""
    logits = (spread(6 * 3001, 4.0).view(6, 3001)).bfloat16()
    logits[2] = logits[2].round()  # with equals
    logits[3, 5:] = -math.inf
    draws = [
        Draw(0, 1, 3, 17, 1.0, 0, 1.0, 0.0),
        Draw(1, 40, 2**64 - 1, 2**40, 0.7, 0, 1.0, 0.0),
        Draw(2, 34, 3, 17, 1.3, 0, 1.0, 0.0),
        Draw(3, 9, 4, 1, 0.9, 0, 1.0, 0.0),
        Draw(4, 1, 5, 2, 0.8, 30, 0.9, 0.0),  # truncated, so by itself
        Draw(5, 2, 6, 3, 1e-45, 0, 1.0, 0.0),
        Draw(1, 1, 7, 4, 0.5, 0, 1.0, 0.0),  # a row twice
    ]
    together = best_rows(logits, draws)
    for each, (ids, totals) in zip(draws, together, strict=True):
        wanted = asdict(each)
        alone = best(logits[wanted.pop("row")], wanted.pop("count"), **wanted)
        assert torch.equal(ids, alone[0]), each
        assert torch.equal(totals, alone[1]), each
        asked = Sampling(each.seed, each.temperature, each.top_k, each.top_p, each.min_p)
        if each.temperature > 1e-3:
            assert int(ids[0]) == reference.draw(logits[each.row].tolist(), asked, each.position)


@pytest.mark.parametrize("threads", [1, 3])
def test_many_rows_share_the_threads(threads: int) -> None:
    logits, before = spread(64 * 500, 3.0).view(64, 500).bfloat16(), torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        drawn = best_rows(logits, [Draw(row, 1, row, 9, 1.0, 0, 1.0, 0.0) for row in range(64)])
        seen = survey(logits, 2)
    finally:
        torch.set_num_threads(before)
    for row in range(64):
        assert int(drawn[row][0][0]) == draw(logits[row], seed=row, position=9, temperature=1.0)
        assert torch.equal(seen.ids[row], survey(logits[row : row + 1], 2).ids[0])


def test_of_equal_logits_the_lowest_id_wins() -> None:
    logits = torch.zeros(5000)
    logits[[4321, 77, 2500]] = 1.0
    assert draw(logits, seed=1, position=1, temperature=0.0) == 77


def test_a_small_temperature_is_greedy() -> None:
    for position in range(50):
        logits = spread(300, 3.0, position)
        for temperature in (1e-3, 1e-38, 1e-45):  # the last two overflow fp32 when logits are divided
            assert draw(logits, seed=9, position=position, temperature=temperature) == int(logits.argmax())


def test_features_are_margin_and_entropy() -> None:
    logits = spread(200, 2.0).view(4, 50)
    seen = survey(logits.bfloat16(), 2)
    for row, seen_margin, seen_entropy in zip(logits.bfloat16(), seen.margin, seen.entropy, strict=True):
        p = reference.softmax(row.tolist())
        first, second = sorted(p)[-1], sorted(p)[-2]
        assert float(seen_margin) == pytest.approx(first - second, abs=1e-6)
        assert float(seen_entropy) == pytest.approx(-sum(q * math.log(q) for q in p), abs=1e-5)


@pytest.mark.parametrize("size", [1, 5, 15, 16, 17, 48, 333, 5003])
@pytest.mark.parametrize("k", [1, 2, 9, 40, 100, 300])
@pytest.mark.parametrize("ties", [False, True])
def test_a_survey_names_the_best_in_order(size: int, k: int, ties: bool) -> None:
    """Of equals the lowest first; also in what is left over from whole registers."""
    logits = torch.stack([spread(size, 3.0, seed) for seed in range(4)]).bfloat16()
    logits = logits.round() if ties else logits
    seen = survey(logits, k)
    for row, ids, values, log_sum in zip(logits.tolist(), seen.ids, seen.logits, seen.log_sum, strict=True):
        expected = sorted(range(size), key=lambda i: (-row[i], i))[:k]
        assert ids.tolist() == expected
        assert values.tolist() == [row[i] for i in expected]
        assert float(log_sum) == pytest.approx(math.log(sum(map(math.exp, row))), abs=1e-5)


def test_a_survey_of_a_view() -> None:
    logits = spread(400, 2.0).bfloat16().view(40, 10)
    assert torch.equal(survey(logits.T, 3).ids, survey(logits.T.contiguous(), 3).ids)


def test_a_broken_row_names_tokens_of_the_vocabulary() -> None:
    ids = survey(torch.full((2, 50), math.nan).bfloat16(), 3).ids
    assert ((ids >= 0) & (ids < 50)).all()
