"""Texts that both models have spoken, as they are when they are served: what a router will be asked about.

What a head learns on the large model's texts alone, it has not learnt of the small one's: what is said
differs, and errors come after errors (Ross et al. 2011 on learning where one's own choices lead).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from ringroad.actors.messages import Policy
from ringroad.actors.router.policies import FALLBACK, Decision, decide
from ringroad.cluster.training.speaking import Ask, Script
from ringroad.cluster.training.tasks import Task, code, played, sums

LARGE, SMALL = 0, 1  # engines, in the order of `play`
THRESHOLDS = (0.8, 0.55, 0.3)  # of FALLBACK: for the demonstration pair about 6, 12 and 19 % large tokens
GAMES = 120  # items of each game, of all texts that there are
MOST = 1530  # that is how many


@dataclass(frozen=True)
class Course:
    """A task, and the threshold at which both models speak about it."""

    task: Task
    threshold: float

    @property
    def name(self) -> str:
        """In files."""
        return f"{self.task.name}@{self.threshold}"


def courses(count: int) -> list[Course]:
    """The first so many, in an order that mixes all sets. Raises NoTasks."""
    if not count:
        return []
    found = [Course(task, each) for task in (*code("train"), *sums("train")) for each in THRESHOLDS]
    found += [Course(task, THRESHOLDS[i % len(THRESHOLDS)]) for i, task in enumerate(played("train", GAMES))]
    random.Random(1).shuffle(found)
    return found[:count]


def spoken(prompt: Sequence[int], threshold: float, ends: Sequence[int], most: int) -> Script[list[int]]:
    """The greedy text of mode `routed` under FALLBACK."""
    policy, said = Policy(FALLBACK, threshold), list[int]()
    while len(said) < most and not (said and said[-1] in ends):
        text = [*prompt, *said]
        outcome = yield Ask(text, SMALL, features=True)
        assert outcome.features is not None
        if decide(policy, outcome.features, 0) is Decision.CONSULT:
            outcome = yield Ask(text, LARGE)
        said += outcome.tokens
    return said
