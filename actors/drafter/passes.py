"""What is common to the ways in which the small model's guesses grow, pass by pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ringroad.actors.drafter.tree import Tree
from ringroad.actors.engine.engine import Outcome, Work
from ringroad.actors.messages import Features, Logprob
from ringroad.kernels.head import Sight

Guess = tuple[int, int]  # a token, and the kind of guess it is (`chain.BELIEVED`)


@dataclass(frozen=True)
class Read:
    """What a pass leaves behind."""

    kept: list[int]  # of its Work's tokens those that stay in the cache
    text: list[int]  # what the text held for the session grows by
    done: bool
    # Where a head of its own judges: what was seen of each token of the text.
    features: Features | None = None
    sight: Sight | None = None


class Grower(Protocol):
    """The guesses for one draft."""

    @property
    def tree(self) -> Tree:
        """What there is so far."""

    @property
    def stem(self) -> Tree:
        """What of it is a chain of the model's own words, to be gone on from; nothing where it branches."""

    @property
    def second(self) -> Sequence[int]:
        """The second choice at each of `guesses`, where there are any."""

    @property
    def features(self) -> Features | None:
        """What was seen of each guess, where they are a chain and the draft has use for it."""

    @property
    def logprobs(self) -> Sequence[Logprob]:
        """Of each guess, where the request asks and the guesses may stay unjudged."""

    @property
    def guesses(self) -> Sequence[Guess]:
        """Where they are a chain: each, with its kind."""

    def work(self, text: Sequence[int], new: Sequence[int]) -> Work:
        """What to compute for a text, of which the cache lacks what is `new`. Changes nothing of note:
        a Work may be made twice."""

    def read(self, outcome: Outcome) -> Read:
        """Takes in what came of the last Work."""


def behind_text(own: int, parents: Sequence[int]) -> list[int]:
    """The parents in a Work of `own` tokens of the text and a tree behind the last of them."""
    return [*range(-1, own - 1), *(own + parent for parent in parents)]


NOTHING_SEEN = Features([], [])


def picked(seen: Features, rows: Sequence[int]) -> Features:
    """Of some rows alone."""
    columns = seen.margin, seen.entropy, seen.top, seen.coin, seen.doubt
    return Features(*([column[row] for row in rows] if column else [] for column in columns))


def followed(seen: Features, by: Features) -> Features:
    """One after the other."""
    return Features(
        seen.margin + by.margin,
        seen.entropy + by.entropy,
        seen.top + by.top,
        seen.coin + by.coin,
        seen.doubt + by.doubt,
    )
