"""Tree attention over a paged cache, and the merge of its parts."""

import math
from dataclasses import replace

import pytest
import torch

from ringroad.kernels.triton import twins
from ringroad.kernels.triton.attention import PART, attend
from ringroad.kernels.triton.batch import Step
from ringroad.kernels.triton.merge import PARTS, merge
from tests.kernels.triton_batches import Batch, Case, batch, chain, tree

MIXED = [Case(3, tree(9, 1)), Case(0, chain(1)), Case(PART - 4, tree(7, 2)), Case(70, chain(3))]
# bf16 is compiled only: the interpreter multiplies its bits as if they were integers.
LIMITS = {torch.float32: 2e-6, torch.float16: 1e-3}


def assert_like_the_twin(given: Batch, tile: int = 16) -> None:
    ours = attend(given.query, given.keys, given.values, given.step, tile)
    theirs = twins.attend(given.query, given.keys, given.values, given.step)
    limit = LIMITS[given.query.dtype]
    torch.testing.assert_close(ours[0], theirs[0], rtol=limit, atol=limit)
    torch.testing.assert_close(ours[1], theirs[1], rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize(("heads", "kv_heads", "dim"), [(4, 4, 16), (9, 3, 64), (12, 2, 128), (20, 1, 16)])
@pytest.mark.parametrize("dtype", LIMITS)
def test_heads(heads: int, kv_heads: int, dim: int, dtype: torch.dtype) -> None:
    assert_like_the_twin(batch(MIXED, heads, kv_heads, dim, block=64, dtype=dtype))


@pytest.mark.parametrize("block", [16, 64, 512])
@pytest.mark.parametrize("tile", [16, 64])
def test_blocks_and_tiles(block: int, tile: int) -> None:
    assert_like_the_twin(batch(MIXED, block=block, seed=block), tile)


@pytest.mark.parametrize("cached", [0, 1, 63, 64, PART - 1, PART, 2 * PART - 3])
def test_lengths(cached: int) -> None:
    assert_like_the_twin(batch([Case(cached, tree(6, cached))], block=64, seed=cached))


def test_more_new_tokens_than_a_word_has_bits() -> None:
    assert_like_the_twin(batch([Case(5, tree(130, 3)), Case(9, chain(70))], heads=2, kv_heads=2))


def test_a_part_of_which_a_branch_sees_nothing() -> None:
    # The first branch ends before the border of parts, the second stands behind it.
    parents = [*chain(8), -1, *range(8, 15)]
    assert_like_the_twin(batch([Case(PART - 8, parents)]))


RING = [  # at one rank of three: its rows of two sessions, another rank's of the others
    Case(40, chain(30), rows=range(10, 20), held=range(10, 20)),
    Case(PART - 2, tree(9, 4), rows=[2, 5, 8], held=[0, 1, 2, 6]),
    Case(0, chain(200), rows=[3, 70, 199], held=range(60, 190)),
    Case(7, chain(5), rows=range(5), held=[]),
    Case(0, chain(4), rows=[0, 1], held=[2, 3]),
    Case(0, chain(2), held=[]),
]


@pytest.mark.parametrize("tile", [16, 64])
@pytest.mark.parametrize("dtype", LIMITS)
def test_rows_over_the_keys_of_another_rank(dtype: torch.dtype, tile: int) -> None:
    given = batch(RING, dtype=dtype)
    assert_like_the_twin(given, tile)
    out, lse = attend(given.query, given.keys, given.values, grown(given.step), tile)
    unseeing = int(given.step.first[4])  # and one row of the third session
    assert lse[unseeing:].eq(-math.inf).all()
    assert out[unseeing:].eq(0).all()
    assert lse[:unseeing].isinf().all(1).sum() == 1


def grown(step: Step) -> Step:
    """The same under wider bounds and with a session of no rows, as a recorded step has them."""
    return replace(
        step,
        first=torch.cat([step.first, step.first[-1:]]),
        cached=torch.cat([step.cached, step.cached[:1]]),
        new=torch.cat([step.new, step.new[:1]]),
        table=torch.cat([step.table, step.table[:1]]),
        most_rows=3 * step.most_rows,
        most_places=step.most_places + 3 * PART,
    )


@pytest.mark.parametrize("dtype", LIMITS)
def test_rows_have_the_same_bits_alone_and_together(dtype: torch.dtype) -> None:
    given = batch(MIXED, dtype=dtype)
    together, lses = attend(given.query, given.keys, given.values, grown(given.step))
    for session, case in enumerate(MIXED):
        step = given.step
        start, stop = step.first[session : session + 2].tolist()
        alone = Step(
            first=torch.tensor([0, stop - start], dtype=torch.int32),
            cached=step.cached[session : session + 1],
            new=step.new[session : session + 1],
            table=step.table[session : session + 1],
            seen=step.seen[start:stop],
            most_rows=stop - start,
            most_places=case.cached + len(case.parents),
        )
        out, lse = attend(given.query[start:stop], given.keys, given.values, alone)
        assert torch.equal(out, together[start:stop])
        assert torch.equal(lse, lses[start:stop])


@pytest.mark.parametrize(("dim", "block"), [(8, 16), (24, 16), (16, 8), (16, 1024)])
def test_shapes_without_a_kernel_are_refused(dim: int, block: int) -> None:
    given = batch([Case(1, [-1])], dim=dim, block=block)
    with pytest.raises(ValueError, match=f"heads of {dim} numbers in blocks of {block} places"):
        attend(given.query, given.keys, given.values, given.step)


def test_keys_and_values_of_other_strides_are_refused() -> None:
    given = batch(MIXED)
    with pytest.raises(ValueError, match="strided"):
        attend(given.query, given.keys.contiguous(), given.values, given.step)


@pytest.mark.parametrize("parts", [1, 2, PARTS, 2 * PARTS + 1])
def test_merge(parts: int) -> None:
    generator = torch.Generator().manual_seed(parts)
    outs = torch.randn(parts, 5, 3, 16, generator=generator)
    lses = torch.randn(parts, 5, 3, generator=generator) * 20
    lses[torch.rand(lses.shape, generator=generator) < 0.3] = -math.inf
    lses[:, 2] = -math.inf
    outs[lses == -math.inf] = math.nan
    for ours, theirs in zip(merge(outs, lses), twins.merge(outs, lses), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_parts_of_no_keys_leave_no_trace() -> None:
    generator = torch.Generator().manual_seed(9)
    outs, lses = (
        torch.randn(2, 4, 2, 16, generator=generator),
        torch.randn(2, 4, 2, generator=generator),
    )
    none = torch.full((3 * PARTS, 4, 2), -math.inf)
    padded = merge(torch.cat([outs, none.unsqueeze(-1).expand(-1, -1, -1, 16)]), torch.cat([lses, none]))
    for ours, theirs in zip(padded, merge(outs, lses), strict=True):
        assert torch.equal(ours, theirs)
