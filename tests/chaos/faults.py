"""What is done to a cluster, and to whom."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import combinations_with_replacement, cycle
from typing import NamedTuple

import psutil

from tests.chaos.cluster import LEDGER, Cluster
from tests.chaos.cutting import Cut

STOP_SECONDS = 5.0  # longer than every lease: a router's patience, a gateway's in the ledger
BACK_SECONDS = 90.0  # that a cluster may take to be whole again
_LOOK_SECONDS = 0.25
_CUT_SECONDS = 0.05  # until a connection that is made anew is cut as well


class Fault(NamedTuple):
    """One process of each of some roles is killed, or stopped or cut off for a while."""

    how: str  # "kill", "stop" or "cut"
    roles: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.how} {' and '.join(self.roles)}"


class Struck(NamedTuple):
    """A fault that happened."""

    at: float  # on the monotonic clock, in seconds
    back_after: float  # until the cluster was whole


class NotBack(Exception):
    """The cluster did not become whole again."""


def in_turn(full: Counter[str], hows: Sequence[str] = ("kill", "stop")) -> "cycle[Fault]":
    """Every role alone, then every two processes, each in every way; over and over. `full`: how many
    processes each role has."""
    alone = [(role,) for role in sorted(full)]
    pairs = [(a, b) for a, b in combinations_with_replacement(sorted(full), 2) if a != b or full[a] > 1]
    # The ledger's server has no port: it listens on a Unix socket.
    faults = [Fault(how, each) for each in [*alone, *pairs] for how in hows]
    return cycle([fault for fault in faults if fault.how != "cut" or LEDGER not in fault.roles])


async def strike(cluster: Cluster, fault: Fault, rng: random.Random) -> Struck:
    """Does it, undoes what can be undone, and waits until the cluster is whole. Raises NotBack."""
    victims: list[psutil.Process] = []
    for role in fault.roles:
        there = [process for process in cluster.processes(role) if process not in victims]
        victims.append(rng.choice(there))
    at = time.monotonic()
    match fault.how:
        case "kill":
            for victim in victims:
                victim.kill()
            # A large process takes a moment to go.
            await asyncio.to_thread(psutil.wait_procs, victims, BACK_SECONDS)
        case "stop":
            for victim in victims:
                victim.suspend()
            await asyncio.sleep(STOP_SECONDS)
            for victim in victims:
                with suppress(psutil.NoSuchProcess):  # Ray may have replaced it
                    victim.resume()
        case "cut":
            await _cut_off(victims, at + STOP_SECONDS)
    while not await asyncio.to_thread(cluster.whole):
        if time.monotonic() > at + BACK_SECONDS:
            raise NotBack(
                f"{fault}: {dict(cluster.counts())} for {dict(cluster.full)} after {BACK_SECONDS:.0f} s"
            )
        await asyncio.sleep(_LOOK_SECONDS)
    return Struck(at, time.monotonic() - at)


async def _cut_off(victims: Sequence[psutil.Process], until: float) -> None:
    cut = await asyncio.to_thread(Cut, victims)
    try:
        while time.monotonic() < until:
            await asyncio.to_thread(cut.look)
            await asyncio.sleep(_CUT_SECONDS)
    finally:
        cut.mend()
