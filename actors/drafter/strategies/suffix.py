"""What followed the longest repeated end of the text, here or in recent requests.

After SuffixDecoding (Oliaro et al. 2024): continuations are scored by how often each was seen after
the same words. Its suffix trees are replaced by an index of bounded size: a match begins with the last
places of a short gram, which are then compared backwards.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ringroad.actors.drafter.corpus import Corpus, Place, Text
from ringroad.actors.drafter.hits import Hits
from ringroad.actors.drafter.strategy import Strategy
from ringroad.actors.drafter.tree import NOTHING, Growing, Tree, merge

LONGEST = 24  # repeated tokens that are told apart
STEPS = (1, 2, 3, 4, 6, 9, 13, 18, LONGEST)  # lengths of a match: kinds of guesses
BELIEVED = (0.1, 0.25, 0.4, 0.5, 0.65, 0.75, 0.85, 0.9, 0.95)
# The kind of every length of a match.
KIND = [max(0, sum(step <= length for step in STEPS) - 1) for length in range(LONGEST + 1)]


@dataclass
class Following:
    """A session's text in the corpus, and the last first guess behind it."""

    text: Text
    salt: bytes = b""
    guess: tuple[int, int] | None = None  # the token, and its kind


class Suffix(Strategy):
    """Continuations of the places that share the longest end with the text."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._following: dict[str, Following] = {}
        self._hits = Hits(BELIEVED)

    def begin(self, session: str, salt: bytes) -> None:
        self._following[session] = Following(self._corpus.begin(), salt)

    def observe(self, session: str, text: Sequence[int]) -> None:
        mine = self._following.get(session)
        if mine is None:
            mine = self._following[session] = Following(self._corpus.begin())
        known = len(mine.text)
        if mine.guess is not None and known < len(text):
            token, kind = mine.guess
            self._hits.saw(kind, text[known] == token)
            mine.guess = None
        self._corpus.extend(mine.text, text[known:], mine.salt)

    def propose(self, session: str, text: Sequence[int], budget: int) -> Tree:
        mine = self._following[session]
        places = self._corpus.places(text, mine.salt)
        lengths = [_agreement(place, text) for place in places]
        longest = max(lengths, default=0)
        if longest == 0 or budget < 1:
            return NOTHING
        matches = [place for place, length in zip(places, lengths, strict=True) if length == longest]
        tree = self._continued(matches, longest, budget)
        if len(text) == len(mine.text):
            likeliest = max(range(len(tree)), key=lambda node: (tree.parents[node] < 0, tree.scores[node]))
            mine.guess = tree.tokens[likeliest], KIND[longest]
        return merge([tree], budget)

    def forget(self, session: str) -> None:
        self._following.pop(session, None)  # the text stays in the corpus while there is room

    def _continued(self, matches: Sequence[Place], length: int, budget: int) -> Tree:
        """A tree of what followed; a guess scores by its share of the matches that came so far."""
        grown = Growing()
        groups: list[tuple[int, float, Sequence[Place]]] = [(-1, 1.0, matches)]
        for depth in range(budget):
            share = self._hits.share(KIND[min(length + depth, LONGEST)])
            deeper: list[tuple[int, float, Sequence[Place]]] = []
            for node, score, group in groups:
                counts = Counter(text[at + depth] for text, at in group if at + depth < len(text))
                for token, count in counts.items():
                    reach = score * share * count / len(group)
                    same = [(t, at) for t, at in group if at + depth < len(t) and t[at + depth] == token]
                    deeper.append((grown.add(token, node, reach), reach, same))
            groups = deeper
        return grown.tree


def _agreement(place: Place, text: Sequence[int]) -> int:
    """How many tokens before a place equal those at the end of the text."""
    other, at = place
    most = min(at, len(text), LONGEST)
    return next((i for i in range(most) if other[at - 1 - i] != text[-1 - i]), most)


def make() -> Strategy:
    """One for all sessions of a drafter."""
    return Suffix(Corpus())
