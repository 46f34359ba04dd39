"""Token Recycling (Luo et al. 2024): the large model's runners-up are tomorrow's guesses.

Every judged token comes with the likeliest tokens after it. The paper keeps them as the rows of a
matrix [vocabulary, 8] over all requests and unrolls it into a fixed tree of 80 nodes; here prompts
fill rows too, and the tree is the likeliest one that the budget allows: how often a successor of
each rank was right is counted, in place of the paper's measured template.
"""

from collections.abc import Sequence
from heapq import heappop, heappush

from ringroad.actors.drafter.hits import Hits
from ringroad.actors.drafter.strategy import Strategy
from ringroad.actors.drafter.tree import NOTHING, Growing, Tree

WIDTH = 8  # successors of a token
MOST_ROWS = 1 << 18  # more than a vocabulary has
BELIEVED = (0.35, 0.12, 0.07, 0.05, 0.03, 0.02, 0.02, 0.01)  # by rank


class Recycling(Strategy):
    """A row of successors for each token seen in texts of one salt; of too many rows the oldest go."""

    learns = True

    def __init__(self) -> None:
        self._rows: dict[tuple[bytes, int], tuple[int, ...]] = {}
        self._salts: dict[str, bytes] = {}
        self._hits = Hits(BELIEVED)
        self._read: dict[str, int] = {}  # tokens of each text that were seen

    def begin(self, session: str, salt: bytes) -> None:
        self._salts[session] = salt

    def observe(self, session: str, text: Sequence[int]) -> None:
        start, salt = self._read.get(session), self._salts.get(session, b"")
        self._read[session] = len(text)
        for at in range(max(start or 1, 1), len(text)):
            token, following = text[at - 1], text[at]
            row = self._rows.get((salt, token), ())
            if start is not None and row:  # generated, not prompt: guesses are made of such text
                for rank in range(WIDTH):
                    self._hits.saw(rank, row[rank : rank + 1] == (following,))
            self._put(salt, token, (following, *(other for other in row if other != following)))

    def learn(self, session: str, judged: Sequence[Sequence[int]]) -> None:
        salt = self._salts.get(session, b"")
        for token, *successors in judged:
            self._put(salt, token, tuple(successors))

    def propose(self, session: str, text: Sequence[int], budget: int) -> Tree:
        if not text:
            return NOTHING
        shares = [self._hits.share(rank) for rank in range(WIDTH)]
        grown, salt = Growing(), self._salts.get(session, b"")
        heap: list[tuple[float, int, int, int]] = []  # -score, order, token, parent
        pushed = 0

        def push(token: int, parent: int, reach: float) -> None:
            nonlocal pushed
            for successor, share in zip(self._rows.get((salt, token), ()), shares, strict=False):
                heappush(heap, (-reach * share, pushed, successor, parent))
                pushed += 1

        push(text[-1], -1, 1.0)
        while heap and len(grown) < budget:
            score, _, token, parent = heappop(heap)
            node = grown.add(token, parent, -score)
            push(token, node, -score)
        return grown.tree

    def forget(self, session: str) -> None:
        self._read.pop(session, None)
        self._salts.pop(session, None)

    def _put(self, salt: bytes, token: int, row: tuple[int, ...]) -> None:
        self._rows[salt, token] = row[:WIDTH]
        if len(self._rows) > MOST_ROWS:
            del self._rows[next(iter(self._rows))]


def make() -> Strategy:
    """One for all sessions of a drafter."""
    return Recycling()
