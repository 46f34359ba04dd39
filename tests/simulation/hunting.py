"""How a deliberate bug is put into the product, and hunted for by the simulation."""

import importlib
import inspect
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Any
from unittest.mock import patch

from tests.simulation.oracles import run
from tests.simulation.schedule import drawn

MOST = 2000  # seeds until a bug counts as missed


@dataclass(frozen=True)
class Change:
    """`old` becomes `new` in the source of a function, which is named as module:Class.method."""

    where: str
    old: str
    new: str

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The product with it. Raises ValueError where the text is not there once."""
        module_name, path = self.where.split(":")
        *owners, name = path.split(".")
        owner: Any = reduce(getattr, owners, importlib.import_module(f"ringroad.actors.{module_name}"))
        function = getattr(owner, name)
        source = textwrap.dedent(inspect.getsource(function))
        if source.count(self.old) != 1:
            raise ValueError(f"{source.count(self.old)} times in {self.where}: {self.old}")
        found: dict[str, Any] = {}
        exec(source.replace(self.old, self.new), function.__globals__, found)
        with patch.object(owner, name, found[name]):
            yield


@dataclass(frozen=True)
class Mutation:
    """A deliberate bug: a change, and `more` where one alone leaves the rule standing elsewhere."""

    name: str
    where: str
    old: str
    new: str
    more: tuple[Change, ...] = ()
    quick: bool = False  # caught by few seeds: tried in every test run

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The product with this bug. Raises ValueError."""
        with ExitStack() as all_of_it:
            for change in (Change(self.where, self.old, self.new), *self.more):
                all_of_it.enter_context(change.applied())
            yield


def hunt(mutation: Mutation, seeds: int = MOST) -> int | None:
    """The first seed that catches a bug, if one of so many does."""
    with mutation.applied():
        for seed in range(seeds):
            if run(drawn(seed)).errors:
                return seed
    return None


def hunt_all(mutations: Sequence[Mutation]) -> int:
    """Each in turn; how many were missed."""
    missed = 0
    for mutation in mutations:
        seed = hunt(mutation)
        missed += seed is None
        print(f"{'MISSED' if seed is None else f'seed {seed}':>9}  {mutation.name}", flush=True)  # noqa: T201
    sys.stdout.flush()
    return missed
