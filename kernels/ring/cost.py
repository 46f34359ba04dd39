"""What a schedule takes, by the shape of a step: the bytes it moves, its products, and how much of the one
hides behind the other."""

from collections import Counter
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
    """What one rank sends, over all its ways together; as much comes in meanwhile."""

    bytes_per_second: float
    latency: float  # seconds until the first byte of a step is there


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
    """Seconds of one layer's attention."""

    computing: float
    moving: float
    waiting: float  # of moving, what no computing hides
    bytes: int  # that the busiest rank sends

    @property
    def total(self) -> float:
        return self.computing + self.waiting

    @property
    def hidden(self) -> float:
        """The share of moving that costs no time; 1 where nothing moves."""
        return 1 - self.waiting / self.moving if self.moving else 1.0


def cost(schedule: str, shape: Shape, link: Link, device: Device) -> Cost:
    """Steps one after the other, in each the slowest rank's computing, beside it the slowest rank's moving.
    Raises ValueError for a schedule that is not there."""
    if schedule not in SCHEDULES:
        raise ValueError(f"no schedule {schedule!r}: one of {', '.join(SCHEDULES)}")
    ranks = range(shape.layout.ranks)
    moves = list(SCHEDULES[schedule](shape))
    steps = max([len(ranks), *(move.step + 1 for move in moves)])
    computing = [max(_block(schedule, shape, device, rank, step) for rank in ranks) for step in range(steps)]
    moving = [_moving([move for move in moves if move.step == step], link) for step in range(steps)]
    return Cost(
        sum(computing),
        sum(moving),
        sum(max(way - block, 0.0) for way, block in zip(moving, computing, strict=True)),
        max(sum(move.bytes for move in moves if move.source == rank) for rank in ranks),
    )


def cheapest(shape: Shape, link: Link, device: Device) -> str:
    """The schedule that takes the least time; of equals the first in SCHEDULES, at every rank the same one."""
    return min(SCHEDULES, key=lambda schedule: cost(schedule, shape, link, device).total)


def _block(schedule: str, shape: Shape, device: Device, rank: int, step: int) -> float:
    """What a rank computes in a step, bound by products or by reading keys."""
    ranks = shape.layout.ranks
    if step >= ranks:
        return 0.0
    rows, keys = (rank + step) % ranks, rank
    if schedule == "pass_kv":
        rows, keys = rank, (rank - step) % ranks
    pairs = shape.pairs[rows][keys]
    read = shape.sizes[keys] * shape.heads.key_value_bytes if pairs else 0
    products = FLOPS * pairs * shape.heads.query * shape.heads.dim
    return max(products / device.flops, read / device.bytes_per_second)


def _moving(moves: list[Move], link: Link) -> float:
    """A step's messages at once: as long as the rank takes that sends most, or gets most."""
    loads: Counter[tuple[str, int]] = Counter()
    for move in moves:
        loads["out", move.source] += move.bytes
        loads["in", move.to] += move.bytes
    return link.latency + max(loads.values()) / link.bytes_per_second if loads else 0.0
