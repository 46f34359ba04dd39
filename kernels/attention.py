"""Attention of a session's new tokens over its cached keys and values.

Like `linear.py` it gives a row the same bits in any company: every call is cut into tiles of the
same few query rows, and the keys are always a whole number of BLOCKs, so that the library below
sees the same shapes and adds in the same order whether one token or a hundred are computed.
"""

import torch
from torch import Tensor

BLOCK = 512  # keys; torch's CPU kernel walks the keys in blocks of this many
TILE = 16  # query rows that a tile aims at, grouped heads included


def span(length: int) -> int:
    """How many cache places attention over `length` tokens reads: whole BLOCKs."""
    return -(-length // BLOCK) * BLOCK


def visible(base: int, parents: list[int] | None, count: int, dtype: torch.dtype) -> Tensor:
    """Which keys each of `count` new tokens may see, as a bias of 0 or -inf: [count, span].

    They stand in the cache from place `base` on. A token sees everything before `base`, itself and
    its ancestors: all before it in a chain (`parents` None), else those `parents[i]` leads to (an
    earlier new token, or -1).
    """
    mask = torch.full((count, span(base + count)), float("-inf"), dtype=dtype)
    mask[:, :base] = 0
    new = mask[:, base : base + count]
    if parents is None:
        new.masked_fill_(torch.ones(count, count, dtype=torch.bool).tril(), 0)
        return mask
    for node, parent in enumerate(parents):
        if parent >= 0:
            new[node] = new[parent]
        new[node, node] = 0
    return mask


def tiled(mask: Tensor, group: int) -> Tensor:
    """A mask [count, span] laid out for `attend`: [tiles, 1, rows, span], made once a step."""
    per_tile = _tokens_per_tile(group)
    count, keys = mask.shape
    tiles = -(-count // per_tile)
    if tiles * per_tile > count:
        mask = torch.cat([mask, mask[-1:].expand(tiles * per_tile - count, -1)])
    rows = mask.view(tiles, per_tile, 1, keys).expand(-1, -1, group, -1)
    return rows.reshape(tiles, 1, per_tile * group, keys)


def attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Softmax attention with grouped heads.

    query [count, heads, dim]; keys, values [kv_heads, span, dim]; mask as `tiled` made it.
    Returns [count, heads * dim] in the dtype of the query.
    """
    count, heads, dim = query.shape
    kv_heads = len(keys)
    group = heads // kv_heads
    per_tile = _tokens_per_tile(group)
    tiles = len(mask)
    if tiles * per_tile > count:
        query = torch.cat([query, query[-1:].expand(tiles * per_tile - count, -1, -1)])
    rows = query.view(tiles, per_tile, kv_heads, group, dim).transpose(1, 2)
    out = torch.nn.functional.scaled_dot_product_attention(
        rows.reshape(tiles, kv_heads, per_tile * group, dim),
        keys.expand(tiles, -1, -1, -1),
        values.expand(tiles, -1, -1, -1),
        attn_mask=mask,
    )
    out = out.view(tiles, kv_heads, per_tile, group, dim).transpose(1, 2)
    return out.reshape(tiles * per_tile, heads * dim)[:count]


def _tokens_per_tile(group: int) -> int:
    return max(1, TILE // group)
