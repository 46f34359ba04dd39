"""Token routers: rules that say how doubtful a token of the small model is, and one way to decide by it.

Every rule gives a doubt in [0, 1], so that one dial means the same for all: consult where the doubt reaches
the threshold. At 0 the large model speaks every token, above 1 the small one does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from math import exp

from msgspec import structs

from ringroad.actors.messages import Features, Policy

HORIZON = 32  # tokens in which a share that was missed is made good
LEARNED, FALLBACK = "learned", "margin"


class Decision(Enum):
    """Who may speak a token the small model has guessed."""

    KEEP = auto()
    CONSULT = auto()


@dataclass(frozen=True)
class Rule:
    """How doubtful guess `index` of a proposal is, and the threshold that serves by default."""

    doubt: Callable[[Features, int], float]
    default: float


RULES: dict[str, Rule] = {
    # Trained on this pair of models (R2R, Fu et al. 2025); FALLBACK speaks where no head has judged.
    LEARNED: Rule(lambda seen, i: seen.doubt[i], 0.5),
    # FS-GEN's gap of the two likeliest tokens: a close call is the large model's.
    "margin": Rule(lambda seen, i: 1.0 - seen.margin[i], 0.7),
    "entropy": Rule(lambda seen, i: 1.0 - exp(-seen.entropy[i]), 0.63),
    "max-prob": Rule(lambda seen, i: 1.0 - seen.top[i], 0.5),
    # What all others have to beat: nothing is looked at.
    "random": Rule(lambda seen, i: seen.coin[i], 0.9),
}


def decide(policy: Policy, features: Features, index: int) -> Decision:
    """KEEP or CONSULT for one guess of a proposal."""
    if lacks_head(policy, features):
        policy = fallback(policy)
    doubt = RULES[policy.name].doubt(features, index)
    return Decision.CONSULT if doubt >= threshold(policy, index) else Decision.KEEP


def kept(policy: Policy, features: Features, count: int) -> int:
    """How many of a proposal's guesses stay: all before the first that needs a consult."""
    for index in range(count):
        if decide(policy, features, index) is Decision.CONSULT:
            return index
    return count


def lacks_head(policy: Policy, features: Features) -> bool:
    """Whether the learned rule is asked for, and no head has judged."""
    return policy.name == LEARNED and not features.doubt


def fallback(policy: Policy) -> Policy:
    """What decides in place of the learned rule. A threshold means something else there: its own default."""
    return structs.replace(policy, name=FALLBACK, threshold=RULES[FALLBACK].default, quantiles=[])


def threshold(policy: Policy, index: int = 0) -> float:
    """The least doubt that is a consult, for the token after `policy.spoken` and `index` kept ones.

    A share is held by asking for more of it the more is missing, spread over HORIZON tokens: what is
    spoken differs from what was asked for by a bounded number of tokens, however long the text.
    """
    if policy.share is None:
        return policy.threshold
    missing = policy.share * (policy.spoken + index) - policy.large
    return quantile(policy.quantiles, 1.0 - (policy.share + missing / HORIZON))


def quantile(known: list[float], at: float) -> float:
    """By straight lines between quantiles that are known, evenly spaced from 0 to 1; below 0 everything
    is, above 1 nothing."""
    if at <= 0.0:
        return 0.0
    if at >= 1.0:
        return 2.0
    if not known:
        return at
    place = at * (len(known) - 1)
    left = int(place)
    return known[left] + (place - left) * (known[min(left + 1, len(known) - 1)] - known[left])
