"""A beam: RSD-S of Recursive Speculative Decoding (Jeon et al. 2024), as coupled sampling has it.

The paper draws a stochastic beam; under coupling the noise is the text's own, so the beam holds the
likeliest paths given that noise.
"""

from ringroad.actors.drafter.growth import Growth

WIDTH = 3
DEPTH = 5


def wanted(growth: Growth) -> list[int]:
    """The likeliest nodes of each depth."""
    layers: list[list[int]] = [[] for _ in range(DEPTH)]
    for node, depth in enumerate(growth.depths):
        if depth < DEPTH:
            layers[depth].append(node)
    # Of a layer's beam every node's parent was read, and so was in the beam before it.
    scores = growth.tree.scores
    return [node for layer in layers for node in sorted(layer, key=lambda n: (-scores[n], n))[:WIDTH]]
