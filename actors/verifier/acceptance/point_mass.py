"""Guesses that no dice were rolled for, such as those looked up in the text."""

from collections.abc import Sequence

import numpy as np

from ringroad.actors.chance import Distribution
from ringroad.actors.verifier.acceptance.odds import Odds, one_by_one


def point_mass(p: Distribution, _q: Distribution, siblings: Sequence[int]) -> Odds:
    """Rejection sampling against all mass on the guess: it stays with probability p(guess), and what
    is left of p is p without it."""

    def certain(token: int) -> Distribution:
        mass = np.zeros_like(p)
        mass[token] = 1.0
        return mass

    return one_by_one(p, [(token, certain(token)) for token in siblings])
