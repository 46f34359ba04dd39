"""What travels is on its way before the block is computed that hides it."""

import pytest
import torch
from torch import Tensor

from ringroad.kernels.ring.communicator import Communicator
from ringroad.kernels.ring.merge import Partial, silent
from ringroad.kernels.ring.pass_kv import pass_kv
from ringroad.kernels.ring.pass_q import pass_q
from ringroad.kernels.ring.token_ring import token_ring
from tests.kernels.ring.threads import rings, together

RANKS, ROWS, HEADS, DIM = 3, 2, 2, 16
QUERY = torch.zeros(ROWS, HEADS, DIM)


class Noted:
    """Notes when something starts to travel, and when it is waited for."""

    def __init__(self, communicator: Communicator, name: str, notes: list[str]) -> None:
        self.rank, self.ranks = communicator.rank, communicator.ranks
        self._communicator, self._name, self._notes = communicator, name, notes
        self._queued, self._under_way = 0, False

    def send_recv(self, send: Tensor | None, to: int, into: Tensor | None, source: int) -> None:
        self._queued += sum(side is not None and side.numel() > 0 for side in (send, into))
        self._communicator.send_recv(send, to, into, source)

    def commit(self) -> None:
        if self._queued:
            self._notes.append(f"{self._name} starts")
            self._queued, self._under_way = 0, True
        self._communicator.commit()

    def wait(self) -> None:
        if self._under_way:
            self._notes.append(f"{self._name} is there")
            self._under_way = False
        self._communicator.wait()


def schedule(way: str, ring: Communicator, back: Communicator, notes: list[str]) -> Partial:
    def attend(moved: Tensor, owner: int) -> Partial:
        notes.append(f"block of {owner}")
        return silent(ROWS, HEADS, DIM, QUERY)

    if way == "pass_kv":
        return pass_kv(ring, torch.zeros(2, ROWS, HEADS, DIM), [ROWS] * RANKS, attend)
    if way == "pass_q":
        return pass_q(ring, QUERY, [ROWS] * RANKS, attend)
    return token_ring(ring, back, QUERY, [[ROWS] * RANKS] * RANKS, attend)


PASS_KV = [
    "ring starts",
    "block of 0",
    "ring is there",
    "ring starts",
    "block of 2",
    "ring is there",
    "block of 1",
]
PASS_Q = [
    "ring starts",
    "block of 0",
    "ring is there",
    "block of 1",
    "ring starts",
    "block of 2",
    "ring starts",
]
TOKEN_RING = [
    *("ring starts", "block of 0", "ring is there"),
    *("ring starts", "block of 1", "back starts", "ring is there"),
    *("block of 2", "back starts", "back is there"),
]
ORDERS = {"pass_kv": PASS_KV, "pass_q": [*PASS_Q, "ring is there"], "token_ring": TOKEN_RING}


@pytest.mark.parametrize("way", ORDERS)
def test_what_travels_starts_before_the_block(way: str) -> None:
    notes: list[list[str]] = [[] for _ in range(RANKS)]
    ends, backs = rings(RANKS), rings(RANKS)

    def body(rank: int) -> Partial:
        ring, back = Noted(ends[rank], "ring", notes[rank]), Noted(backs[rank], "back", notes[rank])
        return schedule(way, ring, back, notes[rank])

    together(RANKS, body)
    assert notes[0] == ORDERS[way]
