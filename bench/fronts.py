"""What a table of settings by tasks says of routers: rates, fronts, gaps made good, and how sure that is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 2000
REACH = 0.5  # shares of large tokens that a front is compared up to


@dataclass(frozen=True)
class Table:
    """Every setting on every task, float64 [settings, tasks]."""

    right: np.ndarray  # 0 or 1
    large: np.ndarray  # tokens that the large model was consulted about
    tokens: np.ndarray

    def of(self, tasks: np.ndarray) -> "Table":
        """Some tasks, by index, repeated where the index is."""
        return Table(self.right[:, tasks], self.large[:, tasks], self.tokens[:, tasks])

    @property
    def share(self) -> np.ndarray:
        """Of all tokens those that were consulted about: [settings]."""
        return self.large.sum(1) / self.tokens.sum(1)

    @property
    def quality(self) -> np.ndarray:
        """The share of tasks answered right: [settings]."""
        return self.right.mean(1)


def recovered(table: Table, at: int, small: int, large: int) -> float:
    """Of the gap between two settings' quality, what another has made good; 0 where there is no gap."""
    quality = table.quality
    gap = quality[large] - quality[small]
    return float((quality[at] - quality[small]) / gap) if gap else 0.0


def area(table: Table, front: Sequence[int], small: int, large: int) -> float:
    """Mean quality over shares from 0 to REACH, of a curve through some settings between both ends.

    A dial is turned for what it is good for: of two settings the better one serves a larger share, too.
    """
    share, quality = table.share, table.quality
    points = sorted([(0.0, quality[small]), (1.0, quality[large]), *((share[i], quality[i]) for i in front)])
    xs = np.array([x for x, _ in points])
    ys = np.maximum.accumulate([y for _, y in points])
    grid = np.linspace(0, REACH, 201)
    return float(np.interp(grid, xs, ys).mean())


def interval(table: Table, figure: Callable[[Table], float], seed: int = 0) -> tuple[float, float]:
    """The middle 95 % of a figure over tasks drawn again with replacement (Efron 1979)."""
    draw = np.random.default_rng(seed)
    count = table.right.shape[1]
    found = [figure(table.of(draw.integers(0, count, count))) for _ in range(DRAWS)]
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)
