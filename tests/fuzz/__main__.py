"""`python -m tests.fuzz`: many mutated requests against the parsers, or one seed again."""

import argparse
import sys

from tests.fuzz import campaign, running
from tests.fuzz.parsers import drawn


def replay(seed: int) -> int:
    """Tries a seed's case; where it fails, prints the smallest that does."""
    case = drawn(seed)
    wrong = campaign.failure(case)
    print(f"seed {seed}: {case.kind}, {len(case.data)} bytes: {wrong or 'nothing is wrong'}")  # noqa: T201
    if wrong:
        print(f"judged({campaign.smallest(case)!r})")  # noqa: T201
    return bool(wrong)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, help="try this one")
    parser.add_argument("--count", type=int, help="try so many; goes on where it was interrupted")
    parser.add_argument("--first", type=int, default=0, help="from this seed on")
    parser.add_argument("--gateway", action="store_true", help="against a running gateway")
    args = parser.parse_args()
    if args.seed is not None:
        return replay(args.seed)
    if args.count is None:
        parser.error("one of --seed and --count")
    if args.gateway:
        return bool(running.campaign(args.count, args.first))
    failed = campaign.campaign(args.count, args.first)
    print(file=sys.stderr)  # noqa: T201
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
