"""Guesses as a tree, and how proposals of several drafters become one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Tree:
    """Guesses that follow a text; parents stand before their children."""

    tokens: Sequence[int] = ()
    parents: Sequence[int] = ()  # of each node: an earlier one, or -1
    # Of each node the estimated probability that it is accepted, its ancestors included: never more
    # than its parent's.
    scores: Sequence[float] = ()

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def is_chain(self) -> bool:
        """Whether every node follows the one before it."""
        return all(parent == node - 1 for node, parent in enumerate(self.parents))

    @property
    def expected(self) -> float:
        """How many guesses will be accepted, if the scores are right: one node a depth is."""
        return sum(self.scores)


NOTHING = Tree()


def chain(tokens: Sequence[int], scores: Sequence[float]) -> Tree:
    """Guesses one after another, with their scores."""
    return Tree(tokens, range(-1, len(tokens) - 1), scores)


def behind(stem: Tree, tree: Tree) -> Tree:
    """A chain, and behind its last guess a tree guessed from there."""
    size = len(stem)
    reach = stem.scores[-1] if size else 1.0
    return Tree(
        [*stem.tokens, *tree.tokens],
        [*stem.parents, *(size + parent for parent in tree.parents)],
        [*stem.scores, *(reach * score for score in tree.scores)],
    )


def best(tree: Tree, nodes: Iterable[int], budget: int) -> list[int]:
    """The `budget` nodes of highest score, in the tree's order.

    Of equals the earlier stays, so a node never stays without its parent.
    """
    return sorted(sorted(nodes, key=lambda node: (-tree.scores[node], node))[:budget])


def only(tree: Tree, nodes: Sequence[int]) -> Tree:
    """These nodes alone; the parent of each must be among them, before it."""
    place = {node: i for i, node in enumerate(nodes)} | {-1: -1}
    return Tree(
        [tree.tokens[node] for node in nodes],
        [place[tree.parents[node]] for node in nodes],
        [tree.scores[node] for node in nodes],
    )


def merge(trees: Iterable[Tree], budget: int, floor: float = 0.0) -> Tree:
    """One tree of at most `budget` nodes: equal paths are one, and the likeliest nodes stay.

    A node that several proposed has the highest of their scores: they read the same text, so their
    agreement is little evidence. Nodes scored below `floor` go. The first tree's nodes stand first.
    """
    grown = Growing()
    for tree in trees:
        place = {-1: -1}
        for node, (token, parent) in enumerate(zip(tree.tokens, tree.parents, strict=True)):
            place[node] = grown.add(token, place[parent], tree.scores[node])
    whole = grown.tree
    likely = (node for node, score in enumerate(whole.scores) if score >= floor)
    return only(whole, best(whole, likely, budget))


@dataclass
class Growing:
    """A tree under construction, whose siblings differ."""

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    _child: dict[tuple[int, int], int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def tree(self) -> Tree:
        """What has grown so far."""
        return Tree(self.tokens, self.parents, self.scores)

    def add(self, token: int, parent: int, score: float) -> int:
        """The node of a token behind a parent, made where there is none yet, with the higher score."""
        node = self._child.setdefault((parent, token), len(self.tokens))
        if node == len(self.tokens):
            self.tokens.append(token)
            self.parents.append(parent)
            self.scores.append(score)
        self.scores[node] = max(self.scores[node], score)
        return node
