"""A quiet tenant beside one that asks fifty times as often, in simulated time; see bench/fairness.py."""

import heapq
import random
from functools import partial
from itertools import count
from statistics import quantiles
from typing import Any

import pytest

from ringroad.actors.errors import TooBusy
from ringroad.actors.gateway import places as places_module
from ringroad.actors.gateway.fair import Flow
from ringroad.actors.gateway.places import Places

FIRST, STEP = 0.1, 0.02  # seconds to the first token from when there is a place, and from each to the next
PROMPT, ANSWER = 48, 16  # tokens
RATE, FLOOD = 5.0, 50  # requests a second
SECONDS = 120.0


class World:
    """Places over a heap of what happens when; an engine of a fixed speed."""

    def __init__(self) -> None:
        self.now = 0.0
        self.places = Places(16, 64, 4)
        self.waits: dict[str, list[float]] = {}  # to the first token, of each client's requests
        self.refused: dict[str, int] = {}
        self._events: list[tuple[float, int, Any]] = []
        self._numbers = count()

    def time(self) -> float:
        return self.now

    def at(self, when: float, do: Any) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), do))

    def client(self, name: str, flow: Flow, rate: float, seed: int) -> None:
        draw, when = random.Random(seed), 0.0
        self.waits[name], self.refused[name] = [], 0
        while when < SECONDS:
            self.at(when, partial(self._ask, name, flow))
            when += draw.expovariate(rate)

    def run(self) -> None:
        while self._events:
            self.now, _, do = heapq.heappop(self._events)
            do()
            assert self.places.held >= 16 or not self.places.waiting

    def _ask(self, name: str, flow: Flow) -> None:
        who, began = object(), self.now

        def placed() -> None:
            self.waits[name].append(self.now - began + FIRST)
            for n in range(ANSWER):
                self.at(self.now + FIRST + n * STEP, partial(self.places.wrote, flow, 1))
            self.at(self.now + FIRST + ANSWER * STEP, partial(self.places.leave, who))

        def refused(error: TooBusy) -> None:
            self.refused[name] += 1

        try:
            self.places.check(flow, None)
        except TooBusy as error:
            refused(error)
        else:
            self.places.enter(who, flow, PROMPT, placed, refused)


def p99(world: World) -> float:
    return quantiles(world.waits["quiet"], n=100, method="inclusive")[98]


def test_a_quiet_tenants_first_tokens_come_as_if_it_were_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    for way, (quiet, flooded) in {
        "alone": (Flow("quiet"), False),
        "beside": (Flow("quiet"), True),
        "in its line": (Flow("flood"), True),
    }.items():
        world = World()
        monkeypatch.setattr(places_module.asyncio, "get_running_loop", lambda: world)  # noqa: B023
        world.client("quiet", quiet, RATE, seed=1)
        if flooded:
            world.client("flood", Flow("flood"), RATE * FLOOD, seed=2)
        world.run()
        found[way] = world
    assert p99(found["beside"]) <= 1.5 * p99(found["alone"])
    assert found["beside"].refused["quiet"] == 0
    assert found["beside"].refused["flood"] > len(found["beside"].waits["flood"])  # it is a flood
    assert p99(found["in its line"]) > 5 * p99(found["alone"])  # first come, first served would do that
