"""Constant branching: RSD-C of Recursive Speculative Decoding (Jeon et al. 2024)."""

from ringroad.actors.drafter.growth import Growth

WIDTHS = (3, 2, 1, 1, 1)  # children of a node, by its depth


def wanted(growth: Growth) -> list[int]:
    """Each node's best children, fewer the deeper, down to a last layer."""
    depths = growth.depths
    return [
        node
        for node, rank in enumerate(growth.ranks)
        if depths[node] < len(WIDTHS) and rank < WIDTHS[depths[node]]
    ]
