"""Drafts for rules with probabilities: drawn as they say; and the dice they are drawn with."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ringroad.actors.chance import Dice, Distribution
from ringroad.actors.drafts import DRAFTS, ROOT, Node, beam, gumbel_top, no_more_than
from ringroad.kernels.noise import gumbel
from tests import reference
from tests.kernels.test_distribution import DOUBT, doubt

Q = np.array([0.4, 0.0, 0.3, 0.2, 0.1])
AFTER = np.array([[0.7, 0.2, 0.1], [0.1, 0.0, 0.9], [0.3, 0.3, 0.4]])  # what follows each token of FIRST
FIRST = np.array([0.5, 0.3, 0.2])


def fits(found: list[tuple[int, ...]], law: dict[tuple[int, ...], float]) -> float:
    """The chi-square p-value of what was drawn; 0 where the impossible was."""
    cells = list(law)
    if not set(found) <= set(cells):
        return 0.0
    counted = Counter(found)
    return float(stats.chisquare([counted[c] for c in cells], [law[c] * len(found) for c in cells]).pvalue)


@pytest.mark.parametrize(("drafts", "replaced"), [("independent", True), ("without_replacement", False)])
@pytest.mark.parametrize("width", [1, 2, 3])
def test_draws_have_their_law(drafts: str, replaced: bool, width: int) -> None:
    found = [
        tuple(n.token for n in DRAFTS[drafts]([ROOT], Q[None], width, Dice(seed, 1))) for seed in range(4_000)
    ]
    assert fits(found, reference.ordered_draws(list(Q), width, replaced)) > DOUBT
    if width > 1:
        assert fits(found, reference.ordered_draws(list(Q), width, not replaced)) < DOUBT


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.integers(1, 9), st.integers(0, 99))
def test_gumbel_top_is_the_top_of_the_sums(weights: list[float], count: int, seed: int) -> None:
    q, noise = np.array(weights), Dice(seed, 0).noise(len(weights))
    with np.errstate(divide="ignore"):
        sums = np.log(q) + noise
    order = sorted((i for i, w in enumerate(weights) if w > 0), key=lambda i: -sums[i])
    assert gumbel_top(q, noise, count) == order[:count]


@pytest.mark.parametrize("drafts", list(DRAFTS))
def test_no_draft_has_no_probability(drafts: str) -> None:
    level = [Node(0, 0), Node(1, 0)]
    q = np.array([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5]])
    for seed in range(50):
        grown = DRAFTS[drafts](level, q, 3, Dice(seed, 2))
        assert grown
        assert all(q[node.parent][node.token] > 0 for node in grown)
        if drafts != "independent":
            assert len({(node.parent, node.token) for node in grown}) == len(grown)


def test_likeliest_needs_no_dice() -> None:
    grown = DRAFTS["likeliest"]([ROOT, ROOT], np.array([Q, Q[::-1]]), 2, Dice(0, 0))
    assert [(n.parent, n.token) for n in grown] == [(0, 0), (0, 2), (1, 4), (1, 2)]


# --- the stochastic beam --------------------------------------------------------------------------


def two_levels(width: int, seed: int) -> tuple[list[Node], list[Node]]:
    dice = Dice(seed, 3)
    first = beam([ROOT], FIRST[None], width, dice)
    return first, beam(first, AFTER[[n.token for n in first]], width, dice)


@pytest.mark.parametrize("width", [1, 2])
def test_the_beams_paths_are_drawn_without_replacement(width: int) -> None:
    """From all paths of two tokens, likelihoods multiplied."""
    paths = list(product(range(3), repeat=2))
    likelihood = [float(FIRST[a] * AFTER[a, b]) for a, b in paths]
    found = []
    for seed in range(5_000):
        first, second = two_levels(width, seed)
        found.append(tuple(paths.index((first[n.parent].token, n.token)) for n in second))
    assert fits(found, reference.ordered_draws(likelihood, width, replaced=False)) > DOUBT


def test_a_beams_best_child_scores_as_its_parent() -> None:
    """And all of a level stand in descending order."""
    for seed in range(50):
        first, second = two_levels(3, seed)
        assert [n.score for n in first] == sorted((n.score for n in first), reverse=True)
        assert [n.score for n in second] == sorted((n.score for n in second), reverse=True)
        assert first[0].score == ROOT.score
        assert second[0].score == first[0].score
        for node in second:
            assert node.score <= first[node.parent].score
            expected = np.log(FIRST[first[node.parent].token] * AFTER[first[node.parent].token, node.token])
            assert node.log_q == pytest.approx(expected)


@given(
    st.floats(-20, 20), st.lists(st.floats(-30, 30), min_size=1, max_size=6).map(lambda s: sorted(s)[::-1])
)
def test_conditioned_scores_are_the_formula(limit: float, scores: list[float]) -> None:
    found = no_more_than(limit, np.array(scores))
    assert found[0] == limit
    best = scores[0]
    for ours, score in zip(found, scores, strict=True):
        inverse = np.exp(-limit) + np.exp(-score) * -np.expm1(score - best)
        assert ours == pytest.approx(-np.log(inverse), rel=1e-9, abs=1e-9)


def test_conditioned_scores_do_not_overflow() -> None:
    found = no_more_than(-2_000.0, np.array([5.0, -3_000.0]))
    assert found.tolist() == pytest.approx([-2_000.0, -3_000.0])


# --- dice -----------------------------------------------------------------------------------------


def test_dice_are_a_function_of_seed_and_position() -> None:
    def rolled(seed: int, position: int) -> list[float]:
        dice = Dice(seed, position)
        return [*dice.noise(4), dice.token(Q), dice.happens(0.5), *dice.noise(2)]

    assert rolled(2**64 - 1, 7) == rolled(2**64 - 1, 7)
    assert rolled(3, 7) != rolled(4, 7)
    assert rolled(3, 7) != rolled(3, 8)


def test_dice_do_not_repeat_the_coupled_noise() -> None:
    """A drafter's own noise in a verdict would accept too often, and bias the text."""
    ours = Dice(5, 9).noise(2_000)
    shared = gumbel(5, 9, 2_000).numpy()
    assert abs(np.corrcoef(ours, shared)[0, 1]) < 0.1


def test_dice_are_fair() -> None:
    dice = Dice(1, 0)
    assert doubt(np.array([dice.token(Q) for _ in range(5_000)]), list(Q)) > DOUBT
    assert stats.kstest(dice.noise(5_000), "gumbel_r").pvalue > DOUBT
    assert stats.binomtest(sum(dice.happens(0.3) for _ in range(5_000)), 5_000, 0.3).pvalue > DOUBT
    assert not any(dice.happens(0.0) for _ in range(100))
    assert all(dice.happens(1.0) for _ in range(100))


class Stuck(Dice):
    """Dice that always show the same side."""

    def __init__(self, side: float) -> None:
        super().__init__(0, 0)
        self._side = side

    def _uniform(self, count: int) -> Distribution:
        return np.full(count, self._side)


@pytest.mark.parametrize(
    ("side", "token"), [(2.0**-53, 1), (0.5 - 2.0**-53, 1), (0.5, 3), (1 - 2.0**-53, 3), (1.0, 3)]
)
def test_tokens_at_the_edges(side: float, token: int) -> None:
    assert Stuck(side).token(np.array([0.0, 0.5, 0.0, 0.5, 0.0])) == token
