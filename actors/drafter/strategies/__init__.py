"""Ways to guess without a model. Each file is one, under its own name, and has a `make`."""

import pkgutil
from importlib import import_module

from ringroad.actors.drafter.strategy import Strategy


def names() -> list[str]:
    """What there is to choose from; imports none of it."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def make(name: str) -> Strategy:
    """A new strategy of one of these names."""
    made: Strategy = import_module(f"{__name__}.{name}").make()
    return made
