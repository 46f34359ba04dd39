"""Every schedule against the whole sequence's attention and against the others, and what each moves."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.kernels.ring import pass_kv, pass_q, token_ring
from ringroad.kernels.ring.layout import Layout, alone, dealt, needed, zigzag
from ringroad.kernels.ring.wire import Heads, Move, sent
from tests.kernels.ring.cases import DIM, WAYS, Case, Ran, ran, random_tree

RANKS = (1, 2, 3, 4, 8)
HEADS = ((1, 1), (2, 2), (4, 2), (3, 1))  # with heads of keys
EXACT = 1e-12


@st.composite
def layouts(draw: st.DrawFn, stop: int) -> Layout:
    ranks = draw(st.sampled_from(RANKS))
    ways = st.sampled_from(
        [zigzag(stop, ranks), dealt(ranks, draw(st.integers(1, 9))), alone(ranks - 1, ranks)]
    )
    return draw(ways)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    start, rows = draw(st.integers(0, 40)), draw(st.integers(1, 24))
    return Case(draw(layouts(start + rows)), start, start + rows, *draw(st.sampled_from(HEADS)))


def moves(case: Case, way: str) -> list[Move]:
    """What the formulas say of a case."""
    heads = Heads(case.heads, case.kv_heads, DIM, case.dtype)
    ranks = range(case.layout.ranks)
    if way == "pass_kv":
        return list(pass_kv.moves([len(case.keys(rank)) for rank in ranks], heads))
    if way == "pass_q":
        return list(pass_q.moves([len(case.rows(rank)) for rank in ranks], heads))
    return list(token_ring.moves(needed(case.layout, case.start, case.stop), heads))


def held(case: Case, way: str) -> Ran:
    """Runs a case: it is exact, and moves what the formulas say."""
    run = ran(case, WAYS[way])
    assert (run.out - case.expected()).abs().max() <= EXACT
    formula = moves(case, way)
    assert run.bytes == sent(formula, case.layout.ranks)
    assert run.messages == len(formula)
    return run


@settings(max_examples=60, deadline=None)
@given(cases())
def test_schedules_give_the_whole_sequences_attention(case: Case) -> None:
    for way in WAYS:
        held(case, way)


@settings(max_examples=60, deadline=None)
@given(cases(), st.sampled_from([torch.float32, torch.bfloat16]))
def test_schedules_give_the_same_bits(case: Case, dtype: torch.dtype) -> None:
    case = replace(case, dtype=dtype)
    runs = [ran(case, way) for way in WAYS.values()]
    assert (runs[0].out - case.expected()).abs().max() <= 2e-6
    for run, way in zip(runs, WAYS, strict=True):
        assert run.out.dtype == torch.float32
        assert torch.equal(run.out, runs[0].out)
        assert torch.equal(run.lse, runs[0].lse)
        assert run.bytes == sent(moves(case, way), case.layout.ranks)


@settings(max_examples=20, deadline=None)
@given(cases(), st.integers(0, 2**16))
def test_trees_among_new_rows(case: Case, seed: int) -> None:
    parents = random_tree(case.stop - case.start, seed)
    held(replace(case, parents=parents), "pass_q")


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("heads", [(4, 4), (6, 2)])
@pytest.mark.parametrize("rows", [1, 17, 43])
def test_every_number_of_ranks(ranks: int, heads: tuple[int, int], rows: int) -> None:
    for layout in (zigzag(40 + rows, ranks), dealt(ranks, 4)):
        for way in WAYS:
            held(Case(layout, 40, 40 + rows, *heads), way)


@pytest.mark.parametrize("ranks", [2, 3, 4, 8])
def test_a_whole_prefill_moves_what_the_papers_say(ranks: int) -> None:
    """Per T rows: TokenRing 0.75 (W - 1) of queries and of outputs, pass_kv W - 1 of keys and values."""
    rows, heads = 40 * ranks, Heads(4, 2, 16, torch.float32)
    layout = zigzag(rows, ranks)
    wanted = needed(layout, 0, rows)
    round_way = [move for move in token_ring.moves(wanted, heads) if move.bytes % heads.query_bytes == 0]
    every = sum(move.bytes for move in token_ring.moves(wanted, heads))
    queries = sum(move.bytes for move in round_way)
    assert queries == 0.75 * (ranks - 1) * rows * heads.query_bytes
    assert every - queries == 0.75 * (ranks - 1) * rows * heads.partial_bytes
    keys = sum(move.bytes for move in pass_kv.moves([rows // ranks] * ranks, heads))
    assert keys == (ranks - 1) * rows * heads.key_value_bytes


def test_a_rank_without_rows_and_keys_takes_part() -> None:
    case = Case(dealt(2, 4), 0, 4, 2, 1)  # all rows and keys are rank 0's
    run = ran(case, WAYS["pass_kv"])
    assert torch.isfinite(run.lse).all()
    assert run.bytes == [[0, math.prod((2, 4, 1, DIM, 8))], [0, 0]]
