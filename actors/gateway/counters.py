"""The virtual token counter of Sheng et al., "Fairness in Serving Large Language Models" (OSDI 2024),
algorithm 2.

What was served counts for whom it was served, divided by its weight; who was served least is next. Who comes
back is lifted to near the level of the others: nobody saves up more than a little of what he did not ask for.
"""

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Counters(Generic[K]):
    """Of those that wait, and of those that did. No clock, and nothing waits in here."""

    def __init__(self, saved: float = 0.0) -> None:
        """saved: what who comes may be below the others; 0 as in the paper."""
        self._saved = saved
        self._levels: dict[K, float] = {}
        self._waiting: dict[K, None] = {}  # since longest first
        self._last: K | None = None  # that has left

    def __iter__(self) -> Iterator[K]:
        return iter(self._waiting)

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, key: K) -> bool:
        return key in self._waiting

    @property
    def floor(self) -> float:
        """The lowest level of those that wait, or of who did last."""
        if self._waiting:
            return min(map(self.level, self._waiting))
        return 0.0 if self._last is None else self.level(self._last)

    def level(self, key: K) -> float:
        """What was served to it, and what it was lifted by."""
        return self._levels.get(key, 0.0)

    def come(self, key: K) -> None:
        """Waits from now on; it may already."""
        if key not in self._waiting:
            self._levels[key] = max(self.level(key), self.floor - self._saved)
            self._waiting[key] = None

    def go(self, key: K) -> None:
        """Waits no longer."""
        del self._waiting[key]
        self._last = key

    def charge(self, key: K, cost: float) -> None:
        """Something was served to it, now or some time ago."""
        self._levels[key] = self.level(key) + cost

    def least(self) -> list[K]:
        """Who was served least of those that wait, since longest first: more than one where they are
        level."""
        floor = self.floor
        return [key for key in self._waiting if self.level(key) == floor]
