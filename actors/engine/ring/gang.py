"""The processes of a ring: how they meet, how the first tells the others what to do, and how they part."""

import math
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from threading import Event

import torch.distributed as dist
import zmq
from torch.distributed.distributed_c10d import Store

from ringroad.kernels.ring.communicator import Group, RingBroken

LEFT = b""  # the first rank's last word
LINGER_MS = 500  # for that to be sent
POLL_MS = 200  # how soon a rank that waits for word notices that it should stop
MEET_SECONDS = 300.0  # others may have to load their model first


class Gang:
    """One process's place in a ring. A process is in one gang, once."""

    def __init__(self, store: Store, rank: int, ranks: int, host: str, backend: str, timeout: float) -> None:
        """Waits for all others. `store`: where they meet; `host`: where the first one is heard from. A rank
        that is silent for `timeout` seconds breaks the ring. Raises RingBroken."""
        self.rank, self.ranks = rank, ranks
        self._timeout = timeout
        self._context = zmq.Context()
        self._lines: list[zmq.Socket[bytes]] = []
        try:
            self._connect(store, host)
            wait = timedelta(seconds=MEET_SECONDS)
            dist.init_process_group(backend, store=store, rank=rank, world_size=ranks, timeout=wait)
            back = dist.new_group(timeout=wait)
            for group in (dist.group.WORLD, back):
                dist.barrier(group)  # NCCL wants one collective before messages between two
        except (dist.DistError, RuntimeError) as error:
            raise RingBroken(None, f"the ranks have not met: {error}") from error
        assert dist.group.WORLD is not None
        self.ring, self.back = Group(dist.group.WORLD, timeout), Group(back, timeout)

    def tell(self, message: bytes) -> None:
        """To all other ranks, in this order. Raises RingBroken for one that is gone."""
        for rank, line in enumerate(self._lines, 1):
            try:
                line.send(message)
            except zmq.Again as error:
                raise RingBroken(rank, "it takes in nothing") from error

    def heard(self, stop: Event, grace_seconds: float = 0.0) -> Iterator[bytes]:
        """What the first rank tells until it leaves, or `stop` was set that long ago."""
        (line,) = self._lines
        ends = math.inf
        while time.monotonic() < ends:
            if stop.is_set() and ends == math.inf:
                ends = time.monotonic() + grace_seconds
            if line.poll(POLL_MS):
                if (message := line.recv()) == LEFT:
                    return
                yield message

    def close(self) -> None:
        """Leaves the gang."""
        for line in self._lines:
            if not self.rank:
                with suppress(zmq.Again):
                    line.send(LEFT, zmq.NOBLOCK)
            line.close(linger=LINGER_MS)
        self._context.term()
        if dist.is_initialized():
            dist.destroy_process_group()

    def _connect(self, store: Store, host: str) -> None:
        if self.rank:
            line = self._context.socket(zmq.PULL)
            store.wait([f"line {self.rank}"], timedelta(seconds=MEET_SECONDS))
            line.connect(store.get(f"line {self.rank}").decode())
            self._lines.append(line)
            return
        for other in range(1, self.ranks):
            line = self._context.socket(zmq.PUSH)
            line.sndtimeo = round(self._timeout * 1000)
            port = line.bind_to_random_port(f"tcp://{host}")
            store.set(f"line {other}", f"tcp://{host}:{port}")
            self._lines.append(line)
