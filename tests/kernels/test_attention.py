"""Attention: against the reference, and the same bits for a token in any company."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ringroad.kernels.attention import BLOCK, attend, span, tiled, visible
from tests import reference

HEADS = [(4, 4), (4, 2), (9, 3), (14, 2), (32, 1)]  # heads, kv_heads
CHAIN: list[int] | None = None


def cached(
    base: int, count: int, heads: int, kv_heads: int, dtype: torch.dtype = torch.float32, dim: int = 16
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries of `count` new tokens and the cache they look at, with rubbish behind its end."""
    generator = torch.Generator().manual_seed(base * 1000 + count)
    query = torch.randn(count, heads, dim, generator=generator).to(dtype)
    keys, values = torch.randn(2, kv_heads, span(base + count), dim, generator=generator).to(dtype)
    return query, keys, values


def attended(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    base: int,
    parents: list[int] | None,
    rows: slice = slice(None),
) -> Tensor:
    """What `attend` says of the tokens `rows`, which must be a chain's or all of them."""
    mine = query[rows]
    first = base + (rows.start or 0)
    reach = span(first + len(mine))
    mask = tiled(visible(first, parents, len(mine), query.dtype), query.shape[1] // len(keys))
    return attend(mine, keys[:, :reach], values[:, :reach], mask)


def seen_places(base: int, parents: Sequence[int], count: int) -> list[list[int]]:
    return [[*range(base), *(base + n for n in reference.ancestors(parents, i))] for i in range(count)]


@pytest.mark.parametrize(("heads", "kv_heads"), HEADS)
@pytest.mark.parametrize(("base", "count"), [(0, 1), (0, 5), (3, 1), (7, 20), (508, 9), (511, 1), (512, 3)])
def test_a_chain_against_the_reference(base: int, count: int, heads: int, kv_heads: int) -> None:
    query, keys, values = cached(base, count, heads, kv_heads)
    expected = reference.attention(query, keys, values, seen_places(base, range(-1, count - 1), count))
    found = attended(query, keys, values, base, CHAIN)
    assert found.shape == (count, heads * 16)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


trees = st.integers(1, 14).flatmap(lambda n: st.tuples(*(st.integers(-1, i - 1) for i in range(n)))).map(list)


@given(trees, st.sampled_from([0, 1, 6, 505, 512]), st.sampled_from(HEADS))
def test_a_tree_against_the_reference(parents: list[int], base: int, heads: tuple[int, int]) -> None:
    count = len(parents)
    query, keys, values = cached(base, count, *heads)
    expected = reference.attention(query, keys, values, seen_places(base, parents, count))
    torch.testing.assert_close(
        attended(query, keys, values, base, parents).double(), expected, rtol=1e-5, atol=1e-5
    )


@given(trees, st.integers(0, 1030))
def test_a_token_sees_the_text_its_ancestors_and_itself(parents: list[int], base: int) -> None:
    mask = visible(base, parents, len(parents), torch.float32)
    assert mask.shape == (len(parents), span(base + len(parents)))
    assert set(mask.unique().tolist()) <= {0.0, float("-inf")}
    for row, places in zip(mask, seen_places(base, parents, len(parents)), strict=True):
        assert (row == 0).nonzero().squeeze(1).tolist() == places


def test_a_chain_is_a_tree_of_one_branch() -> None:
    for base, count in [(0, 1), (5, 9), (510, 6)]:
        chain = visible(base, CHAIN, count, torch.bfloat16)
        assert torch.equal(chain, visible(base, list(range(-1, count - 1)), count, torch.bfloat16))


def test_spans_are_whole_blocks() -> None:
    assert [span(n) for n in (1, BLOCK, BLOCK + 1, 3 * BLOCK)] == [BLOCK, BLOCK, 2 * BLOCK, 3 * BLOCK]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("heads", "kv_heads"), HEADS)
@pytest.mark.parametrize("base", [0, 5, 500, 1020])
def test_rows_have_the_same_bits_alone_and_together(
    base: int, heads: int, kv_heads: int, dtype: torch.dtype
) -> None:
    count = 30  # from 500 and 1020 on, across a border of blocks
    query, keys, values = cached(base, count, heads, kv_heads, dtype)
    together = attended(query, keys, values, base, CHAIN)
    for cuts in (range(count + 1), (0, 7, 19, count), (0, 1, count)):
        parts = [attended(query, keys, values, base, CHAIN, slice(a, b)) for a, b in pairwise(cuts)]
        assert torch.equal(torch.cat(parts), together)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_masked_leaves_no_trace(dtype: torch.dtype) -> None:
    query, keys, values = cached(20, 3, 4, 2, dtype)
    clean = attended(query, keys, values, 20, CHAIN)
    keys[:, 23:], values[:, 23:] = 50.0, -70.0
    assert torch.equal(attended(query, keys, values, 20, CHAIN), clean)


def test_bf16_is_near_the_reference() -> None:
    query, keys, values = cached(40, 6, 4, 2, torch.bfloat16)
    expected = reference.attention(query, keys, values, seen_places(40, range(-1, 5), 6))
    torch.testing.assert_close(
        attended(query, keys, values, 40, CHAIN).double(), expected, rtol=0.02, atol=0.02
    )
