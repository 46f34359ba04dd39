"""The beginning, the end, and in between what the latest tokens attend to: InfLLM (Xiao et al. 2024).

InfLLM scores a block by the dot products of the query with a few of its keys, in every layer. Here one
layer's attention to all keys says it for all layers, once in a while: `focus.py`.
"""

from collections.abc import Sequence

from ringroad.actors.engine.views import Past, ends, heaviest

LOOKS = True


def seen(past: Past, room: int) -> Sequence[int]:
    """A quarter of the room for the end, and what is heaviest now."""
    kept = ends(past, room // 4)
    others = heaviest(set(range(past.blocks)).difference(kept), past.now)
    return sorted([*kept, *others[: room - len(kept)]])
