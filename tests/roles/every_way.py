"""All that can happen, each with its exact probability: for code whose randomness is an argument."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from ringroad.actors.chance import Distribution

T = TypeVar("T")


class Scripted:
    """Chance whose first answers are given; after those it takes the first that is possible."""

    def __init__(self, script: Sequence[int]) -> None:
        self.taken: list[int] = []
        self.others: list[list[int]] = []  # at each choice beyond the script, what else was possible
        self.probability = 1.0
        self._script = script

    def happens(self, probability: float) -> bool:
        assert 0 <= probability <= 1
        return bool(self._choose([1 - probability, probability]))

    def token(self, distribution: Distribution) -> int:
        assert abs(sum(distribution) - 1) < 1e-9
        assert min(distribution) >= 0
        return self._choose(list(distribution))

    def noise(self, count: int) -> Distribution:
        raise AssertionError("a continuum of ways")

    def _choose(self, weights: Sequence[float]) -> int:
        possible = [i for i, weight in enumerate(weights) if weight > 0]
        at = len(self.taken)
        choice = self._script[at] if at < len(self._script) else possible[0]
        self.others.append([i for i in possible if i != choice] if at >= len(self._script) else [])
        self.taken.append(choice)
        self.probability *= float(weights[choice])
        return choice


def every_way(run: Callable[[Scripted], T]) -> Iterator[tuple[T, float]]:
    """What `run` gives in each of the ways it can go, and how probable that way is."""
    scripts: list[list[int]] = [[]]
    while scripts:
        chance = Scripted(scripts.pop())
        yield run(chance), chance.probability
        scripts += [
            [*chance.taken[:at], other] for at, others in enumerate(chance.others) for other in others
        ]
