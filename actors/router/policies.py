"""Token routers that need no training: rules over what the small model's distribution looks like."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from ringroad.actors.messages import Features, Policy


class Decision(Enum):
    """Who may speak a token the small model has guessed."""

    KEEP = auto()
    CONSULT = auto()


@dataclass(frozen=True)
class Rule:
    """When to consult, the thresholds that make sense, and the one that serves by default."""

    consult: Callable[[Features, int, float], bool]  # features, index of the guess, threshold
    lowest: float
    highest: float
    default: float


RULES: dict[str, Rule] = {
    # FS-GEN's gap of the two likeliest tokens: a close call is the large model's.
    "margin": Rule(lambda seen, i, threshold: seen.margin[i] < threshold, 0.0, 1.0, 0.3),
    "entropy": Rule(lambda seen, i, threshold: seen.entropy[i] > threshold, 0.0, 100.0, 1.0),
}


def decide(policy: Policy, features: Features, index: int) -> Decision:
    """KEEP or CONSULT for one guess of a proposal."""
    consult = RULES[policy.name].consult(features, index, policy.threshold)
    return Decision.CONSULT if consult else Decision.KEEP


def kept(policy: Policy, features: Features, count: int) -> int:
    """How many of a proposal's guesses stay: all before the first that needs a consult."""
    for index in range(count):
        if decide(policy, features, index) is Decision.CONSULT:
            return index
    return count
