"""The rules with probabilities, enumerated over small vocabularies: what comes out is the target."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from ringroad.actors.chance import Distribution
from ringroad.actors.verifier.acceptance import RULES
from ringroad.actors.verifier.acceptance.k_seq import smallest_rho
from ringroad.actors.verifier.acceptance.odds import Judge
from tests import reference

EXACT = 1e-12
INDEPENDENT, DIFFERENT = ("rejection", "k_seq"), ("recursive",)


def distribution(rng: np.random.Generator, size: int, zeros: int) -> Distribution:
    """A random one, some tokens of which have no probability; from flat to peaked."""
    weights = rng.dirichlet(np.full(size, rng.choice([0.2, 1.0, 5.0])))
    weights[rng.permutation(size)[:zeros]] = 0.0
    if weights.sum() < 1e-6:
        weights[rng.integers(size)] += 1.0
    return weights / weights.sum()


def pairs(count: int, seed: int) -> Iterator[tuple[Distribution, Distribution]]:
    """Targets and drafts; among them equal ones, ones with zeros, and ones with nothing in common."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        size = int(rng.integers(2, 5))
        p, q = (distribution(rng, size, int(rng.integers(0, size))) for _ in "pq")
        yield (p, p.copy()) if i % 10 == 9 else (p, q)
    yield np.array([0.5, 0.5, 0.0, 0.0]), np.array([0.0, 0.0, 0.5, 0.5])
    yield np.array([1.0, 0.0]), np.array([1.0, 0.0])
    yield np.array([1.0, 0.0]), np.array([0.0, 1.0])
    yield np.array([1e-15, 1 - 1e-15]), np.array([1 - 1e-15, 1e-15])


def enumerated(
    judge: Judge, p: Distribution, q: Distribution, draws: dict[tuple[int, ...], float]
) -> tuple[Distribution, float]:
    """The distribution that comes out over all drafts, and how often one of them stays."""
    law, stays = np.zeros_like(p), 0.0
    for siblings, probability in draws.items():
        odds = judge(p, q, siblings)
        assert all(0 <= a <= 1 for a in odds.accept)
        assert odds.recovered.min() >= 0
        assert abs(odds.recovered.sum() - 1) < EXACT
        law += probability * np.array(reference.judged(siblings, odds.accept, odds.recovered))
        stays += probability * (1 - np.prod([1 - a for a in odds.accept]))
    return law, stays


def acceptance(rule: str, p: Distribution, q: Distribution, k: int) -> float:
    draws = reference.ordered_draws(list(q), k, rule in INDEPENDENT)
    return enumerated(RULES[rule].judge, p, q, draws)[1]


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("rule", [*INDEPENDENT, *DIFFERENT])
def test_what_comes_out_is_the_target(rule: str, k: int) -> None:
    for p, q in pairs(60 if k < 4 else 25, seed=k):
        draws = reference.ordered_draws(list(q), k, rule in INDEPENDENT)
        assert sum(draws.values()) == pytest.approx(1, abs=EXACT)
        law, _ = enumerated(RULES[rule].judge, p, q, draws)
        assert np.abs(law - p).max() < EXACT, (p, q)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_any_fixed_guesses_give_the_target(k: int) -> None:
    """Equal ones among them too."""
    rng = np.random.default_rng(k)
    for p, q in pairs(200, seed=10 + k):
        siblings = tuple(rng.integers(0, len(p), k).tolist())
        law, stays = enumerated(RULES["point_mass"].judge, p, q, {siblings: 1.0})
        assert np.abs(law - p).max() < EXACT
        assert stays == pytest.approx(sum(p[token] for token in set(siblings)), abs=EXACT)


@pytest.mark.parametrize(("rule", "replaced"), [("recursive", True), ("rejection", False), ("k_seq", False)])
def test_a_rule_for_other_drafts_is_biased(rule: str, replaced: bool) -> None:
    """Else the enumeration above could not tell right from wrong."""
    p, q = np.array([0.3, 0.4, 0.2, 0.1]), np.array([0.1, 0.2, 0.3, 0.4])
    draws = reference.ordered_draws(list(q), 2, replaced)
    if replaced:  # less the equal siblings, which `recursive` cannot judge at all
        different = {k: v for k, v in draws.items() if k[0] != k[1]}
        draws = {k: v / sum(different.values()) for k, v in different.items()}
    law, _ = enumerated(RULES[rule].judge, p, q, draws)
    assert np.abs(law - p).max() > 1e-3


@pytest.mark.parametrize("rule", [*INDEPENDENT, *DIFFERENT])
def test_one_guess_stays_as_often_as_can_be(rule: str) -> None:
    for p, q in pairs(100, seed=3):
        assert acceptance(rule, p, q, 1) == pytest.approx(1 - np.abs(p - q).sum() / 2, abs=1e-8)


def test_more_guesses_stay_more_often_without_replacement() -> None:
    for p, q in pairs(60, seed=4):
        found = [acceptance("recursive", p, q, k) for k in (1, 2, 3, 4)]
        assert found == sorted(found) or max(np.diff(sorted(found)) - np.diff(found)) < EXACT
        if (q > 0).all():
            assert acceptance("recursive", p, q, len(q)) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_recursive_beats_k_seq_beats_rejection_in_rounds(k: int) -> None:
    """On average over a toy: five tokens, a draft that is a target half mixed with another."""
    rng = np.random.default_rng(0)
    total = dict.fromkeys(("recursive", "k_seq", "rejection"), 0.0)
    for _ in range(12):
        p, other = rng.dirichlet(np.ones(5)), rng.dirichlet(np.ones(5))
        for rule in total:
            total[rule] += acceptance(rule, p, (p + other) / 2, k)
    assert total["recursive"] > total["k_seq"] + 0.01
    assert total["k_seq"] > total["rejection"] + 0.01
    assert total["recursive"] < 12


@pytest.mark.parametrize("k", [2, 3, 4, 8])
def test_rho_is_the_root_seen_from_above(k: int) -> None:
    def over(p: Distribution, q: Distribution, rho: float) -> float:
        beta = float(np.minimum(q, p / rho).sum())
        return 1 - (1 - beta) ** k - rho * beta

    for p, q in pairs(100, seed=5):
        rho = smallest_rho(p, q, k)
        assert 1 <= rho <= k
        assert over(p, q, rho) < EXACT
        if 1e-3 < np.minimum(p, q).sum() < 0.999:  # else the root is flat, or at an end
            assert over(p, q, rho * (1 - 1e-6)) > 0


def test_rho_of_one_guess_is_one() -> None:
    assert smallest_rho(np.array([0.3, 0.7]), np.array([0.6, 0.4]), 1) == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("rule", [*INDEPENDENT, *DIFFERENT])
@pytest.mark.parametrize("siblings", [[2], [0, 2], [2, 0]])
def test_a_guess_that_cannot_have_been_drawn_is_an_error(rule: str, siblings: Sequence[int]) -> None:
    p, q = np.array([0.2, 0.3, 0.5]), np.array([0.4, 0.6, 0.0])
    with pytest.raises(ValueError, match="no probability"):
        RULES[rule].judge(p, q, siblings)


def test_the_arguments_are_left_as_they_were() -> None:
    p, q = np.array([0.2, 0.3, 0.5]), np.array([0.4, 0.5, 0.1])
    for rule in RULES.values():
        rule.judge(p, q, [0, 1])
    assert p.tolist() == [0.2, 0.3, 0.5]
    assert q.tolist() == [0.4, 0.5, 0.1]
