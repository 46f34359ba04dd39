"""A ring of GPUs that need not be there: what a long text takes on it, by the schedules' own moves.

Nothing here has been measured on GPUs: rates are makers' figures times the shares below (docs/scale.md).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import torch

from ringroad.kernels.ring.cost import SCHEDULES, Cost, Device, Link, Shape, cheapest, cost
from ringroad.kernels.ring.layout import dealt
from ringroad.kernels.ring.wire import Heads

BLOCK = 64  # positions that go to a rank at a time
CHUNK = 32768  # tokens of a prefill step
# Of the makers' figures, what is taken to be reached.
ATTENTION, DENSE, TRAFFIC = 0.5, 0.6, 0.8


@dataclass(frozen=True)
class Model:
    """What of a model decides time and memory; in bf16."""

    layers: int
    query_heads: int
    key_heads: int
    dim: int
    parameters: float

    @property
    def heads(self) -> Heads:
        return Heads(self.query_heads, self.key_heads, self.dim, torch.bfloat16)


@dataclass(frozen=True)
class Gpu:
    """A maker's figures: dense bf16 products, memory's bytes a second, and its bytes."""

    flops: float
    bytes_per_second: float
    memory: float


MODELS: Mapping[str, Model] = MappingProxyType(
    {
        "qwen2.5-0.5b": Model(24, 14, 2, 64, 0.494e9),
        "qwen2.5-1.5b": Model(28, 12, 2, 128, 1.54e9),
        "qwen2.5-7b": Model(28, 28, 4, 128, 7.62e9),
        "qwen2.5-14b": Model(48, 40, 8, 128, 14.8e9),
        "qwen2.5-32b": Model(64, 40, 8, 128, 32.8e9),
        "qwen2.5-72b": Model(80, 64, 8, 128, 72.7e9),
        "llama-2-7b": Model(32, 32, 32, 128, 6.74e9),
        "llama-3.1-8b": Model(32, 32, 8, 128, 8.03e9),
    }
)
GPUS: Mapping[str, Gpu] = MappingProxyType(
    {
        "a100": Gpu(312e12, 2.04e12, 80e9),
        "h100": Gpu(989e12, 3.35e12, 80e9),
        "h200": Gpu(989e12, 4.8e12, 141e9),
        "b200": Gpu(2250e12, 8e12, 180e9),
    }
)
# One way of one GPU: NVLink 4, PCIe 5 x16, InfiniBand NDR.
LINKS: Mapping[str, Link] = MappingProxyType(
    {"nvlink": Link(450e9, 5e-6), "pcie": Link(63e9, 1e-5), "infiniband": Link(50e9, 1e-5)}
)
WEIGHTS: Mapping[str, float] = MappingProxyType({"bf16": 2.0, "fp8": 1.0, "int4": 0.5})  # bytes each


@dataclass(frozen=True)
class Setup:
    """A ring and a text; `read` makes one of words."""

    gpus: int = 8
    link: str = "nvlink"
    model: str = "qwen2.5-72b"
    tokens: int = 128 * 1024
    gpu: str = "h100"
    weights: str = "bf16"

    @property
    def device(self) -> Device:
        gpu = GPUS[self.gpu]
        return Device(gpu.flops * ATTENTION, gpu.bytes_per_second * TRAFFIC)

    @property
    def way(self) -> Link:
        link = LINKS[self.link]
        return replace(link, bytes_per_second=link.bytes_per_second * TRAFFIC)

    def shape(self, start: int, stop: int) -> Shape:
        return Shape(MODELS[self.model].heads, dealt(self.gpus, BLOCK), start, stop)

    def shapes(self) -> list[Shape]:
        """The prefill's steps."""
        starts = range(0, self.tokens, CHUNK)
        return [self.shape(start, min(start + CHUNK, self.tokens)) for start in starts]


@dataclass(frozen=True)
class Run:
    """What a text would take."""

    setup: Setup
    steps: Sequence[
        tuple[str, Cost]
    ]  # the schedule that is picked, and one layer's cost, of each prefill step
    token: Cost  # one layer's attention of the token after them

    @cached_property
    def model(self) -> Model:
        return MODELS[self.setup.model]

    @property
    def schedules(self) -> Counter[str]:
        return Counter(schedule for schedule, _ in self.steps)

    @property
    def attention(self) -> float:
        """Seconds of the prefill's attention, with what waits for messages."""
        return self.model.layers * sum(step.total for _, step in self.steps)

    @property
    def prefill(self) -> float:
        """Seconds until the first token."""
        products = 2 * self.model.parameters * self.setup.tokens / self.setup.gpus
        return self.attention + products / (GPUS[self.setup.gpu].flops * DENSE)

    @property
    def hidden(self) -> float:
        """Of the prefill's moving, the share that costs no time."""
        moving = sum(step.moving for _, step in self.steps)
        return sum(step.hidden * step.moving for _, step in self.steps) / moving if moving else 1.0

    @property
    def bytes(self) -> int:
        """What the prefill's busiest rank sends."""
        return self.model.layers * sum(step.bytes for _, step in self.steps)

    @property
    def decode(self) -> float:
        """Seconds of a token after the text: every rank reads all weights and its own keys."""
        read = self.weights / (GPUS[self.setup.gpu].bytes_per_second * TRAFFIC)
        return self.model.layers * self.token.total + read

    @property
    def weights(self) -> float:
        """Bytes, of all weights at every rank."""
        return self.model.parameters * WEIGHTS[self.setup.weights]

    @property
    def keys(self) -> int:
        """Bytes of keys and values at the rank with most."""
        layout, tokens = dealt(self.setup.gpus, BLOCK), self.setup.tokens
        most = max(layout.count(rank, tokens) for rank in range(self.setup.gpus))
        return most * self.model.layers * self.model.heads.key_value_bytes

    @property
    def fits(self) -> bool:
        return self.weights + self.keys <= GPUS[self.setup.gpu].memory


def simulate(setup: Setup) -> Run:
    """Prefill in chunks, each by the schedule that takes the least time, and the token after it."""
    token = setup.shape(setup.tokens - 1, setup.tokens)
    return Run(setup, [_best(setup, shape) for shape in setup.shapes()], _best(setup, token)[1])


def compared(setup: Setup) -> list[tuple[str, str, Cost, bool]]:
    """What each schedule takes for a layer: of what, schedule, cost, and whether it is picked."""
    prefill, stop = setup.shapes(), setup.tokens
    ends = (("first", prefill[0]), ("last", prefill[-1]))
    shapes = {f"{end} {shape.stop - shape.start:,} rows": shape for end, shape in ends}
    shapes |= {f"last {rows}": setup.shape(stop - rows, stop) for rows in (8, 1) if rows <= stop}
    lines = []
    for of, shape in shapes.items():
        best, _ = _best(setup, shape)
        lines += [(of, way, cost(way, shape, setup.way, setup.device), way == best) for way in SCHEDULES]
    return lines


def read(words: Sequence[str]) -> Setup:
    """A setup of `key=value` words. Raises ValueError naming what is unknown or out of range."""
    known = {"link": LINKS, "model": MODELS, "gpu": GPUS, "weights": WEIGHTS}
    given: dict[str, Any] = {}
    for word in words:
        key, _, value = word.partition("=")
        if key in ("gpus", "tokens"):
            given[key] = _count(key, value)
        elif key not in known:
            raise ValueError(f"no setting {key!r}: one of gpus, tokens, {', '.join(known)}")
        elif value not in known[key]:
            raise ValueError(f"no {key} {value!r}: one of {', '.join(known[key])}")
        else:
            given[key] = value
    return Setup(**given)


def _count(key: str, text: str) -> int:
    """`8`, `128k` (times 1024) or `1M` (times 1024 squared)."""
    scale = {"k": 1024, "M": 1024**2}.get(text[-1:], 1)
    digits = text if scale == 1 else text[:-1]
    if not digits.isdecimal() or not int(digits):
        raise ValueError(f"{key} is a whole number from 1 on, as 8, 128k or 1M: {text!r}")
    return int(digits) * scale


def _best(setup: Setup, shape: Shape) -> tuple[str, Cost]:
    schedule = cheapest(shape, setup.way, setup.device)
    return schedule, cost(schedule, shape, setup.way, setup.device)
