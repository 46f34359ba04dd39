"""How often guesses of a kind turned out right: what makes scores of different drafters comparable."""

from collections.abc import Sequence

MEMORY = 256.0  # trials after which old ones begin to fade
PRIOR = 8.0  # trials that the first belief is worth


class Hits:
    """Running shares of right guesses, one for each kind."""

    def __init__(self, believed: Sequence[float]) -> None:
        """`believed`: the shares before anything was seen."""
        self._right = [share * PRIOR for share in believed]
        self._tried = [PRIOR for _ in believed]

    def __len__(self) -> int:
        return len(self._right)

    def share(self, kind: int) -> float:
        """The probability that the next guess of a kind is right."""
        return self._right[kind] / self._tried[kind]

    @property
    def mean(self) -> float:
        """The same of a guess whose kind is not known."""
        return sum(self._right) / sum(self._tried)

    def saw(self, kind: int, right: bool) -> None:
        """One more guess of a kind, and whether it was right."""
        self._right[kind] += right
        self._tried[kind] += 1.0
        if self._tried[kind] > MEMORY:
            self._right[kind] /= 2
            self._tried[kind] /= 2
