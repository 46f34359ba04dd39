"""Every node likely enough: DySpec, threshold variant (Xiong et al. 2024)."""

from ringroad.actors.drafter.growth import Growth

LIKELY = 0.1


def wanted(growth: Growth) -> list[int]:
    """The nodes accepted with at least this probability."""
    return [node for node, score in enumerate(growth.tree.scores) if score >= LIKELY]
