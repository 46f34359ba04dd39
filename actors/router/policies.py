"""Token routers: rules that say how doubtful a token of the small model is, and one way to decide by it.

Every rule gives a doubt in [0, 1], so that one dial means the same for all: consult where the doubt reaches
the threshold. At 0 the large model speaks every token, above 1 the small one does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from math import exp
from statistics import fmean

from msgspec import structs

from ringroad.actors.messages import Features, Policy

HORIZON = 32  # tokens in which a share that was missed is made good
LEARNED, FALLBACK = "learned", "margin"


class Decision(Enum):
    """Who may speak a token the small model has guessed."""

    KEEP = auto()
    CONSULT = auto()


class Scope(Enum):
    """What is decided at once, and thrown away at once if it is doubtful."""

    TOKEN = auto()
    STEP = auto()  # up to a blank line
    REQUEST = auto()  # the whole text


@dataclass(frozen=True)
class Rule:
    """How doubtful a guess is, and the threshold that serves by default."""

    reads: str  # the one of Features that it looks at
    doubt: Callable[[float], float]
    default: float
    scope: Scope = Scope.TOKEN
    # How doubtful a whole step or text is, from the doubts of its tokens.
    together: Callable[[Sequence[float]], float] = max


def _itself(doubt: float) -> float:
    return doubt


def _rest(certain: float) -> float:
    return 1.0 - certain


def _tenth(doubts: Sequence[float]) -> float:
    """What a tenth of the tokens reach."""
    return sorted(doubts, reverse=True)[len(doubts) // 10]


RULES: dict[str, Rule] = {
    # Trained on this pair of models (R2R, Fu et al. 2025); FALLBACK speaks where no head has judged.
    LEARNED: Rule("doubt", _itself, 0.5),
    # FS-GEN's gap of the two likeliest tokens: a close call is the large model's.
    "margin": Rule("margin", _rest, 0.7),
    "entropy": Rule("entropy", lambda nats: 1.0 - exp(-nats), 0.63),
    "max-prob": Rule("top", _rest, 0.5),
    # What all others have to beat: nothing is looked at.
    "random": Rule("coin", _itself, 0.9),
    # A quantile of the tokens' probabilities decides about the whole answer (Gupta et al. 2024).
    "cascade": Rule("top", _rest, 0.5, Scope.REQUEST, _tenth),
    # Whose step it is, by its mean doubt (after Arbitrage); the head's, or without one FALLBACK's.
    "step": Rule("doubt", _itself, 0.25, Scope.STEP, fmean),
}


def offered(learned: float | None = None) -> dict[str, float]:
    """The rules that requests may name, and the threshold each has by default.

    learned: that of the head for this pair of models; None where there is no head.
    """
    defaults = {name: rule.default for name, rule in RULES.items() if name != LEARNED}
    return defaults if learned is None else {LEARNED: learned, **defaults}


def decide(policy: Policy, features: Features, index: int) -> Decision:
    """KEEP or CONSULT for one guess of a proposal. Rules of a wider scope never stop at a token."""
    if RULES[policy.name].scope is not Scope.TOKEN:
        return Decision.KEEP
    if lacks(policy, features, index + 1):
        policy = fallback(policy)
    if lacks(policy, features, index + 1):
        return Decision.CONSULT  # nothing is known of it
    rule = RULES[policy.name]
    doubt = rule.doubt(getattr(features, rule.reads)[index])
    return Decision.CONSULT if doubt >= threshold(policy, index) else Decision.KEEP


def doubtful(policy: Policy, features: Features, count: int) -> list[int]:
    """Of a proposal's first `count` guesses those that need a consult, if all before them stay."""
    found: list[int] = []
    for index in range(count):
        # Each is a token that the large model has its say in.
        so_far = structs.replace(policy, large=policy.large + len(found)) if found else policy
        if decide(so_far, features, index) is Decision.CONSULT:
            found.append(index)
    return found


def kept(policy: Policy, features: Features | None, count: int) -> int:
    """How many of a proposal's guesses stay: all before the first that needs a consult, or all or none."""
    if features is None:
        return 0
    rule = RULES[policy.name]
    if rule.scope is Scope.TOKEN:
        return next(iter(doubtful(policy, features, count)), count)
    each = RULES[FALLBACK] if lacks(policy, features, count) else rule
    seen = getattr(features, each.reads)[:count]
    if len(seen) < count or not seen:
        return 0
    return 0 if rule.together([each.doubt(value) for value in seen]) >= threshold(policy) else count


def wants_head(policy: Policy | None) -> bool:
    """Whether a rule has use for what the learned head says."""
    return policy is not None and RULES[policy.name].reads == "doubt"


def lacks(policy: Policy, features: Features | None, count: int) -> bool:
    """Whether what the rule looks at is missing of some of the first `count` guesses."""
    return features is None or len(getattr(features, RULES[policy.name].reads)) < count


def fallback(policy: Policy) -> Policy:
    """What decides in place of a rule that lacks its feature. A threshold means something else there: its
    own default."""
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


def always(policy: Policy) -> bool:
    """Whether the large model speaks whatever the small one would say."""
    return policy.threshold <= 0.0 if policy.share is None else policy.share >= 1.0


def never(policy: Policy) -> bool:
    """Whether the large model is asked nothing, whatever the small one says."""
    return policy.threshold > 1.0 if policy.share is None else policy.share <= 0.0


def quantile(known: Sequence[float], at: float) -> float:
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
