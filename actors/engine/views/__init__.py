"""What a pass sees of a long text. Each file is a view, and has a `seen` and says whether it `LOOKS`.

`seen(past, room)` names full blocks of a session's cache, at most `room` of them, in their order. The rest is
left out of the pass, and stays in the cache: keys keep the positions at which they were computed, so leaving
some out takes a shorter table of blocks and nothing else. What is behind the full blocks is always seen.

A token computed so is not what the model says of the whole text. It is a guess, for a large model to judge.
"""

import pkgutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module

ALL = "all"
# Block that every view keeps: attention that finds nothing goes there (LM-Infinite, Han et al. 2024).
FIRST = 1


@dataclass(frozen=True)
class Past:
    """What there is to choose from, and how much attention it got where that was looked at."""

    blocks: int  # full ones
    now: Sequence[float] = ()  # the share of each of the first blocks, by the latest tokens looked at
    ever: Sequence[float] = ()  # the sum of all such shares


Seen = Callable[[Past, int], Sequence[int]]


@dataclass(frozen=True)
class View:
    """A view with its budget."""

    seen: Seen
    looks: bool  # whether it chooses by attention
    room: int  # blocks

    def of(self, past: Past) -> list[int]:
        """The full blocks that a pass sees: all, where there is room."""
        return list(range(past.blocks) if past.blocks <= self.room else self.seen(past, self.room))


def names() -> list[str]:
    """What there is to choose from, beside `ALL`; imports none of it."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def make(name: str, room: int) -> View | None:
    """The view of one of these names, of so many blocks, at least 4; None is everything."""
    if name == ALL:
        return None
    module = import_module(f"{__name__}.{name}")
    return View(module.seen, module.LOOKS, room)


def ends(past: Past, last: int) -> list[int]:
    """The first blocks and the `last` ones."""
    return [*range(FIRST), *range(past.blocks - last, past.blocks)]


def heaviest(among: Iterable[int], weights: Sequence[float]) -> list[int]:
    """Blocks by their weight, the heaviest first; of equals, such as were never weighed, the latest first."""
    return sorted(among, key=lambda block: (-weights[block] if block < len(weights) else 0.0, -block))
