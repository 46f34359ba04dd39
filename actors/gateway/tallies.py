"""What is counted of the requests of one mode."""

from collections import Counter
from dataclasses import dataclass, field
from functools import partial

from ringroad.actors.figures import SECONDS, Tally
from ringroad.actors.messages import Speaker

SHARES = [0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
BETWEEN_SECONDS = [0.0005, *SECONDS[:12]]  # a token in a chunk of many takes little
SPEAKERS = tuple(Speaker)

_seconds = partial(Tally.of, SECONDS)


@dataclass
class Tallies:
    """Of one gateway, since it started. Times are in seconds."""

    queue: Tally = field(default_factory=_seconds)  # from receipt to a place
    first: Tally = field(default_factory=_seconds)  # from receipt to the first token
    between: Tally = field(default_factory=lambda: Tally.of(BETWEEN_SECONDS))  # a token and the next
    total: Tally = field(default_factory=_seconds)  # from receipt to the end
    large: Tally = field(default_factory=lambda: Tally.of(SHARES))  # of a request's tokens, the large model's
    spoken: list[int] = field(default_factory=lambda: [0] * len(SPEAKERS))  # tokens by each of them
    finished: Counter[str] = field(default_factory=Counter)
    prompt: int = 0  # tokens
    drafted: int = 0
    consults: int = 0
