"""The dice of rules with draft probabilities: an argument, never a global generator.

Coupled sampling needs none of this; its noise is kernels/noise.py.
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt

Distribution = npt.NDArray[np.float64]  # [vocabulary], or rows of it; each sums to 1
STREAM = 1  # Philox key word; stream 0 is the coupled noise, which these dice must not repeat


class Chance(Protocol):
    """What a rule or a draft may ask of randomness; every answer is independent of those before."""

    def happens(self, probability: float) -> bool:
        """True with this probability."""

    def token(self, distribution: Distribution) -> int:
        """A token drawn from distribution [vocabulary]."""

    def noise(self, count: int) -> Distribution:
        """Standard Gumbel noise [count] fp64."""


class Dice:
    """Chance that is a pure function of seed and position: a Philox stream begun anew at each."""

    def __init__(self, seed: int, position: int) -> None:
        """`position`: the length of the committed text, so that a replay from there rolls the same."""
        self._words = np.random.Philox(
            key=np.array([seed, STREAM], dtype=np.uint64),
            counter=np.array([0, position, 0, 0], dtype=np.uint64),
        )

    def happens(self, probability: float) -> bool:
        """Never of 0, always of 1."""
        return bool(self._uniform(1)[0] < probability)

    def token(self, distribution: Distribution) -> int:
        """By the inverse of the cumulated distribution; what has no probability is never drawn."""
        reached = distribution.cumsum()
        at = int(reached.searchsorted(self._uniform(1)[0] * reached[-1], side="right"))
        return min(at, int(reached.searchsorted(reached[-1])))  # a product that was rounded up to the end

    def noise(self, count: int) -> Distribution:
        """-log(-log(u)) of uniforms."""
        noise: Distribution = -np.log(-np.log(self._uniform(count)))
        return noise

    def _uniform(self, count: int) -> Distribution:
        # The middles of 2^52 equal steps: exact in fp64, and never 0 or 1.
        words: np.ndarray = self._words.random_raw(count)
        return ((words >> 12).astype(np.float64) + 0.5) * 2.0**-52
