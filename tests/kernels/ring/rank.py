"""One rank of a ring of processes over gloo, as a program: what `test_group.py` starts."""

import json
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist

from ringroad.kernels.ring.communicator import Counted, Group, RingBroken
from ringroad.kernels.ring.layout import dealt
from tests.kernels.ring.cases import WAYS, Case

TIMEOUT = 3.0  # seconds


def case(ranks: int) -> Case:
    """The text that the processes' ring reads, and that a ring of threads reads as well."""
    return Case(dealt(ranks, 5), 30, 73, 4, 2, torch.float32)


def compute(ring: Group, back: Group, into: Path) -> None:
    """Saves what every schedule gives: {way: (out, lse, bytes by destination)}."""
    given = {}
    for name, way in WAYS.items():
        ends = Counted(ring), Counted(back)
        part = way(case(ring.ranks), ring.rank, *ends)
        moved = [sum(end.bytes[to] for end in ends) for to in range(ring.ranks)]
        given[name] = (part.out, part.lse, moved)
    torch.save(given, into / f"{ring.rank}.pt")


def turn(ring: Group) -> None:
    """Passes a number round and round, until the ring breaks; says when it turns, and what broke it."""
    right, left = (ring.rank + 1) % ring.ranks, (ring.rank - 1) % ring.ranks
    turns, start = 0, time.monotonic()
    try:
        while True:
            start = time.monotonic()
            ring.send_recv(torch.tensor([turns]), right, torch.empty(1, dtype=torch.int64), left)
            ring.commit()
            ring.wait()
            turns += 1
            if turns == 3:
                say(turning=True)
    except RingBroken as broken:
        say(rank=broken.rank, seconds=time.monotonic() - start)


def say(**words: object) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


def main(job: str, rank: str, ranks: str, folder: str) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(str(Path(folder) / "store"), int(ranks))
    dist.init_process_group("gloo", store=store, rank=int(rank), world_size=int(ranks))
    every = list(range(int(ranks)))
    ring, back = (Group(dist.new_group(every), TIMEOUT) for _ in range(2))
    if job == "turn":
        turn(ring)
    else:
        compute(ring, back, Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
