"""Tree attention over a paged cache. Twin: `twins.attend`.

Online softmax (Milakov & Gimelshein 2018) over keys in blocks that a table names (Kwon et al. 2023,
section 4.1), the keys cut into parts that programs take side by side (Flash-Decoding). Tiles of rows
and parts of keys have one size whatever is in the batch, so that a row's sums run in one order.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from ringroad.kernels.triton.batch import Step
from ringroad.kernels.triton.merge import merge
from ringroad.kernels.triton.options import OPTIONS

TILE = 16  # query rows of a program, grouped heads included: the least that tensor cores take
PART = 512  # keys of a program


@triton.jit
def _sees(
    place: tl.tensor,
    cached: tl.tensor,
    fresh: tl.tensor,
    seen: tl.tensor,
    row: tl.tensor,
    live: tl.tensor,
    WORDS: tl.constexpr,
) -> tl.tensor:
    """Which of the places [BLOCK] the rows [ROWS] see: all that is cached, and new ones by their bits."""
    new = (place - cached)[None, :]
    known = live[:, None] & (new >= 0) & (new < fresh)
    words = tl.load(seen + row[:, None] * WORDS + (new >> 6), mask=known, other=0)
    return (new < 0) | ((words >> (new & 63).to(tl.int64)) & 1 != 0)


# The batch's own numbers, which change from step to step, make no kernel of their own.
@triton.jit(do_not_specialize=["rows", "tiles", "table_stride"])
def attend_kernel(
    query: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    first: tl.tensor,
    cached: tl.tensor,
    new: tl.tensor,
    table: tl.tensor,
    seen: tl.tensor,
    out: tl.tensor,
    lse: tl.tensor,
    scale: tl.tensor,
    rows: tl.tensor,
    tiles: tl.tensor,
    table_stride: tl.tensor,
    block_stride: tl.tensor,
    head_stride: tl.tensor,
    GROUP: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    PART: tl.constexpr,
    WORDS: tl.constexpr,
) -> None:
    """One tile of a session's rows, one head of keys, one part of the places: out [parts, rows, heads, DIM]
    and lse [parts, rows, heads], fp32. A part behind the session's end says lse = -inf and leaves its out."""
    session = tl.program_id(0) // tiles
    tile = tl.program_id(0) % tiles
    head = tl.program_id(1)
    part = tl.program_id(2).to(tl.int64)
    start = tl.load(first + session)
    count = tl.load(first + session + 1) - start
    before = tl.load(cached + session)
    fresh = tl.load(new + session)
    tokens: tl.constexpr = ROWS // GROUP
    if tile * tokens >= count:
        return

    r = tl.arange(0, ROWS)
    token = tile * tokens + r // GROUP
    live = (r < tokens * GROUP) & (token < count)
    row = start + token
    line = row * (tl.num_programs(1) * GROUP) + head * GROUP + r % GROUP  # of [rows, heads]
    target = part * rows * tl.num_programs(1) * GROUP + line
    low = tl.program_id(2) * PART
    high = tl.minimum(before + fresh, low + PART)
    if low >= high:
        tl.store(lse + target, float("-inf"), mask=live)
        return

    dims = tl.arange(0, DIM)[None, :]
    n = tl.arange(0, BLOCK)
    in_block = n[:, None] * DIM + dims
    q = tl.load(query + line[:, None] * DIM + dims, mask=live[:, None], other=0.0)
    top = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    mixed = tl.zeros((ROWS, DIM), tl.float32)
    for at in range(low, high, BLOCK):
        block = tl.load(table + session * table_stride + at // BLOCK).to(tl.int64)
        here = block * block_stride + head * head_stride
        inside = (at + n < high)[:, None]
        k = tl.load(keys + here + in_block, mask=inside, other=0.0)
        v = tl.load(values + here + in_block, mask=inside, other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        scores = tl.where(_sees(at + n, before, fresh, seen, row, live, WORDS), scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, 1))
        base = tl.where(higher == float("-inf"), 0.0, higher)  # a row may see nothing of a block
        weight = tl.exp(scores - base[:, None])
        fade = tl.exp(top - base)
        total = total * fade + tl.sum(weight, 1)
        mixed = tl.dot(weight.to(v.dtype), v, mixed * fade[:, None], input_precision="ieee")
        top = higher
    some = tl.where(total == 0, 1.0, total)
    tl.store(out + target[:, None] * DIM + dims, mixed / some[:, None], mask=live[:, None])
    tl.store(lse + target, tl.where(total == 0, float("-inf"), top + tl.log(some)), mask=live)


def attend(
    query: Tensor, keys: Tensor, values: Tensor, step: Step, tile: int = TILE
) -> tuple[Tensor, Tensor]:
    """As `twins.attend`. dim is a power of two from 16 on, a block's places one from 16 to PART; keys and
    values are strided alike, and within a head's block contiguous. Raises ValueError for others."""
    rows, heads, dim = query.shape
    _, kv_heads, places, _ = keys.shape
    _check(keys, values, dim)
    group = heads // kv_heads
    height = max(tile, triton.next_power_of_2(group))
    tiles = triton.cdiv(step.most_rows, height // group)
    parts = triton.cdiv(step.most_places, PART)
    out = torch.empty((parts, rows, heads, dim), dtype=torch.float32, device=query.device)
    lse = torch.empty((parts, rows, heads), dtype=torch.float32, device=query.device)
    attend_kernel[(tiles * len(step.cached), kv_heads, parts)](
        query.contiguous(),
        keys,
        values,
        step.first,
        step.cached,
        step.new,
        step.table,
        step.seen,
        out,
        lse,
        1 / math.sqrt(dim),
        rows,
        tiles,
        step.table.stride(0),
        keys.stride(0),
        keys.stride(1),
        GROUP=group,
        DIM=dim,
        BLOCK=places,
        ROWS=height,
        PART=PART,
        WORDS=step.seen.shape[1],
        **OPTIONS,
    )
    return (out[0], lse[0]) if parts == 1 else merge(out, lse)


def _check(keys: Tensor, values: Tensor, dim: int) -> None:
    places = keys.shape[2]
    if dim < 16 or dim & (dim - 1) or not 16 <= places <= PART or places & (places - 1):
        raise ValueError(f"no kernel for heads of {dim} numbers in blocks of {places} places")
    if keys.stride() != values.stride() or keys.stride()[2:] != (dim, 1):
        raise ValueError(f"keys and values are strided {keys.stride()} and {values.stride()}")
