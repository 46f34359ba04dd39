"""Attention of some rows over one rank's keys, on a CPU."""

import math

import torch
from torch import Tensor

from ringroad.kernels.attention import span, tiled
from ringroad.kernels.ring.merge import Partial, silent, wide
from ringroad.kernels.triton.batch import Step, unmarked

ROWS = 256  # taken at once, so that their mask in the kernel's layout stays small

# The same kernel as in scaled_dot_product_attention, which keeps the log-sum-exp to itself.
_FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


def attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Partial:
    """Softmax attention with grouped heads, of any rows over any keys.

    query [rows, heads, dim]; keys, values [n, kv_heads, dim], n may be 0; mask [rows, n] bool, what each row
    sees; None: everything. Computed in fp64 for fp64, else in fp32, and there a row's bits depend on neither
    other rows nor keys behind those it sees, as in `kernels/attention.py`; n in whole BLOCKs saves a copy.
    """
    rows, heads, dim = query.shape
    if not rows or not len(keys):
        return silent(rows, heads, dim, query)
    if mask is None:
        mask = torch.ones(rows, len(keys), dtype=torch.bool)
    spare = span(len(keys)) - len(keys)
    mask = torch.nn.functional.pad(mask, (0, spare))
    keys, values = (_padded(side, spare).transpose(0, 1) for side in (keys, values))
    return _over(query, keys, values, mask)


def attend_paged(query: Tensor, keys: Tensor, values: Tensor, step: Step) -> tuple[Tensor, Tensor]:
    """As `attend`, of several texts whose keys lie in blocks: what `twins.attend` says, at this processor's
    speed. Block 0 is read, and has to be finite; what a text has is copied once, as the kernel wants it."""
    _, heads, dim = query.shape
    parts = [silent(0, heads, dim, query)]
    first = step.first.tolist()
    for text, (cached, new) in enumerate(zip(step.cached.tolist(), step.new.tolist(), strict=True)):
        rows, reach = query[first[text] : first[text + 1]], cached + new
        if not len(rows) or not reach:
            parts.append(silent(len(rows), heads, dim, query))
            continue
        mask = torch.zeros(len(rows), span(reach), dtype=torch.bool)
        mask[:, :cached] = True
        mask[:, cached:reach] = unmarked(step.seen[first[text] : first[text + 1]], new)
        blocks = torch.zeros(span(reach) // keys.shape[2], dtype=torch.int64)
        used = -(-reach // keys.shape[2])
        blocks[:used] = step.table[text, :used]
        parts.append(_over(rows, _gathered(keys, blocks), _gathered(values, blocks), mask))
    return torch.cat([part.out for part in parts]), torch.cat([part.lse for part in parts])


def _gathered(side: Tensor, blocks: Tensor) -> Tensor:
    """Some blocks [n] of keys or values [blocks, kv_heads, places, dim], which are contiguous within a head's
    block, one after another: [kv_heads, n * places, dim]."""
    count, kv_heads, places, dim = side.shape
    block, head = (stride // (places * dim) for stride in side.stride()[:2])
    lines = side.as_strided(
        ((count - 1) * block + (kv_heads - 1) * head + 1, places, dim), (places * dim, dim, 1)
    )
    found = lines.index_select(0, (blocks * block + torch.arange(kv_heads).unsqueeze(1) * head).view(-1))
    return found.view(kv_heads, -1, dim)


def _over(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Partial:
    """query [rows, heads, dim]; keys, values [kv_heads, span, dim]; mask [rows, span]."""
    keys, values = keys.to(wide(query.dtype)), values.to(wide(query.dtype))
    pieces = zip(torch.split(query.to(keys.dtype), ROWS), torch.split(mask, ROWS), strict=True)
    parts = [_attend(rows, keys, values, seen) for rows, seen in pieces]
    return Partial(torch.cat([part.out for part in parts]), torch.cat([part.lse for part in parts]))


def _attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Partial:
    """query [rows, heads, dim]; keys, values [kv_heads, span, dim]; mask [rows, span]."""
    count, heads, dim = query.shape
    group = heads // len(keys)
    bias = tiled(torch.zeros(mask.shape, dtype=query.dtype).masked_fill_(~mask, -math.inf), group)
    tiles, _, height, _ = bias.shape
    tokens = tiles * (height // group)
    if tokens > count:
        query = torch.cat([query, query[-1:].expand(tokens - count, -1, -1)])
    lines = query.view(tiles, height // group, len(keys), group, dim).transpose(1, 2)
    out, lse = _FLASH(
        lines.reshape(tiles, len(keys), height, dim),
        keys.expand(tiles, -1, -1, -1),
        values.expand(tiles, -1, -1, -1),
        attn_mask=bias,
    )
    out, lse = (
        side.reshape(tiles, len(keys), height // group, group, -1).transpose(1, 2).reshape(tokens, heads, -1)
        for side in (out, lse.unsqueeze(-1))
    )
    return Partial(out[:count], lse[:count, :, 0].masked_fill(~mask.any(1, keepdim=True), -math.inf))


def _padded(side: Tensor, spare: int) -> Tensor:
    return torch.nn.functional.pad(side, (0, 0, 0, 0, 0, spare)) if spare else side
