"""What is done to a cluster, and to whom."""

import asyncio
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from itertools import combinations_with_replacement, cycle
from typing import NamedTuple

import psutil

from tests.chaos.cluster import Cluster

STOP_SECONDS = 5.0  # longer than every lease: a router's patience, a gateway's in the ledger
BACK_SECONDS = 90.0  # that a cluster may take to be whole again
_LOOK_SECONDS = 0.25


class Fault(NamedTuple):
    """One process of each of some roles is killed, or stopped for a while.

    Nobody here can cut a process off: there is no packet filter. To others a stopped one is the same, but for
    what it sends when it goes on.
    """

    how: str  # "kill" or "stop"
    roles: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.how} {' and '.join(self.roles)}"


class Struck(NamedTuple):
    """A fault that happened."""

    at: float  # on the monotonic clock, in seconds
    back_after: float  # until the cluster was whole


class NotBack(Exception):
    """The cluster did not become whole again."""


def in_turn(full: Counter[str]) -> "cycle[Fault]":
    """Every role alone, then every two processes; each killed, then stopped; over and over. `full`: how many
    processes each role has."""
    alone = [(role,) for role in sorted(full)]
    pairs = [(a, b) for a, b in combinations_with_replacement(sorted(full), 2) if a != b or full[a] > 1]
    return cycle([Fault(how, each) for each in [*alone, *pairs] for how in ("kill", "stop")])


async def strike(cluster: Cluster, fault: Fault, rng: random.Random) -> Struck:
    """Does it, undoes what can be undone, and waits until the cluster is whole. Raises NotBack."""
    victims: list[psutil.Process] = []
    for role in fault.roles:
        there = [process for process in cluster.processes(role) if process not in victims]
        victims.append(rng.choice(there))
    at = time.monotonic()
    for victim in victims:
        victim.send_signal(signal.SIGKILL if fault.how == "kill" else signal.SIGSTOP)
    if fault.how == "kill":  # a large process takes a moment to go
        await asyncio.to_thread(psutil.wait_procs, victims, BACK_SECONDS)
    if fault.how == "stop":
        await asyncio.sleep(STOP_SECONDS)
        for victim in victims:
            with suppress(psutil.NoSuchProcess):  # Ray may have replaced it
                victim.send_signal(signal.SIGCONT)
    while not await asyncio.to_thread(cluster.whole):
        if time.monotonic() > at + BACK_SECONDS:
            raise NotBack(
                f"{fault}: {dict(cluster.counts())} for {dict(cluster.full)} after {BACK_SECONDS:.0f} s"
            )
        await asyncio.sleep(_LOOK_SECONDS)
    return Struck(at, time.monotonic() - at)
