"""As few blocks as hold most of the attention: PrefixKV's budget (Wang et al. 2024).

PrefixKV searches the one level of cumulative attention at which the budgets of all layers, each its own,
add up to what is allowed. Here a pass reads one table of blocks for all layers (`Cache.part`), so there is
one budget: what the layer looked at needs for a set level, and no more than the room.
"""

from collections.abc import Sequence
from itertools import accumulate

from ringroad.actors.engine.views import Past, ends, heaviest

LOOKS = True
LEVEL = 0.95  # of the attention to full blocks


def seen(past: Past, room: int) -> Sequence[int]:
    """A quarter of the room for the end, and the heaviest until the level is reached."""
    kept = ends(past, room // 4)
    others = heaviest(set(range(past.blocks)).difference(kept), past.ever)[: room - len(kept)]
    weights = [past.ever[block] if block < len(past.ever) else 0.0 for block in [*kept, *others]]
    reached = [mass >= LEVEL * sum(past.ever) > 0 for mass in accumulate(weights)]
    return sorted([*kept, *others][: max(len(kept), reached.index(True) + 1 if any(reached) else room)])
