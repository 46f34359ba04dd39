"""The torch twins of the Triton kernels, against the slow reference; no triton is needed here."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from ringroad.actors.messages import Sampling
from ringroad.kernels.triton import twins
from ringroad.kernels.triton.batch import ancestry, marked
from ringroad.kernels.triton.graphs import Outputs, Recorded, Replay
from ringroad.kernels.triton.select import TWINS, kernels_for
from tests import reference
from tests.kernels.triton_batches import Case, Row, batch, chain, draws, guesses, seen_places, tree

CASES = st.builds(
    lambda cached, count, seed: Case(cached, tree(count, seed)),
    st.sampled_from([0, 1, 15, 16, 17, 70]),
    st.integers(1, 9),
    st.integers(0, 99),
)


@given(st.lists(CASES, min_size=1, max_size=4), st.sampled_from([(4, 4), (4, 2), (6, 1)]), st.integers(0, 99))
def test_attention_is_the_references(cases: list[Case], heads: tuple[int, int], seed: int) -> None:
    given = batch(cases, *heads, seed=seed)
    out, lse = twins.attend(given.query, given.keys, given.values, given.step)
    torch.testing.assert_close(out.flatten(1).double(), given.expected(cases), rtol=1e-5, atol=1e-5)
    assert out.dtype == lse.dtype == torch.float32


@given(CASES, st.integers(1, 3), st.integers(0, 99))
def test_a_ranks_attention_is_the_references(case: Case, ranks: int, seed: int) -> None:
    """Rows of one rank over what another holds of their session."""
    rows, held = (range(seed // ranks**i % ranks, len(case.parents), ranks) for i in range(2))
    case = Case(case.cached + 1, case.parents, rows, held)
    given = batch([case, Case(2, [-1])], seed=seed)
    out, _ = twins.attend(given.query, given.keys, given.values, given.step)
    expected = given.expected([case, Case(2, [-1])])
    torch.testing.assert_close(out.flatten(1).double(), expected, rtol=1e-5, atol=1e-5)


def test_rows_that_see_nothing_say_so() -> None:
    given = batch([Case(0, chain(3), held=[1]), Case(0, chain(2), held=[])])
    out, lse = twins.attend(given.query, given.keys, given.values, given.step)
    assert lse.isinf().all(1).tolist() == [True, False, False, True, True]
    assert out[lse == -math.inf].eq(0).all()


def test_the_log_sum_exp_is_that_of_the_scaled_scores() -> None:
    case = Case(5, [-1, -1, 0])
    given = batch([case])
    _, lse = twins.attend(given.query, given.keys, given.values, given.step)
    keys = given.keys[int(given.step.table[0, 0])].double()
    for row, places in enumerate(seen_places(case)):
        for head in range(4):
            scores = keys[head // 2, places] @ given.query[row, head].double() / 4
            assert float(lse[row, head]) == pytest.approx(math.log(float(scores.exp().sum())), abs=1e-5)


@given(st.lists(st.integers(0, 7), min_size=1, max_size=6), st.integers(0, 999))
def test_parts_merge_into_the_whole(sizes: list[int], seed: int) -> None:
    """Attention over all keys, from attention over parts of them, some of none."""
    assume(sum(sizes) > 0)
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(sum(sizes), generator=generator, dtype=torch.float64) * 5
    values = torch.randn(sum(sizes), 3, generator=generator, dtype=torch.float64)
    outs, lses = [], []
    for score, value in zip(scores.split(sizes), values.split(sizes), strict=True):
        outs.append(score.softmax(0) @ value if len(score) else torch.full((3,), math.nan))
        lses.append(score.logsumexp(0) if len(score) else torch.tensor(-math.inf))
    parts = len(sizes)
    out, lse = twins.merge(
        torch.stack(outs).float().view(parts, 1, 1, 3), torch.stack(lses).float().view(parts, 1, 1)
    )
    torch.testing.assert_close(out.view(3).double(), scores.softmax(0) @ values, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(lse.view(()).double(), scores.logsumexp(0), rtol=1e-5, atol=1e-5)


def test_parts_of_no_keys_merge_into_one_of_no_keys() -> None:
    out, lse = twins.merge(torch.full((3, 1, 2, 4), math.nan), torch.full((3, 1, 2), -math.inf))
    assert out.eq(0).all()
    assert lse.eq(-math.inf).all()


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=3),
    st.sampled_from([0.0, 0.4, 1.0, 2.5]),
    st.sampled_from([0, 1, 4]),
    st.sampled_from([0.3, 0.9, 1.0]),
    st.sampled_from([0.0, 0.1]),
    st.integers(0, 2**64 - 1),
)
def test_verdicts_are_the_references(
    sizes: list[int], temperature: float, top_k: int, top_p: float, min_p: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed % 2**32)
    trees = [tree(size, seed % 2**32) for size in sizes]
    rows = sum(sizes) + len(sizes)
    logits = torch.randn(rows, 12, generator=generator) * 3
    asked = Sampling(seed, temperature, top_k, top_p, min_p)
    if temperature:
        for line in (logits / temperature).tolist():
            assume(reference.left_by(line, top_k, top_p, min_p)[1] > 1e-4)
    places = [
        Row(seed, 7 * i, temperature, floor_of(line, temperature, top_k, top_p, min_p))
        for i, line in enumerate(logits)
    ]
    # A third of the vocabulary: some guesses are right, and siblings may guess the same.
    tokens = torch.randint(0, 4, (rows,), generator=generator).tolist()
    outcomes = [reference.draw(line.tolist(), asked, 7 * i) for i, line in enumerate(logits)]
    for row in range(0, rows, 2):
        tokens[row] = outcomes[max(0, row - 1)]
    found = twins.verdicts(logits, draws(places), guesses(trees, tokens))
    assert found.drawn.tolist() == outcomes
    start = 0
    for session, parents in enumerate(trees):
        stop = start + 1 + len(parents)
        path, token = reference.longest_agreement(outcomes[start:stop], tokens[start + 1 : stop], parents)
        kept = int(found.kept[session])
        assert (found.paths[session, :kept].tolist(), int(found.tokens[session])) == (path, token)
        assert found.paths[session, kept:].eq(-1).all()
        start = stop


def floor_of(logits: torch.Tensor, temperature: float, top_k: int, top_p: float, min_p: float) -> float:
    return float(twins.floor(logits, temperature, top_k, top_p, min_p)) if temperature else -math.inf


@given(st.integers(1, 150), st.integers(0, 99))
def test_ancestry_has_a_bit_for_each_ancestor(count: int, seed: int) -> None:
    parents = tree(count, seed)
    bits = ancestry(parents, 3)
    assert bits.shape == (count, 3)
    for node in range(count):
        seen = [n for n in range(192) if int(bits[node, n // 64]) >> n % 64 & 1]
        assert seen == reference.ancestors(parents, node)


@given(st.integers(1, 150), st.integers(0, 99))
def test_what_is_seen_is_marked_as_ancestry_marks_it(count: int, seed: int) -> None:
    parents = tree(count, seed)
    seen = torch.tensor(Case(0, parents).seen())
    assert torch.equal(marked(seen), ancestry(parents, -(-count // 64)))


def test_ancestry_needs_words_enough() -> None:
    assert ancestry(chain(64), 1)[-1].tolist() == [-1]
    with pytest.raises(ValueError, match="65 new tokens"):
        ancestry(chain(65), 1)


def test_a_processor_takes_the_twins() -> None:
    assert kernels_for(torch.device("cpu")) is TWINS


def test_a_processors_step_is_not_recorded() -> None:
    calls: list[Outputs] = []

    def double(tensor: torch.Tensor) -> Outputs:
        calls.append((tensor,))
        return (tensor * 2,)

    step = Recorded(double)
    first, second = step(torch.ones(2)), step(torch.zeros(2))
    assert (first[0].tolist(), second[0].tolist(), len(calls)) == ([2, 2], [0, 0], 2)


def test_a_recording_is_made_once_a_shape_and_reads_what_is_new() -> None:
    shapes: list[torch.Size] = []

    def double(tensor: torch.Tensor) -> Outputs:
        return (tensor * 2,)

    def capture(run: Callable[[], Outputs]) -> tuple[Outputs, Replay]:
        """What a GPU does: the same memory in, the same memory out, the function not called again."""
        outputs = run()
        shapes.append(outputs[0].shape)

        def replay() -> None:
            for place, fresh in zip(outputs, run(), strict=True):
                place.copy_(fresh)

        return outputs, replay

    step = Recorded(double, capture)
    for numbers in ([1.0, 2.0], [3.0, 4.0], [5.0], [6.0, 7.0]):
        mine = torch.tensor(numbers)
        assert step(mine)[0].tolist() == [2 * n for n in numbers]
        assert mine.tolist() == numbers
    assert shapes == [(2,), (1,)]
