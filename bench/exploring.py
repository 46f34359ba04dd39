"""What many settings of a token router would make of one prompt, without computing anything twice.

Greedy routed text is a function of the prompt and of each token's decision, so settings that decide
alike share their text. A prompt's texts form a tree; it is walked depth first, the small model is asked
once at every place, the large one only where some setting consults. That the served system gives the same
texts is a test: tests/bench/test_exploring.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ringroad.actors.messages import Features, Policy
from ringroad.actors.router.policies import Decision, always, decide, never
from ringroad.cluster.training.speaking import Ask, Script

LARGE, SMALL = 0, 1  # engines, in the order of `play`


class Setting(NamedTuple):
    """A rule by name, and its threshold."""

    policy: str
    threshold: float


@dataclass(frozen=True)
class Text:
    """What some settings came to."""

    tokens: tuple[int, ...]
    large: dict[Setting, int]  # tokens that were consulted about, of each setting with this text


@dataclass(frozen=True)
class Tree:
    """All that was found out about a prompt."""

    texts: list[Text]
    chances: list[float]  # of the small model's likeliest token all along its own text
    small_asked: int
    large_asked: int


@dataclass
class Branch:
    """A text on its way, the settings that share it, and what they have consulted so far."""

    said: list[int]
    large: dict[Setting, int]
    own: bool  # whether nothing but the small model has spoken


def explore(
    prompt: Sequence[int], settings: Sequence[Setting], ends: Sequence[int], most: int
) -> Script[Tree]:
    """Plays all settings to their ends, at most `most` tokens each."""
    texts: list[Text] = []
    chances: list[float] = []
    asked = [0, 0]
    waiting = [Branch([], dict.fromkeys(settings, 0), True)]
    while waiting:
        branch = waiting.pop()
        while len(branch.said) < most and not (branch.said and branch.said[-1] in ends):
            text = [*prompt, *branch.said]
            outcome = yield Ask(text, SMALL, features=True)
            asked[SMALL] += 1
            (small,), seen = outcome.tokens, outcome.features
            assert seen is not None
            if branch.own:
                chances += seen.top
            consulting = {setting for setting in branch.large if _consults(setting, seen)}
            if not consulting:
                branch.said.append(small)
                continue
            outcome = yield Ask(text, LARGE)
            asked[LARGE] += 1
            counts = {s: n + (s in consulting) for s, n in branch.large.items()}
            (large,) = outcome.tokens
            if large != small:
                apart = {s: counts.pop(s) for s in consulting}
                if not counts:
                    branch = Branch([*branch.said, large], apart, False)
                    continue
                waiting.append(Branch([*branch.said, large], apart, False))
            branch.said.append(small)
            branch.large = counts
        texts.append(Text(tuple(branch.said), branch.large))
    return Tree(texts, chances, asked[SMALL], asked[LARGE])


def _consults(setting: Setting, seen: Features) -> bool:
    policy = Policy(setting.policy, setting.threshold)
    return always(policy) or (not never(policy) and decide(policy, seen, 0) is Decision.CONSULT)
