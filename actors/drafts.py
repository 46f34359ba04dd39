"""Drafting for rules with probabilities: the next level of a tree, as pure functions of distributions.

A `Grow` gets the last level and what the small model says after each of its nodes, and gives the
next level, siblings in the order of drafting. `DRAFTS` are the ways there are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ringroad.actors.chance import Chance, Distribution


@dataclass(frozen=True)
class Node:
    """A guess."""

    token: int
    parent: int  # index in the level before
    log_q: float = 0.0  # of all guesses down to this one, for `beam`
    score: float = 0.0  # log_q + noise, no more than the parent's, for `beam`


ROOT = Node(-1, -1)  # the committed text

# (level, q [nodes, vocabulary], width, chance) -> the next level.
Grow = Callable[[Sequence[Node], Distribution, int, Chance], list[Node]]


def independent(_level: Sequence[Node], q: Distribution, width: int, chance: Chance) -> list[Node]:
    """`width` draws from q after each node, equal ones among them (for `rejection`, `k_seq`)."""
    return [Node(chance.token(row), i) for i, row in enumerate(q) for _ in range(width)]


def without_replacement(_level: Sequence[Node], q: Distribution, width: int, chance: Chance) -> list[Node]:
    """`width` different draws after each node, or all it has: RSD-C (Jeon et al. 2024)."""
    return [
        Node(token, i) for i, row in enumerate(q) for token in gumbel_top(row, chance.noise(len(row)), width)
    ]


def likeliest(_level: Sequence[Node], q: Distribution, width: int, _chance: Chance) -> list[Node]:
    """The `width` likeliest tokens after each node: no dice (for `point_mass`)."""
    return [Node(token, i) for i, row in enumerate(q) for token in gumbel_top(row, np.zeros_like(row), width)]


def beam(level: Sequence[Node], q: Distribution, width: int, chance: Chance) -> list[Node]:
    """`width` nodes in all: the stochastic beam of RSD-S (Jeon et al. 2024; Kool et al. 2019).

    The paths of a level are drawn without replacement from all there are of its length.
    """
    children: list[Node] = []
    for i, (node, row) in enumerate(zip(level, q, strict=True)):
        noise = chance.noise(len(row))
        tokens = gumbel_top(row, noise, width)
        log_q = node.log_q + np.log(row[tokens])
        scores = no_more_than(node.score, log_q + noise[tokens])
        children += map(Node, tokens, [i] * len(tokens), log_q.tolist(), scores.tolist())
    return sorted(children, key=lambda child: -child.score)[:width]  # stable: siblings keep their order


def gumbel_top(q: Distribution, noise: Distribution, count: int) -> list[int]:
    """The tokens of the `count` largest log q + noise, in descending order; fewer if q has fewer.

    With standard Gumbel noise that is drawing from q without replacement (Kool et al. 2019).
    """
    possible = np.flatnonzero(q > 0.0)
    scores = np.log(q[possible]) + noise[possible]
    best: list[int] = possible[np.argsort(-scores, kind="stable")[:count]].tolist()
    return best


def no_more_than(limit: float, scores: Distribution) -> Distribution:
    """Perturbed scores [nodes], in descending order, given that their largest is `limit`.

    -log(exp(-limit) - exp(-Z) + exp(-scores)) where Z is the largest, in the form that cannot
    overflow (Kool et al. 2019, appendix on numerical stability).
    """
    with np.errstate(divide="ignore"):  # the largest itself: log 0
        over = limit - scores + np.log(-np.expm1(scores - scores[0]))
    conditioned: Distribution = limit - np.maximum(over, 0.0) - np.log1p(np.exp(-np.abs(over)))
    return conditioned


DRAFTS: dict[str, Grow] = {
    "independent": independent,
    "without_replacement": without_replacement,
    "likeliest": likeliest,
    "beam": beam,
}
