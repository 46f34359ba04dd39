"""How ranks talk: messages are queued, started together, and waited for later."""

import time
from collections import Counter
from datetime import timedelta
from typing import Protocol

import torch.distributed as dist
from torch import Tensor


class RingBroken(RuntimeError):
    """A rank is gone, or silent for too long. `rank` is the one that was waited for, which may itself have
    waited for another; None where this cannot be told."""

    def __init__(self, rank: int | None, why: str) -> None:
        super().__init__(f"the ring is broken at rank {'?' if rank is None else rank}: {why}")
        self.rank = rank


class Communicator(Protocol):
    """One rank's end of a ring. Between two ranks messages arrive in the order they were queued in. A rank
    knows the shape of what it gets, so that an empty tensor is not sent. Raises RingBroken."""

    rank: int
    ranks: int

    def send_recv(self, send: Tensor | None, to: int, into: Tensor | None, source: int) -> None:
        """Queues sending a tensor to one rank and filling another, contiguous one from a rank. Neither may be
        touched before `wait`."""

    def commit(self) -> None:
        """Starts all that is queued, and does not wait for it."""

    def wait(self) -> None:
        """Until all that was started has been sent and is there."""


class Group:
    """Over a process group of torch.distributed, whatever its backend is, with its ranks' numbers.

    Waiting for longer than `timeout` seconds breaks the ring; after that it is of no more use. A group of
    NCCL must have done one collective of all ranks before (a barrier, say), and its wait is the host's, too.
    """

    def __init__(self, group: dist.ProcessGroup, timeout: float) -> None:
        self.rank, self.ranks = group.rank(), group.size()
        self._group, self._timeout = group, timeout
        self._queued: list[dist.P2POp] = []
        self._started: list[tuple[dist.Work, int | None]] = []
        self._held: list[dist.P2POp] = []  # their tensors are to live as long as they travel

    def send_recv(self, send: Tensor | None, to: int, into: Tensor | None, source: int) -> None:
        if send is not None and send.numel():
            operation = dist.P2POp(dist.isend, send.contiguous(), group=self._group, group_peer=to)
            self._queued.append(operation)
        if into is not None and into.numel():
            self._queued.append(dist.P2POp(dist.irecv, into, group=self._group, group_peer=source))

    def commit(self) -> None:
        queued, self._queued = self._queued, []
        if not queued:
            return
        peers: list[int | None] = [operation.group_peer for operation in queued]
        try:
            works = dist.batch_isend_irecv(queued)
        except RuntimeError as error:
            raise RingBroken(peers[0] if len(set(peers)) == 1 else None, str(error)) from error
        if len(works) != len(peers):  # NCCL makes one of all
            peers = [None] * len(works)
        self._started += zip(works, peers, strict=True)
        self._held += queued

    def wait(self) -> None:
        started, self._started = self._started, []
        end = time.monotonic() + self._timeout
        for work, peer in started:
            try:
                work.wait(timedelta(seconds=max(end - time.monotonic(), 0.001)))
            except RuntimeError as error:
                raise RingBroken(peer, str(error)) from error
        self._held.clear()


class Counted:
    """Counts what another communicator sends: bytes and messages, by destination."""

    def __init__(self, communicator: Communicator) -> None:
        self.rank, self.ranks = communicator.rank, communicator.ranks
        self.bytes: Counter[int] = Counter()
        self.messages: Counter[int] = Counter()
        self._communicator = communicator

    def send_recv(self, send: Tensor | None, to: int, into: Tensor | None, source: int) -> None:
        if send is not None and send.numel():
            self.bytes[to] += send.nbytes
            self.messages[to] += 1
        self._communicator.send_recv(send, to, into, source)

    def commit(self) -> None:
        self._communicator.commit()

    def wait(self) -> None:
        self._communicator.wait()
