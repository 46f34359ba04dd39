"""Recursive rejection sampling (RSD, Jeon et al. 2024): siblings drawn without replacement."""

from collections.abc import Sequence

from ringroad.actors.chance import Distribution
from ringroad.actors.verifier.acceptance.odds import Odds, one_by_one, without


def recursive(p: Distribution, q: Distribution, siblings: Sequence[int]) -> Odds:
    """Each sibling against q without those drawn before it; siblings in the order of drawing, which is
    the descending one of log q + Gumbel noise."""
    guesses = []
    for token in siblings:
        guesses.append((token, q))
        q = without(q, token)
    return one_by_one(p, guesses)
