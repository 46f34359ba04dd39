"""Which nodes belong to a tree that the small model grows. Each file is a shape, and has a `wanted`.

`wanted(growth)` names nodes of what has grown so far; the parent of each must be among them. The
small model reads those it has not read yet in one pass, and what it says next becomes their children.
"""

import pkgutil
from collections.abc import Callable
from importlib import import_module

from ringroad.actors.drafter.growth import Growth

Shape = Callable[[Growth], list[int]]


def names() -> list[str]:
    """What there is to choose from."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def make(name: str) -> Shape:
    """The shape of one of these names."""
    wanted: Shape = import_module(f"{__name__}.{name}").wanted
    return wanted
