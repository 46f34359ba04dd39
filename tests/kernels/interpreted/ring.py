"""A ring's attention on the kernels: what it says on their twins, and on the CPU's own way."""

from collections.abc import Callable
from dataclasses import replace
from threading import Lock
from typing import ParamSpec, TypeVar

import pytest
import torch

from ringroad.actors.engine.engine import Work
from ringroad.actors.engine.model import Model
from ringroad.actors.messages import Sampling
from ringroad.kernels.triton.select import TWINS, Kernels, tritons
from tests.engine.ring.gangs import ring
from tests.engine.tiny import TinyWeights, bits, prompt, tiny

P = ParamSpec("P")
T = TypeVar("T")
ROOM = 10**6  # bytes: the interpreter copies all of a pool at a launch
GREEDY = Sampling()
TREE = [-1, 0, 0, 2]


class Alone:
    """The ring's ranks are threads, and the interpreter runs one launch at a time."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.launches = 0

    def __call__(self, launch: Callable[P, T]) -> Callable[P, T]:
        def locked(*args: P.args, **more: P.kwargs) -> T:
            with self._lock:
                self.launches += 1
                return launch(*args, **more)

        return locked


def stepped(model: Model, schedule: str) -> tuple[list[list[int]], list[torch.Tensor]]:
    """What two texts on two ranks say, read in pieces, decoded, with a tree; and what is kept of them."""
    with ring(model, 2, cache_bytes=ROOM, schedule=schedule) as found:
        engine = found.first
        for name in "ab":
            engine.open(name, GREEDY, 400)
        engine.step([Work("a", prompt(90, 1), answers=0), Work("b", prompt(20, 2), answers=0)])
        said = engine.step([Work("a", prompt(70, 3))])
        said += engine.step(
            [
                Work("b", [5]),
                Work("a", prompt(4, 4), TREE, answers=4),
            ]
        )
        engine.keep("a", [0, 2, 3])
        said += engine.step([Work("a", [7])])
    engines = [found.first, *found.others]
    found.others[0].stand()
    return [each.tokens for each in said], [
        bits(engine._sessions[name].cache.parts[rank]) for name in "ab" for rank, engine in enumerate(engines)
    ]


def on(kernels: Kernels) -> Model:
    return Model(TinyWeights(), "fp32", threads=1, kernels=kernels)


@pytest.mark.parametrize("schedule", ["pass_q", "pass_kv", "token_ring"])
def test_the_kernels_say_what_their_twins_say(schedule: str) -> None:
    attended, merged = Alone(), Alone()
    merged._lock = attended._lock
    triton = tritons()
    ours = on(replace(TWINS, attend=attended(triton.attend), merge=merged(triton.merge)))
    tokens, kept = stepped(ours, schedule)
    assert attended.launches > 0 < merged.launches
    for other in (on(TWINS), tiny("fp32")):
        expected, theirs = stepped(other, schedule)
        assert tokens == expected
        for mine, their in zip(kept, theirs, strict=True):
            torch.testing.assert_close(mine, their, rtol=1e-4, atol=1e-4)
