"""Streams while parts of their cluster die, and what it cost them: what bench/chaos.py runs at length."""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

from ringroad.cluster.client import CallFailed
from tests.chaos.cluster import Cluster
from tests.chaos.faults import STOP_SECONDS, Fault, NotBack, Struck, in_turn, strike
from tests.chaos.pauses import pauses, percentile
from tests.chaos.streams import Load

KILL_SECONDS = (
    3.0  # after which a gap is not the fault's any more, but of the machine that starts the next one
)
DRAIN_SECONDS = 60.0
_QUIET_SECONDS = 1.5  # between being whole and the next fault
_BACKGROUND_SECONDS = 10.0  # without faults, to know the usual gap


@dataclass
class Tally:
    """What one kind of fault did."""

    faults: int = 0
    back_after: list[float] = field(default_factory=list)  # seconds until all processes were there again
    every: list[float] = field(default_factory=list)  # pauses of streams that ran then, in seconds
    struck: list[float] = field(default_factory=list)  # of those that say they were struck

    def as_dict(self) -> dict[str, Any]:
        """For the file: seconds."""
        return {
            "faults": self.faults,
            "back_after_p50": round(median(self.back_after), 2) if self.back_after else None,
            "streams": _spread(self.every),
            "streams_struck": _spread(self.struck),
        }


@dataclass
class Chaos:
    """A run: `faults` of them over at least `streams`, within so many minutes."""

    cluster: Cluster
    load: Load
    faults: int
    streams: int
    minutes: float
    at_once: int
    seed: int
    hows: Sequence[str] = ("kill", "stop")
    tallies: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    done: int = 0
    usual: float = 0.0  # seconds between two events of a stream without faults
    error: str = ""
    before: dict[int, dict[str, Any]] = field(default_factory=dict)
    after: dict[int, dict[str, Any]] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    pending: list[tuple[Fault, Struck]] = field(default_factory=list)  # whose streams have not all ended

    async def run(self, tell: Callable[[str], None]) -> None:
        """Runs it all; `tell` is called with a line after every fault. What went wrong is in `as_dict`."""
        await self.load.learn(self.at_once)
        self.before = await self._drained()
        stop = asyncio.Event()
        load = asyncio.create_task(self.load.run(self.at_once, stop))
        await asyncio.sleep(_BACKGROUND_SECONDS)
        self.usual = self._usual()
        rng = random.Random(self.seed)
        turns = in_turn(self.cluster.full, self.hows)
        try:
            while self.done < self.faults and time.monotonic() - self.began < 60 * self.minutes:
                fault = next(turns)
                struck = await strike(self.cluster, fault, rng)
                await asyncio.sleep(_QUIET_SECONDS + rng.random())
                self.done += 1
                self.pending.append((fault, struck))
                self._count_all()
                tell(self._line(fault, struck))
            while self.load.done < self.streams and time.monotonic() - self.began < 60 * self.minutes:
                await asyncio.sleep(1)
        except NotBack as error:
            self.error = str(error)
        stop.set()
        await load
        self._count_all()
        self.after = await self._drained()

    def as_dict(self) -> dict[str, Any]:
        """The result, so far."""
        load = self.load
        return {
            "faults": self.done,
            "streams": load.done,
            "streams_resumed_by_the_client": load.resumed,
            "wrong_texts": load.wrong,
            "failed_streams": load.failed,
            "routed_without_a_drafter": {"streams": load.degraded_routed, "other_text": load.differ_routed},
            "error": self.error,
            "seconds": round(time.monotonic() - self.began),
            "usual_gap_seconds": round(self.usual, 4),
            "pauses": {kind: tally.as_dict() for kind, tally in sorted(self.tallies.items())},
            "left_at_the_end": self.left,
            "processes": self._survivors(),
            "seed": self.seed,
            "cluster": dict(self.cluster.full),
            "at_once": self.at_once,
        }

    def _count_all(self) -> None:
        """Counts faults whose streams have ended, which only then say what they lost, and those a minute old.
        Forgets streams that no fault is left for."""
        now = time.monotonic()
        ready = [each for each in self.pending if self._told(each[1].at) or each[1].at < now - 60]
        for each in ready:
            self.pending.remove(each)
            self._count(*each)
        first = min((struck.at for _, struck in self.pending), default=now - 1)
        self.load.heard = [h for h in self.load.heard if not h.over or (h.times and h.times[-1] > first)]

    def _told(self, at: float) -> bool:
        return all(heard.over for heard in self.load.heard if heard.times and heard.times[0] <= at)

    def _count(self, fault: Fault, struck: Struck) -> None:
        window = KILL_SECONDS if fault.how == "kill" else STOP_SECONDS
        every, hit = pauses(self.load.heard, struck.at, window, fault.roles, self.usual, time.monotonic())
        tally = self.tallies[str(fault)]
        tally.faults += 1
        tally.back_after.append(struck.back_after)
        tally.every += every
        tally.struck += hit

    def _line(self, fault: Fault, struck: Struck) -> str:
        tally = self.tallies[str(fault)].as_dict()
        return (
            f"{self.done}/{self.faults} faults, {self.load.done}/{self.streams} streams, "
            f"{len(self.load.wrong)} wrong, {len(self.load.failed)} failed | {fault}: "
            f"back {struck.back_after:.1f} s; so far {tally['streams_struck']} struck, {tally['streams']} all"
        )

    def _usual(self) -> float:
        gaps = [late - early for heard in self.load.heard for early, late in pairwise(heard.times)]
        return median(gaps) if gaps else 0.0

    async def _drained(self) -> dict[int, dict[str, Any]]:
        """What processes hold once nothing runs; how far that came stands in `left`."""
        end = time.monotonic() + DRAIN_SECONDS
        while True:
            try:
                self.left = await asyncio.to_thread(self.cluster.load)
            except CallFailed as error:
                self.left = {f"no answer: {error}": 1}
            if not any(self.left.values()) or time.monotonic() > end:
                break
            await asyncio.sleep(0.5)
        await asyncio.sleep(2)  # for connections to be closed
        return self.cluster.holdings()

    def _survivors(self) -> list[dict[str, Any]]:
        """Processes that lived through all of it: descriptors, sockets and memory before and after."""
        both = [(self.before[pid], held) for pid, held in self.after.items() if pid in self.before]
        return [
            {"name": old["name"], **{key: [old[key], new[key]] for key in old if key != "name"}}
            for old, new in both
        ]


def _spread(seconds: list[float]) -> dict[str, Any]:
    if not seconds:
        return {"count": 0}
    return {
        "count": len(seconds),
        "p50": round(percentile(seconds, 0.5), 3),
        "p99": round(percentile(seconds, 0.99), 3),
        "most": round(max(seconds), 3),
    }
