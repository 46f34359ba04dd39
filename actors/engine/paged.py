"""Steps of a decoder that finds keys and values by the numbers of their blocks."""

from collections.abc import Sequence
from functools import partial
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ringroad.actors.engine.cache import Cache, Span
from ringroad.actors.engine.pool import BLANK, BLOCK, Pool
from ringroad.kernels.triton.batch import WORD, Inputs, ancestry, lineage
from ringroad.kernels.triton.decoder import PagedDecoder
from ringroad.kernels.triton.graphs import Capture, Outputs, Recorded

RECORDED = 64  # rows of a step: no more than a word has bits
WIDTHS = 4  # a recording reads up to so many blocks of a session, or that times itself, and so on


class Paged:
    """A decoder's steps: those of few rows padded to a few shapes and, on a GPU, recorded for each."""

    def __init__(self, decoder: PagedDecoder, capture: Capture | None = None) -> None:
        """`capture` records steps in place of a CUDA graph."""
        self._decoder = decoder
        self._device = decoder.embedding.device
        self._capture = capture
        # A recording reads and writes its pool's own memory, and is of use as long as that is there.
        self._steps: WeakKeyDictionary[Pool, dict[int | None, Recorded]] = WeakKeyDictionary()

    def forward(
        self, tokens: Tensor, positions: Tensor, spans: Sequence[Span[Cache]], depth: int | None = None
    ) -> Tensor:
        """As `Model.forward`. What it returns for few rows, the next such call overwrites on a GPU."""
        pool, rows = spans[0].cache.pool, len(tokens)
        most = max(at.stop - at.start for at in spans)
        inputs = Inputs(*(part.to(self._device) for part in _inputs(tokens, positions, spans, most)))
        if rows > RECORDED:
            return self._decoder.forward(pool.data, inputs, most, depth)
        return self._recorded(pool, depth)(*inputs)[0][:rows]

    def _recorded(self, pool: Pool, depth: int | None) -> Recorded:
        steps = self._steps.setdefault(pool, {})
        if depth not in steps:
            steps[depth] = Recorded(partial(_run, self._decoder, pool.data, depth), self._capture)
        return steps[depth]


def _run(decoder: PagedDecoder, cache: Tensor, depth: int | None, *inputs: Tensor) -> Outputs:
    return (decoder.forward(cache, Inputs(*inputs), depth=depth),)


def _inputs(tokens: Tensor, positions: Tensor, spans: Sequence[Span[Cache]], most: int) -> Inputs:
    """A step on the CPU, padded: what is left over of its rows is of a last session, and sees nothing."""
    rows, sessions = len(tokens), len(spans)
    height, count = rows, sessions
    width = max(-(-(at.cache.length + at.stop - at.start) // BLOCK) for at in spans)
    words = _power(-(-most // WORD))
    if rows <= RECORDED:
        height, width = _power(rows), _power(width, WIDTHS)
        count = _power(sessions + (height > rows))
    first = torch.full((count + 1,), rows, dtype=torch.int32)
    cached = torch.zeros(count, dtype=torch.int32)
    table = torch.full((count, width), BLANK, dtype=torch.int32)
    seen = torch.zeros((height, words), dtype=torch.int64)
    slots = torch.full((height,), -1)
    for session, at in enumerate(spans):
        mine, blocks, length = slice(at.start, at.stop), at.cache.blocks(), at.cache.length
        first[session], cached[session] = at.start, length
        table[session, : len(blocks)] = blocks[:width]
        places = torch.arange(length, length + at.stop - at.start)
        slots[mine] = blocks[places // BLOCK] * BLOCK + places % BLOCK
        seen[mine] = lineage(len(places), words) if at.parents is None else ancestry(at.parents, words)
    first[count] = height
    return Inputs(_padded(tokens, height), _padded(positions, height), slots, first, cached, table, seen)


def _padded(numbers: Tensor, height: int) -> Tensor:
    return torch.cat([numbers, numbers.new_zeros(height - len(numbers))])


def _power(count: int, base: int = 2) -> int:
    """The least power of the base that is no less."""
    power = 1
    while power < count:
        power *= base
    return power
