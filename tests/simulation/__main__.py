"""`python -m tests.simulation`: one seed again, with its trace; or many."""

import argparse
import sys
from dataclasses import fields

from tests.simulation import campaign
from tests.simulation.oracles import run
from tests.simulation.schedule import Schedule, drawn
from tests.simulation.shrink import smallest

SMALL_TALK = ("Hello(", "Welcome(", "Roster(")


def replay(seed: int, whole: bool) -> int:
    """Runs a seed's schedule; where it fails, prints the smallest that does, and what happens in it."""
    schedule = drawn(seed)
    errors = run(schedule).errors
    if errors and not whole:
        schedule = smallest(schedule, lambda each: bool(run(each).errors))
    world = run(schedule, tracing=True)
    show(schedule)
    for line in world.trace:
        if whole or not any(word in line for word in SMALL_TALK):
            print(line)  # noqa: T201
    print(f"seed {seed}: {'failed' if errors else 'nothing is wrong'}")  # noqa: T201
    return bool(errors)


def show(schedule: Schedule) -> None:
    """A schedule, part by part."""
    for field in fields(schedule):
        value = getattr(schedule, field.name)
        lines = [f"{field.name}:", *value] if isinstance(value, tuple) else [f"{field.name}: {value}"]
        for n, line in enumerate(lines):
            print("    " * (n > 0), line, sep="")  # noqa: T201


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this one")
    parser.add_argument("--whole", action="store_true", help="as it was drawn, with heartbeats")
    parser.add_argument("--count", type=int, help="run so many")
    parser.add_argument("--first", type=int, default=0, help="from this seed on")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--mutations", action="store_true", help="see that each deliberate bug is caught")
    args = parser.parse_args()
    campaign.prepare()
    if args.seed is not None:
        return replay(args.seed, args.whole)
    if args.mutations:
        from tests.simulation.hunting import hunt_all
        from tests.simulation.mutations import MUTATIONS

        return hunt_all(MUTATIONS)
    if args.count is None:
        parser.error("one of --seed, --count and --mutations")
    return bool(campaign.campaign(args.count, args.first, args.jobs))


if __name__ == "__main__":
    sys.exit(main())
