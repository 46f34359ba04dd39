"""Who is cancelled, leaves or comes too late is held by nobody a tenth of a second later, at any role."""

from dataclasses import replace
from functools import partial
from random import Random

import pytest

from ringroad.actors.messages import Mode
from tests.simulation.gateway import GatewayProcess
from tests.simulation.holding import held
from tests.simulation.schedule import Ask, Schedule
from tests.simulation.world import World

SOON = 0.1  # simulated seconds
BEGINS = 0.2  # when it is asked for; a text of 14 tokens takes some 0.3 from then on
ROLES = ["gateway0", "router0", "verifier0", "drafter0"]
WAYS = ["abort", "leave", "deadline"]


def counted(world: World, seen: dict[str, str]) -> None:
    """What each process holds now."""
    seen.update({name: held(process, harsh=False) for name, process in world.processes.items()})


def abort(world: World, name: str) -> None:
    gateway = world.gateway(Random(0))
    assert isinstance(gateway, GatewayProcess)
    gateway.abort(name)


def ended(
    way: str, ask: Ask, after: float, schedule: Schedule
) -> tuple[dict[str, str], dict[str, str], World]:
    """What was held just before a request is ended in some way, and soon after."""
    if way == "leave":
        ask = replace(ask, cancelled=after)
    elif way == "deadline":
        ask = replace(ask, deadline=after)
    world = World(replace(schedule, asks=(*schedule.asks, ask)))
    before: dict[str, str] = {}
    soon: dict[str, str] = {}
    at = ask.at + after
    world.loop.call_at(at - 1e-6, partial(counted, world, before))
    if way == "abort":
        world.loop.call_at(at, partial(abort, world, ask.name))
    world.loop.call_at(at + SOON, partial(counted, world, soon))
    assert world.run() == []
    return before, soon, world


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("after", [0.04, 0.07, 0.1, 0.13, 0.16])
def test_what_is_generated(way: str, after: float) -> None:
    ask = Ask("a", BEGINS, 6, 1, Mode.SPECULATIVE, 14, draft_tokens=1, resumable=False)
    before, soon, _ = ended(way, ask, after, Schedule(7))
    assert all(before[role] for role in ROLES), before  # else nothing is shown
    assert not any(soon[role] for role in ROLES), soon


@pytest.mark.parametrize("way", WAYS)
def test_what_waits_in_line(way: str) -> None:
    first = Ask("first", BEGINS, 6, 1, Mode.LARGE, 14, resumable=False)
    ask = Ask("a", BEGINS + 0.02, 2, 1, Mode.LARGE, 14, resumable=False)
    before, soon, world = ended(way, ask, 0.05, Schedule(7, places=1, asks=(first,)))
    assert "line" in before["gateway0"]
    assert "line" not in soon["gateway0"]
    assert len(world.readers["first"].tokens) == 14  # whom nobody ended
