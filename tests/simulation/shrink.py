"""The smallest schedule that still fails: parts are taken away one at a time."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.simulation.schedule import Schedule

PLAIN = {
    "harsh": False,
    "wild": False,
    "shared": False,
    "strategies": False,
    "second_choices": False,
    "chunk": 256,
    "blocks": 64,
    "ahead": "serial",
    "places": 8,
    "noticed": True,
}


def smallest(schedule: Schedule, fails: Callable[[Schedule], bool]) -> Schedule:
    """A schedule that fails, and none of `simpler` than it does."""
    while True:
        found = next((each for each in simpler(schedule) if fails(each)), None)
        if found is None:
            return schedule
        schedule = found


def simpler(schedule: Schedule) -> Iterator[Schedule]:
    """Each with one thing less."""
    for i in range(len(schedule.faults)):
        yield replace(schedule, faults=schedule.faults[:i] + schedule.faults[i + 1 :])
    if len(schedule.asks) > 1:
        for i in range(len(schedule.asks)):
            yield replace(schedule, asks=schedule.asks[:i] + schedule.asks[i + 1 :])
    for name, plain in PLAIN.items():
        if getattr(schedule, name) != plain:
            yield replace(schedule, **{name: plain})
    for role in ("drafter", "verifier", "router", "gateway"):
        count = getattr(schedule, f"{role}s")
        last = f"{role}{count - 1}"
        if count > 1 and not any(last in fault.target.split() for fault in schedule.faults):
            yield replace(schedule, **{f"{role}s": count - 1})
    for i, ask in enumerate(schedule.asks):
        for change in (
            {"cancelled": None},
            {"deadline": None},
            {"leaves": ask.leaves[1:]},
            {"ends": ()},
            {"stops": ()},
            {"max_tokens": ask.max_tokens - 1},
        ):
            less = replace(ask, **change)
            if less != ask and less.max_tokens:
                yield replace(schedule, asks=(*schedule.asks[:i], less, *schedule.asks[i + 1 :]))
