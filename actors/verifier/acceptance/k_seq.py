"""SpecTr's k-sequential selection (k-SEQ, Sun et al. 2023): k independent guesses, judged as one."""

from collections.abc import Sequence

import numpy as np

from ringroad.actors.chance import Distribution
from ringroad.actors.verifier.acceptance.odds import Odds, normalised

HALVINGS = 30  # of [1, k]: what is missed costs acceptance alone, a billionth of it


def k_seq(p: Distribution, q: Distribution, siblings: Sequence[int]) -> Odds:
    """Every sibling stays with probability min(1, p / (rho q)), the same in each round.

    rho is as small as may be while what is drawn in the end is p. Raises ValueError for a sibling
    that cannot have been drawn.
    """
    tokens = list(siblings)
    if (q[tokens] <= 0.0).any():
        raise ValueError(f"one of {tokens} has no probability in the distribution they were drawn from")
    rho = smallest_rho(p, q, len(tokens))
    common = np.minimum(q, p / rho)
    accept = np.minimum(1.0, p[tokens] / (rho * q[tokens])).tolist()
    left = np.maximum(p - common * _rounds(float(common.sum()), len(tokens)), 0.0)
    return Odds(accept, normalised(left, p))


def smallest_rho(p: Distribution, q: Distribution, k: int) -> float:
    """The root in [1, k] of 1 - (1 - beta)^k = rho beta, beta = sum min(q, p / rho); from above.

    From above, because any larger rho is correct too and any smaller one is not: it would ask of
    some token more than p has.
    """
    low, high = 1.0, float(max(k, 1))
    for _ in range(HALVINGS):
        rho = (low + high) / 2
        beta = float(np.minimum(q, p / rho).sum())
        if _rounds(beta, k) > rho:
            low = rho
        else:
            high = rho
    return high


def _rounds(beta: float, k: int) -> float:
    """(1 - (1 - beta)^k) / beta, how many rounds are played on average; k where beta is 0."""
    return sum((1.0 - beta) ** i for i in range(k))
