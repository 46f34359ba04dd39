"""Speculative sampling (Leviathan et al. 2023; Chen et al. 2023): independent guesses from q."""

from collections.abc import Sequence

from ringroad.actors.chance import Distribution
from ringroad.actors.verifier.acceptance.odds import Odds, one_by_one


def rejection(p: Distribution, q: Distribution, siblings: Sequence[int]) -> Odds:
    """Of one guess the best rule there is: it stays with probability 1 - TV(p, q).

    Several are judged in rounds against the same q (multi-step speculative sampling of SpecInfer,
    Miao et al. 2024).
    """
    return one_by_one(p, [(token, q) for token in siblings])
