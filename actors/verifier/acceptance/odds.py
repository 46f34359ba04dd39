"""What a rule says of the guesses after one text, before any dice are rolled."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ringroad.actors.chance import Distribution


@dataclass(frozen=True)
class Odds:
    """The fate of siblings, judged one after another until one stays."""

    accept: list[float]  # of each sibling: the probability that it stays if none before it did
    recovered: Distribution  # [vocabulary]: what the next token is drawn from if none stays


# (p, q, siblings) -> Odds, where p is what the large model says after this text and q what the small
# one says, both [vocabulary], and siblings are the guesses in the order in which they were drafted.
Judge = Callable[[Distribution, Distribution, Sequence[int]], Odds]


def one_by_one(p: Distribution, guesses: Iterable[tuple[int, Distribution]]) -> Odds:
    """Rejection sampling in rounds: each sibling with the distribution that it was itself drawn from.

    What a rejected sibling leaves of p is the target of the next round. Raises ValueError for a
    sibling that cannot have been drawn (Leviathan et al. 2023, for one sibling).
    """
    accept = []
    for token, q in guesses:
        if q[token] <= 0.0:
            raise ValueError(f"guess {token} has no probability in the distribution it was drawn from")
        accept.append(min(1.0, float(p[token] / q[token])))
        p = _rest(p, q)
    return Odds(accept, p)


def without(distribution: Distribution, token: int) -> Distribution:
    """A distribution after one token is taken from it; as it was where nothing else is in it."""
    taken = distribution.copy()
    taken[token] = 0.0
    return normalised(taken, distribution)


def normalised(weights: Distribution, otherwise: Distribution) -> Distribution:
    """Weights made to sum to 1, or `otherwise` where all are 0: a branch that is never taken."""
    total = weights.sum()
    return weights / total if total > 0.0 else otherwise


def _rest(p: Distribution, q: Distribution) -> Distribution:
    return normalised(np.maximum(p - q, 0.0), p)
