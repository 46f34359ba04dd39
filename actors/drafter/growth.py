"""A tree that the small model grows: what it guessed, and which nodes it has read."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ringroad.actors.drafter.tree import Growing, Tree


@dataclass
class Growth:
    """Nodes as they came, best sibling first."""

    _nodes: Growing = field(default_factory=Growing)
    depths: list[int] = field(default_factory=list)
    ranks: list[int] = field(default_factory=list)  # among siblings; 0: the small model's own token
    read: set[int] = field(default_factory=set)  # nodes whose children are known

    @property
    def tree(self) -> Tree:
        """All nodes, kept in the end or not."""
        return self._nodes.tree

    def sprout(self, parent: int, siblings: Sequence[tuple[int, float]]) -> None:
        """The children of a node, or of the text (-1): now it is read.

        Each is a token and the chance that it is the one, given that its parent is.
        """
        reach = self.tree.scores[parent] if parent >= 0 else 1.0
        self.read.add(parent)
        for rank, (token, chance) in enumerate(siblings):
            self._nodes.add(token, parent, reach * chance)
            self.ranks.append(rank)
            self.depths.append(self.depths[parent] + 1 if parent >= 0 else 0)

    def ancestors(self, nodes: Sequence[int]) -> list[int]:
        """What leads to these nodes, without them, in order."""
        found: set[int] = set()
        for node in nodes:
            while (node := self.tree.parents[node]) >= 0 and node not in found:
                found.add(node)
        return sorted(found - set(nodes))
