"""How long a fault held streams up, from the times at which their tokens came."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median


@dataclass
class Heard:
    """A stream as its client heard it; all times in seconds of one clock."""

    number: int
    times: list[float] = field(default_factory=list)  # of each event
    failures: list[float] = field(default_factory=list)  # when the library went on after one
    degraded: list[str] = field(default_factory=list)  # the roles it lost, by its usage
    over: bool = False


def pause(times: Sequence[float], at: float, window: float, normal: float) -> float | None:
    """The largest gap between two events that reaches into `window` seconds from `at` on, less a normal one.

    None for a stream that had not begun then, or that brought nothing any more.
    """
    gaps = [late - early for early, late in pairwise(times) if late > at and early < at + window]
    if not gaps or times[0] > at:
        return None
    return max(0.0, max(gaps) - normal)


def normal_gap(times: Sequence[float], until: float, usual: float) -> float:
    """The median gap of a stream before a fault; `usual` where it has had too few."""
    gaps = [late - early for early, late in pairwise(times) if late <= until]
    return median(gaps) if len(gaps) >= 3 else usual


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share does not exceed; of no values nan."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def pauses(
    streams: Sequence[Heard], at: float, window: float, roles: Sequence[str], usual: float, now: float
) -> tuple[list[float], list[float]]:
    """Of all streams that a fault may have held up, and of those that say so themselves: they lost a role, or
    their connection. A stream that still waits has waited until `now`."""
    everyone, struck = [], []
    for stream in streams:
        times = stream.times if stream.over else [*stream.times, now]
        took = pause(times, at, window, normal_gap(stream.times, at, usual))
        if took is None:
            continue
        everyone.append(took)
        if set(roles) & set(stream.degraded) or any(at <= when < at + window for when in stream.failures):
            struck.append(took)
    return everyone, struck
