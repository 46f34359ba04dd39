"""What a schedule takes, by the shape of a step: its messages, its blocks, and which wait for which."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from ringroad.kernels.ring import pass_kv, pass_q, token_ring
from ringroad.kernels.ring.layout import Layout, needed, work
from ringroad.kernels.ring.wire import Heads, Move

FLOPS = 4  # a pair of query and key, a number of a head: product and sum, for scores and for outputs


@dataclass(frozen=True)
class Link:
    """What one rank sends, over all its ways together; as much as is sent to it comes in meanwhile."""

    bytes_per_second: float
    latency: float  # seconds of a message of no bytes


@dataclass(frozen=True)
class Device:
    """What one rank computes, as attention reaches it."""

    flops: float  # a second
    bytes_per_second: float  # of keys and values read


@dataclass(frozen=True)
class Shape:
    """One layer's attention in a step: new rows [start, stop) of a session over all of its keys."""

    heads: Heads
    layout: Layout
    start: int
    stop: int

    @cached_property
    def pairs(self) -> list[list[int]]:
        return work(self.layout, self.start, self.stop)

    @cached_property
    def needed(self) -> list[list[int]]:
        return needed(self.layout, self.start, self.stop)

    @cached_property
    def sizes(self) -> list[int]:
        """Keys of each rank."""
        return [self.layout.count(rank, self.stop) for rank in range(self.layout.ranks)]

    @cached_property
    def rows(self) -> list[int]:
        """New rows of each rank."""
        before = [self.layout.count(rank, self.start) for rank in range(self.layout.ranks)]
        return [size - old for size, old in zip(self.sizes, before, strict=True)]


Moves = Callable[[Shape], Iterable[Move]]
SCHEDULES: Mapping[str, Moves] = MappingProxyType(
    {
        "pass_q": lambda shape: pass_q.moves(shape.rows, shape.heads),
        "pass_kv": lambda shape: pass_kv.moves(shape.sizes, shape.heads),
        "token_ring": lambda shape: token_ring.moves(shape.needed, shape.heads),
    }
)


@dataclass(frozen=True)
class Cost:
    """Seconds of one layer's attention, and bytes, of the rank that has most."""

    total: float  # until the last rank is done
    computing: float
    moving: float  # that it sends
    bytes: int  # that it sends

    @property
    def hidden(self) -> float:
        """The share of moving that costs no time; 1 where nothing moves."""
        waiting = min(self.total - self.computing, self.moving)
        return 1 - waiting / self.moving if self.moving else 1.0


def cost(schedule: str, shape: Shape, link: Link, device: Device) -> Cost:
    """Plays a schedule: a rank begins a step when its last block is done and what is due is there; what it
    sends leaves it one after the other. Raises ValueError for a schedule that is not there."""
    if schedule not in SCHEDULES:
        raise ValueError(f"no schedule {schedule!r}: one of {', '.join(SCHEDULES)}")
    ranks = range(shape.layout.ranks)
    moves = list(SCHEDULES[schedule](shape))
    blocks = [[_block(schedule, shape, device, rank, step) for step in ranks] for rank in ranks]
    own = [[move for move in moves if move.source == rank] for rank in ranks]
    return Cost(
        total=_played(moves, blocks, link),
        computing=max(map(sum, blocks)),
        moving=max(_moving(some, link) for some in own),
        bytes=max(sum(move.bytes for move in some) for some in own),
    )


def cheapest(shape: Shape, link: Link, device: Device) -> str:
    """The schedule that takes least time; of equals the first in SCHEDULES, at every rank the same one."""
    return min(SCHEDULES, key=lambda schedule: cost(schedule, shape, link, device).total)


def _played(moves: list[Move], blocks: list[list[float]], link: Link) -> float:
    """When the last rank is done."""
    ranks = range(len(blocks))
    begun, free = [0.0 for _ in ranks], [0.0 for _ in ranks]  # of each rank: its step, and its way out
    there: dict[tuple[int, int], float] = {}  # when all is that is due to a rank at a step
    for step in range(len(blocks) + 1):
        for move in (move for move in moves if move.step == step):
            left = max(begun[move.source], free[move.source]) + move.bytes / link.bytes_per_second
            free[move.source] = left
            key = move.to, move.due
            there[key] = max(there.get(key, 0.0), left + link.latency)
        ends = [begun[rank] + sum(blocks[rank][step : step + 1]) for rank in ranks]
        begun = [max(ends[rank], there.get((rank, step + 1), 0.0)) for rank in ranks]
    return max(begun)


def _moving(moves: list[Move], link: Link) -> float:
    """How long a rank's messages are on their way; those of a step set out together."""
    steps = len({move.step for move in moves})
    return steps * link.latency + sum(move.bytes for move in moves) / link.bytes_per_second


def _block(schedule: str, shape: Shape, device: Device, rank: int, step: int) -> float:
    """What a rank computes in a step, bound by products or by reading keys."""
    ranks = shape.layout.ranks
    rows, keys = (rank + step) % ranks, rank
    if schedule == "pass_kv":
        rows, keys = rank, (rank - step) % ranks
    pairs = shape.pairs[rows][keys]
    read = shape.sizes[keys] * shape.heads.key_value_bytes if pairs else 0
    products = FLOPS * pairs * shape.heads.query * shape.heads.dim
    return max(products / device.flops, read / device.bytes_per_second)
