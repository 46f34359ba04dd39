"""The small model's guesses as a tree, grown layer by layer: a pass for each depth, not each node."""

from collections.abc import Sequence

from ringroad.actors.drafter.growth import Growth
from ringroad.actors.drafter.passes import Guess, Read, behind_text
from ringroad.actors.drafter.shapes import Shape
from ringroad.actors.drafter.tree import NOTHING, Tree, best, only
from ringroad.actors.engine.engine import Outcome, Work
from ringroad.actors.messages import Draft, Logprob

WIDTH = 4  # children of a node that are looked at


class Branches:
    """A tree of a shape. Only the text stays in the cache; each pass reads the branches anew.

    That costs rows, of which a pass has few, and spares the engine sides of a tree that may go.
    """

    features = None
    guesses: Sequence[Guess] = ()
    second: Sequence[int] = ()
    stem = NOTHING
    logprobs: Sequence[Logprob] = ()

    def __init__(self, draft: Draft, shape: Shape, passes: int) -> None:
        self._draft = draft
        self._shape = shape
        self._left = passes
        self._growth = Growth()
        self._front: list[int] = []  # nodes to read next; none: the text's end
        self._own = 0

    @property
    def tree(self) -> Tree:
        """The nodes that belong to the shape, as many as the draft asks for."""
        return only(self._growth.tree, self._best())

    def work(self, text: Sequence[int], new: Sequence[int]) -> Work:
        """What is `new` of the text, and the branches that end in what is to be read."""
        self._own = len(new)
        nodes = [*self._growth.ancestors(self._front), *self._front]
        branches = only(self._growth.tree, nodes)
        parents = behind_text(self._own, branches.parents) if nodes else None
        answers = max(1, len(self._front))
        return Work(self._draft.session, [*new, *branches.tokens], parents, answers=answers, siblings=WIDTH)

    def read(self, outcome: Outcome) -> Read:
        """The children of what was read."""
        for node, siblings in zip(self._front or [-1], outcome.siblings, strict=True):
            self._growth.sprout(node, siblings)
        self._left -= 1
        self._front = self._unread()
        return Read(list(range(self._own)), [], not self._front or self._left == 0)

    def _best(self) -> list[int]:
        return best(self._growth.tree, self._shape(self._growth), self._draft.budget)

    def _unread(self) -> list[int]:
        """Nodes whose children could still find a place."""
        nodes, scores = self._best(), self._growth.tree.scores
        full = len(nodes) == self._draft.budget
        worst = min((scores[node] for node in nodes), default=0.0)
        return [n for n in nodes if n not in self._growth.read and not (full and scores[n] <= worst)]
