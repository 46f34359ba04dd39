"""The likeliest tree of its size: DySpec, greedy (Xiong et al. 2024), layer by layer.

The paper takes one node at a time off a heap. As long as all that could still be taken are read, the
nodes are the same, and the passes are the tree's depth.
"""

from ringroad.actors.drafter.growth import Growth


def wanted(growth: Growth) -> list[int]:
    """Everything: the budget keeps the likeliest."""
    return list(range(len(growth.tree)))
