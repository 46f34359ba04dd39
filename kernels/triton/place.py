"""Norms and turns heads, and writes keys and values to the paged cache: one program a head of a row.

Twin: `twins.place`. Rotary position embedding after Su et al. 2021; halves of a head form the pairs.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ringroad.kernels.triton.batch import Turn
from ringroad.kernels.triton.options import OPTIONS


@triton.jit
def place_kernel(
    heads: tl.tensor,
    positions: tl.tensor,
    slots: tl.tensor,
    cos: tl.tensor,
    sin: tl.tensor,
    query_norm: tl.tensor,
    key_norm: tl.tensor,
    query: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    eps: tl.tensor,
    block_stride: tl.tensor,
    head_stride: tl.tensor,
    QUERIES: tl.constexpr,
    PLACES: tl.constexpr,
    DIM: tl.constexpr,
    NORMED: tl.constexpr,
) -> None:
    """heads [rows, QUERIES + 2 * kv_heads, DIM]: queries go to query [rows, QUERIES, DIM], keys and values
    to their row's slot; a slot of -1 is nowhere."""
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    kv_heads = (tl.num_programs(1) - QUERIES) // 2
    dims = tl.arange(0, DIM)
    other = (dims + DIM // 2) % DIM
    mine = heads + (row * tl.num_programs(1) + head) * DIM
    part = tl.load(mine + dims)
    slot = tl.load(slots + row)
    kept = dims < tl.where(slot >= 0, DIM, 0)
    lane = slot // PLACES * block_stride + slot % PLACES * DIM + dims
    if head >= QUERIES + kv_heads:
        tl.store(values + lane + (head - QUERIES - kv_heads) * head_stride, part, mask=kept)
        return

    wide, swapped = part.to(tl.float32), tl.load(mine + other).to(tl.float32)
    if NORMED:
        root = tl.sqrt_rn(tl.sum(wide * wide, 0) / DIM + eps)
        weight = query_norm if head < QUERIES else key_norm
        wide = (tl.div_rn(wide, root) * tl.load(weight + dims)).to(part.dtype).to(tl.float32)
        swapped = (tl.div_rn(swapped, root) * tl.load(weight + other)).to(part.dtype).to(tl.float32)
    angle = tl.load(positions + row) * DIM + dims
    turned = (wide * tl.load(cos + angle) + swapped * tl.load(sin + angle)).to(part.dtype)
    if head < QUERIES:
        tl.store(query + (row * QUERIES + head) * DIM + dims, turned)
    else:
        tl.store(keys + lane + (head - QUERIES) * head_stride, turned, mask=kept)


def place(heads: Tensor, keys: Tensor, values: Tensor, turn: Turn) -> Tensor:
    """As `twins.place`; dim a power of two, keys and values strided as `attend` takes them."""
    rows, count, dim = heads.shape
    queries = count - 2 * keys.shape[1]
    query = torch.empty((rows, queries, dim), dtype=heads.dtype, device=heads.device)
    query_norm, key_norm = turn.norms or (turn.cos, turn.cos)  # not read where there are none
    place_kernel[(rows, count)](
        heads,
        turn.positions,
        turn.slots,
        turn.cos,
        turn.sin,
        query_norm,
        key_norm,
        query,
        keys,
        values,
        turn.eps,
        keys.stride(0),
        keys.stride(1),
        QUERIES=queries,
        PLACES=keys.shape[2],
        DIM=dim,
        NORMED=turn.norms is not None,
        **OPTIONS,
    )
    return query
