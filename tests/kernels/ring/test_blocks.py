"""Attention over one rank's keys, and the merge of several."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from ringroad.kernels.ring.blocks import attend, attend_paged
from ringroad.kernels.ring.merge import Partial, merge, silent, unpacked
from ringroad.kernels.triton import twins
from tests import reference
from tests.kernels.triton_batches import Case, batch, chain, tree


def block(rows: int, keys: int, heads: int = 6, kv_heads: int = 2, seed: int = 1) -> tuple[Tensor, ...]:
    """query, keys, values, and a mask in which row 0 sees nothing and the others something."""
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(rows, heads, 16, generator=generator, dtype=torch.float64)
    both = torch.randn(2, keys, kv_heads, 16, generator=generator, dtype=torch.float64)
    mask = torch.rand(rows, keys, generator=generator) < 0.5
    mask[:, 0], mask[0] = True, False
    return query, both[0], both[1], mask


@pytest.mark.parametrize("rows", [2, 7, 300])
@pytest.mark.parametrize("keys", [1, 511, 700])
def test_a_block_is_attention_over_what_rows_see(rows: int, keys: int) -> None:
    query, k, v, mask = block(rows, keys)
    part = attend(query, k, v, mask)
    seen = [row.nonzero().flatten().tolist() for row in mask[1:]]
    expected = reference.attention(query[1:], k.transpose(0, 1), v.transpose(0, 1), seen)
    assert (part.out[1:].flatten(1) - expected).abs().max() <= 1e-12
    scores = torch.einsum("rgsd,ngd->rgsn", query.view(rows, 2, 3, 16), k).flatten(1, 2) / 4
    lse = scores.masked_fill(~mask[:, None], -math.inf).logsumexp(-1)
    assert (part.lse[1:] - lse[1:]).abs().max() <= 1e-12
    assert (part.lse[0] == -math.inf).all()


@pytest.mark.parametrize("heads", [(4, 4), (6, 2)])
@pytest.mark.parametrize("places", [16, 64])
def test_keys_in_blocks_are_attended_to_as_the_kernels_do(heads: tuple[int, int], places: int) -> None:
    """Of texts of which another rank has some keys or none, and where a row sees nothing."""
    cases = [
        Case(40, chain(90), rows=range(10, 80), held=range(10, 20)),
        Case(510, tree(9, 4), rows=[2, 5, 8], held=[0, 1, 2, 6]),
        Case(7, chain(5), rows=range(5), held=[]),
        Case(0, chain(4), rows=[0, 1], held=[2, 3]),
        Case(0, chain(2), held=[]),
        Case(9, chain(3), rows=[], held=[0]),
    ]
    given = batch(cases, *heads, block=places)
    for side in (given.keys, given.values):
        side.nan_to_num_(7.0)  # a cache is finite wherever it is read
    out, lse = attend_paged(given.query, given.keys, given.values, given.step)
    expected, sums = twins.attend(given.query, given.keys, given.values, given.step)
    torch.testing.assert_close(out.masked_fill(lse.isinf().unsqueeze(-1), 0), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(lse, sums, rtol=1e-5, atol=1e-5)


def test_nothing_to_see_and_nobody_to_see_it() -> None:
    query, k, v, mask = block(3, 5)
    nothing = attend(query, k[:0], v[:0], mask[:, :0])
    assert (nothing.lse == -math.inf).all()
    assert nothing.out.shape == query.shape
    assert attend(query[:0], k, v, mask[:0]).out.shape == (0, 6, 16)
    everything = attend(query, k, v, None)
    assert torch.equal(everything.out, attend(query, k, v, torch.ones_like(mask)).out)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_rows_bits_are_its_own(dtype: torch.dtype) -> None:
    """Alone, behind other rows, and before keys that it does not see."""
    query, k, v, mask = (t if t.dtype == torch.bool else t.to(dtype) for t in block(40, 1100))
    mask[:, 600:] = False
    whole = attend(query, k, v, mask)
    for some in (slice(0, 1), slice(3, 9), slice(17, 40), slice(39, 40)):
        part = attend(query[some], k[:600], v[:600], mask[some, :600])
        assert torch.equal(part.out, whole.out[some])
        assert torch.equal(part.lse, whole.lse[some])


def test_merging_is_attention_over_all_the_keys() -> None:
    query, k, v, mask = block(9, 60)
    mask[0] = True
    ends = [0, 1, 1, 33, 60]
    parts = [attend(query, k[a:b], v[a:b], mask[:, a:b]) for a, b in pairwise(ends)]
    merged, whole = merge(parts), attend(query, k, v, mask)
    assert (merged.out - whole.out).abs().max() <= 1e-14
    assert (merged.lse - whole.lse).abs().max() <= 1e-14


def test_parts_that_saw_nothing_leave_no_bit() -> None:
    query, k, v, mask = block(9, 60)
    part = attend(query, k, v, mask)
    unread = Partial(torch.full_like(part.out, math.nan), torch.full_like(part.lse, -math.inf))
    for parts in ([part], [unread, part], [part, unread, silent(9, 6, 16, query)]):
        merged = merge(parts)
        assert torch.equal(merged.out, part.out)
        assert torch.equal(merged.lse, part.lse)


def test_a_rows_merge_is_its_own() -> None:
    parts = [attend(*block(33, 20, seed=seed)) for seed in range(5)]
    whole = merge(parts)
    for row in (0, 1, 32):
        alone = merge([Partial(p.out[row : row + 1], p.lse[row : row + 1]) for p in parts])
        assert torch.equal(alone.out, whole.out[row : row + 1])
        assert torch.equal(alone.lse, whole.lse[row : row + 1])


def test_a_message_holds_a_partial() -> None:
    part = attend(*block(4, 8))
    again = unpacked(part.packed())
    assert torch.equal(again.out, part.out)
    assert torch.equal(again.lse, part.lse)
    with pytest.raises(ValueError, match="nothing to merge"):
        merge([])
