"""Coupled draws are samples of the right distribution, and draws at different places are independent."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from ringroad.kernels.sampling import draw
from tests import reference

LOGITS = [0.3, -1.2, 1.1, 0.0, -0.4, 0.9, -2.0, 0.5]
DRAWS = 20_000
DOUBT = 1e-4  # a fair sampler fails so often; the seeds are fixed, so it does not flake


def drawn(
    seeds: range,
    positions: range,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
) -> np.ndarray:
    logits = torch.tensor(LOGITS)
    return np.array(
        [
            draw(logits, seed=s, position=t, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
            for s in seeds
            for t in positions
        ]
    )


def doubt(tokens: np.ndarray, expected: list[float]) -> float:
    """The chi-square p-value of drawn tokens; 0 when one is drawn that has no probability."""
    counts = np.bincount(tokens, minlength=len(expected))
    p = np.array(expected)
    if counts[p == 0].any():
        return 0.0
    return float(stats.chisquare(counts[p > 0], p[p > 0] / p[p > 0].sum() * len(tokens)).pvalue)


@pytest.fixture(scope="module")
def plain() -> np.ndarray:
    return drawn(range(7, 8), range(DRAWS))


def test_over_positions(plain: np.ndarray) -> None:
    assert doubt(plain, reference.distribution(LOGITS)) > DOUBT


def test_over_seeds() -> None:
    tokens = drawn(range(2**64 - 5_000, 2**64), range(11, 12))
    assert doubt(tokens, reference.distribution(LOGITS)) > DOUBT


def test_a_wrong_distribution_is_noticed(plain: np.ndarray) -> None:
    warmer = reference.distribution([logit / 1.1 for logit in LOGITS])
    assert doubt(plain, warmer) < DOUBT
    p = reference.distribution(LOGITS)
    p[2], p[6] = p[2] - 0.02, p[6] + 0.02
    assert doubt(plain, p) < DOUBT


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p", "min_p"),
    [
        (0.7, 0, 1.0, 0.0),
        (1.5, 0, 1.0, 0.0),
        (1.0, 4, 1.0, 0.0),
        (1.0, 0, 0.8, 0.0),
        (1.0, 0, 1.0, 0.25),
        (1.3, 6, 0.85, 0.3),
    ],
)
def test_after_truncation(temperature: float, top_k: int, top_p: float, min_p: float) -> None:
    scores = [logit / temperature for logit in LOGITS]
    expected = reference.distribution(scores, top_k, top_p, min_p)
    assert (0.0 in expected) == (top_k > 0 or top_p < 1 or min_p > 0)
    tokens = drawn(range(3, 4), range(6_000), temperature, top_k, top_p, min_p)
    assert doubt(tokens, expected) > DOUBT


def independence(first: np.ndarray, second: np.ndarray) -> float:
    table = np.zeros((len(LOGITS), len(LOGITS)))
    np.add.at(table, (first, second), 1)
    return float(stats.chi2_contingency(table).pvalue)


@pytest.mark.parametrize("lag", [1, 2, 8])
def test_positions_are_independent(plain: np.ndarray, lag: int) -> None:
    assert independence(plain[:-lag], plain[lag:]) > DOUBT


def test_seeds_are_independent(plain: np.ndarray) -> None:
    assert independence(plain[:8_000], drawn(range(8, 9), range(8_000))) > DOUBT


def test_dependence_is_noticed(plain: np.ndarray) -> None:
    mixed = np.where(np.arange(len(plain)) % 20 == 0, plain, np.roll(plain, 1))
    assert independence(plain, mixed) < DOUBT


def test_two_models_agree_as_often_as_their_distributions_allow() -> None:
    """Gumbel-max couples well: agreement at least (1 - d) / (1 + d) for total variation d."""
    other = [logit + 0.3 * (-1) ** i for i, logit in enumerate(LOGITS)]
    p, q = reference.softmax(LOGITS), reference.softmax(other)
    distance = sum(abs(a - b) for a, b in zip(p, q, strict=True)) / 2
    count = 4_000
    agreed = sum(
        draw(torch.tensor(LOGITS), seed=1, position=t, temperature=1.0)
        == draw(torch.tensor(other), seed=1, position=t, temperature=1.0)
        for t in range(count)
    )
    least = (1 - distance) / (1 + distance)
    noise = 4 * math.sqrt(0.25 / count)
    assert least - noise < agreed / count < 1 - distance + noise
    assert agreed / count > sum(a * b for a, b in zip(p, q, strict=True)) + 0.3  # independent draws
