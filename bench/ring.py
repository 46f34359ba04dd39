"""The ring's schedules over gloo on this machine, beside what the cost model says of them.

    .venv/bin/python bench/ring.py             2 and 4 ranks, two minutes; writes bench/results/ring.json

The model's four rates are measured first, all ranks at once: products and reading keys by blocks alone,
the link by messages alone. Then every schedule is run for several shapes, and its time is the slowest rank's.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import torch
import torch.distributed as dist
from torch import Tensor

from ringroad.kernels.ring.blocks import attend
from ringroad.kernels.ring.communicator import Group
from ringroad.kernels.ring.cost import FLOPS, SCHEDULES, Device, Link, Shape, cheapest, cost
from ringroad.kernels.ring.layout import dealt
from ringroad.kernels.ring.merge import Partial
from ringroad.kernels.ring.pass_kv import pass_kv
from ringroad.kernels.ring.pass_q import pass_q
from ringroad.kernels.ring.token_ring import token_ring
from ringroad.kernels.ring.wire import Heads

RESULTS = Path(__file__).parent / "results" / "ring.json"
GROUPED, ALIKE = Heads(14, 2, 64, torch.float32), Heads(8, 8, 64, torch.float32)
CASES = {  # heads, and the new rows from start to stop
    "2,048 tokens, 14 heads on 2": (GROUPED, 0, 2048),
    "2,048 tokens, 8 heads on 8": (ALIKE, 0, 2048),
    "512 after 7,680, 14 heads on 2": (GROUPED, 7680, 8192),
    "512 after 7,680, 8 heads on 8": (ALIKE, 7680, 8192),
    "8 after 16,376, 14 heads on 2": (GROUPED, 16376, 16384),
    "1 after 16,383, 8 heads on 8": (ALIKE, 16383, 16384),
}
REPEATS, MEGABYTES = 7, 4


class Rank:
    """One process of the ring: what it measures is the slowest rank's median, in seconds."""

    def __init__(self, rank: int, ranks: int, store: str) -> None:
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // ranks))
        dist.init_process_group("gloo", store=dist.FileStore(store, ranks), rank=rank, world_size=ranks)
        every = list(range(ranks))
        self.ring, self.back = (Group(dist.new_group(every), 60.0) for _ in range(2))
        self.rank, self.ranks = rank, ranks

    def slowest(self, body: Callable[[], object]) -> float:
        times = []
        for _ in range(REPEATS + 1):
            dist.barrier()
            began = perf_counter()
            body()
            taken = torch.tensor(perf_counter() - began, dtype=torch.float64)
            dist.all_reduce(taken, dist.ReduceOp.MAX)
            times.append(float(taken))
        return statistics.median(times[1:])

    def device(self) -> Device:
        """By a block of many rows, half of them masked as in a text, and by one of few over many keys."""
        rows, keys = 1024, 8192
        query, both = torch.randn(rows, 14, 64), torch.randn(2, keys, 2, 64)
        causal = torch.ones(rows, rows, dtype=torch.bool).tril()
        long = self.slowest(lambda: attend(query, both[0, :rows], both[1, :rows], causal))
        short = self.slowest(lambda: attend(query[:4], both[0], both[1], None))
        return Device(FLOPS * int(causal.sum()) * 14 * 64 / long, both.nbytes / short)

    def link(self) -> Link:
        right, left = (self.rank + 1) % self.ranks, (self.rank - 1) % self.ranks

        def passes(numbers: int) -> float:
            sending, coming = torch.zeros(numbers), torch.zeros(numbers)

            def once() -> None:
                self.ring.send_recv(sending, right, coming, left)
                self.ring.commit()
                self.ring.wait()

            return self.slowest(once)

        short, size = passes(16), MEGABYTES * 2**20
        return Link(size / max(passes(size // 4) - short, 1e-9), short)

    def schedules(self, shape: Shape) -> dict[str, Callable[[], Partial]]:
        heads, layout = shape.heads, shape.layout
        rows = [layout.positions(r, shape.start, shape.stop) for r in range(self.ranks)]
        keys = [layout.positions(r, 0, shape.stop) for r in range(self.ranks)]
        query = torch.randn(len(rows[self.rank]), heads.query, heads.dim)
        mine = torch.randn(2, len(keys[self.rank]), heads.key, heads.dim)
        masks = [[r[:, None] >= k for k in keys] for r in rows]

        def over(both: Tensor, owner: int) -> Partial:
            return attend(query, both[0], both[1], masks[self.rank][owner])

        def own(their: Tensor, owner: int) -> Partial:
            return attend(their, mine[0], mine[1], masks[owner][self.rank][-len(their) :])

        counts = [len(some) for some in rows]
        return {
            "pass_q": lambda: pass_q(self.ring, query, counts, own),
            "pass_kv": lambda: pass_kv(self.ring, mine, shape.sizes, over),
            "token_ring": lambda: token_ring(self.ring, self.back, query, shape.needed, own),
        }

    def measured(self) -> dict[str, object]:
        device, link, lines = self.device(), self.link(), []
        for name, (heads, start, stop) in CASES.items():
            shape = Shape(heads, dealt(self.ranks, 64), start, stop)
            schedules = self.schedules(shape)
            for way in SCHEDULES:
                said = cost(way, shape, link, device)
                line = {"case": name, "schedule": way, "measured_ms": 1e3 * self.slowest(schedules[way])}
                modelled = {"modelled_ms": 1e3 * said.total, "computing_ms": 1e3 * said.computing}
                moved = {"megabytes_sent": said.bytes / 1e6, "picked": way == cheapest(shape, link, device)}
                lines.append(line | modelled | moved)
        return {"ranks": self.ranks, "device": vars(device), "link": vars(link), "lines": lines}


def ring(ranks: int) -> dict[str, object]:
    """Runs as many processes; rank 0 says what was measured."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--ranks", str(ranks), "--store", f"{folder}/store", "--rank"]
        env = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
        processes = [
            subprocess.Popen([*command, str(rank)], env=env, stdout=subprocess.PIPE, text=True)
            for rank in range(ranks)
        ]
        try:
            outputs = [process.communicate(timeout=600)[0] for process in processes]
        finally:
            for process in processes:
                process.kill()
        found: dict[str, object] = json.loads(outputs[0])
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--store", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.rank is not None:
        found = Rank(asked.rank, asked.ranks, asked.store).measured()
        if asked.rank == 0:
            print(json.dumps(found))
        return
    machine = {"processor": platform.machine(), "cores": os.cpu_count(), "load": os.getloadavg()[0]}
    result = {"date": datetime.now(UTC).date().isoformat(), "machine": machine}
    result["rings"] = [ring(ranks) for ranks in (2, 4)]
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
