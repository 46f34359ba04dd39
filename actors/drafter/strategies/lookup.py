"""What followed the last few tokens when they stood in this text before.

Prompt lookup decoding (Saxena 2023). Good where answers quote their prompts; costs nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import mul

from ringroad.actors.drafter.hits import Hits
from ringroad.actors.drafter.strategy import Strategy
from ringroad.actors.drafter.tree import NOTHING, Tree, chain

LONGEST = 4  # tokens that must repeat; fewer are tried down to one
BELIEVED = (0.2, 0.4, 0.55, 0.7)  # by how many tokens repeat
Gram = tuple[int, ...]


@dataclass
class Seen:
    """Where each n-gram of a text was last followed by something."""

    indexed: int = 0  # tokens of the text that are in `follows`
    follows: dict[Gram, int] = field(default_factory=dict)
    guess: tuple[int, int] | None = None  # the last first guess, and how many tokens repeated


class Lookup(Strategy):
    """The latest continuation of the longest repeated end of the text."""

    def __init__(self) -> None:
        self._seen: dict[str, Seen] = {}
        self._hits = Hits(BELIEVED)

    def observe(self, session: str, text: Sequence[int]) -> None:
        seen = self._seen.setdefault(session, Seen())
        if seen.guess is not None and seen.indexed < len(text):
            guess, size = seen.guess
            self._hits.saw(size - 1, text[seen.indexed] == guess)
            seen.guess = None
        for end in range(seen.indexed, len(text)):
            for size in range(1, min(LONGEST, end) + 1):
                seen.follows[tuple(text[end - size : end])] = end
        seen.indexed = len(text)

    def propose(self, session: str, text: Sequence[int], budget: int) -> Tree:
        seen = self._seen[session]
        for size in range(min(LONGEST, len(text)), 0, -1):
            at = seen.follows.get(tuple(text[-size:]))
            if at is None or at >= len(text):  # the latter where a text was cut back
                continue
            if len(text) == seen.indexed:
                seen.guess = text[at], size
            tokens = text[at : at + budget]
            # A right guess makes the repeated end longer, and the next guess likelier.
            shares = (self._hits.share(min(size + i, LONGEST) - 1) for i in range(len(tokens)))
            return chain(tokens, list(accumulate(shares, mul)))
        return NOTHING

    def forget(self, session: str) -> None:
        self._seen.pop(session, None)


def make() -> Strategy:
    """One for all sessions of a drafter."""
    return Lookup()
