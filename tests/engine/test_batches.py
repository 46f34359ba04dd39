"""A token's outcome is a function of the text before it: not of chunks, drafts, trees or company.

Exact in every dtype (docs/decisions/0001).
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.actors.engine.engine import Engine, Outcome, Work
from ringroad.actors.messages import Sampling
from tests import reference
from tests.engine.tiny import KINDS, SHAPE, Kind, bits, prompt, same_after_a_tree, tiny

WARM = Sampling(seed=2**64 - 3, temperature=1.0, top_p=0.95)


def opened(kind: Kind, *sessions: str, sampling: Sampling = WARM) -> Engine:
    engine = Engine(tiny(kind))
    for session in sessions:
        engine.open(session, sampling)
    return engine


def one_by_one(kind: Kind, text: list[int], sampling: Sampling = WARM) -> list[int]:
    engine = opened(kind, "s", sampling=sampling)
    return [engine.step([Work("s", [token])])[0].tokens[0] for token in text]


def kept_bits(engine: Engine, session: str) -> torch.Tensor:
    return bits(engine._sessions[session].cache)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampling", [Sampling(), WARM, Sampling(7, 1.2, top_k=8)])
def test_one_token_at_a_time_equals_all_at_once(kind: Kind, sampling: Sampling) -> None:
    text = prompt(70, 4)
    engine = opened(kind, "s", sampling=sampling)
    assert engine.step([Work("s", text, answers=70)])[0].tokens == one_by_one(kind, text, sampling)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk", [1, 16, 100, 256, 511, 513])
def test_chunked_prefill_leaves_the_same_bits(kind: Kind, chunk: int) -> None:
    """Over the border of attention's blocks at 512."""
    text = prompt(540 if chunk > 1 else 30)
    engine = opened(kind, "whole", "chunks")
    whole = engine.step([Work("whole", text)])[0]
    for at in range(0, len(text), chunk):
        last = engine.step([Work("chunks", text[at : at + chunk])])[0]
    assert last == whole
    assert torch.equal(kept_bits(engine, "chunks"), kept_bits(engine, "whole"))


@pytest.mark.parametrize("kind", KINDS)
def test_each_of_a_mixed_batch_as_if_alone(kind: Kind) -> None:
    """Prefill, single tokens, chains and trees of different samplings, some across a border of blocks."""
    samplings = [Sampling(), WARM, Sampling(5, 0.7, top_k=20), Sampling(6, 1.5, min_p=0.05)]
    held = [prompt(n, n) for n in (3, 508, 40, 1)]
    works = [
        Work("0", prompt(33, 5), answers=1, features=True),
        Work("1", prompt(9, 6), answers=9),
        Work("2", prompt(5, 7), parents=[-1, 0, 0, 2, -1], answers=5, features=True),
        Work("3", prompt(1, 8), answers=0),
    ]

    def run(batches: list[list[Work]]) -> tuple[dict[str, Outcome], list[torch.Tensor]]:
        engine = Engine(tiny(kind))
        for i, (sampling, text) in enumerate(zip(samplings, held, strict=True)):
            engine.open(str(i), sampling)
            engine.step([Work(str(i), text)])
        found = {w.session: o for batch in batches for w, o in zip(batch, engine.step(batch), strict=True)}
        return found, [kept_bits(engine, str(i)) for i in range(4)]

    together, together_bits = run([works])
    for order in ([[w] for w in works], [works[::-1]], [works[1:3], [works[3], works[0]]]):
        apart, apart_bits = run(order)
        assert apart == together
        assert all(torch.equal(a, b) for a, b in zip(apart_bits, together_bits, strict=True))
    assert [len(together[str(i)].tokens) for i in range(4)] == [1, 9, 5, 0]
    assert together["1"].features is None
    assert together["2"].features is not None
    assert len(together["2"].features.margin) == len(together["2"].features.entropy) == 5


trees = st.integers(1, 12).flatmap(lambda n: st.tuples(*(st.integers(-1, i - 1) for i in range(n)))).map(list)


@pytest.mark.parametrize("kind", KINDS)
@given(parents=trees, length=st.sampled_from([1, 20, 506, 512]), seed=st.integers(0, 1000))
@settings(max_examples=25)
def test_every_path_of_a_tree_as_if_a_chain(kind: Kind, parents: list[int], length: int, seed: int) -> None:
    """The outcomes, what is kept of the path afterwards, and what follows."""
    length = min(length, 60) if kind == "paged" else length  # the twins go row by row
    text, nodes = prompt(length, seed), prompt(len(parents), seed + 1)
    engine = opened(kind, "tree")
    engine.step([Work("tree", text)])
    outcome = engine.step([Work("tree", nodes, parents, answers=len(nodes))])[0]
    for node in range(len(nodes)):
        path = reference.ancestors(parents, node)
        engine.open("chain", WARM)
        engine.step([Work("chain", text)])
        chain = [nodes[n] for n in path]
        expected = engine.step([Work("chain", chain, answers=len(chain))])[0].tokens
        assert [outcome.tokens[n] for n in path] == expected
    engine.keep("tree", path)
    assert same_after_a_tree(kind, kept_bits(engine, "tree"), kept_bits(engine, "chain"))
    assert engine.step([Work("tree", [7])]) == engine.step([Work("chain", [7])])


@pytest.mark.parametrize("kind", KINDS)
def test_the_outcome_is_plain_decoding(kind: Kind) -> None:
    text = prompt(9, 2)
    engine = opened(kind, "s")
    new, found = text, []
    for _ in range(20):
        new = engine.step([Work("s", new)])[0].tokens
        found += new
    assert found == reference.plain_text(tiny(kind), text, WARM, 20)


def test_the_place_in_the_text_is_the_place_in_the_noise() -> None:
    """The outcome after n tokens is drawn with position n, in a chain, a chunk and a tree alike."""
    model = tiny("fp32")
    text = prompt(6, 9)
    engine = opened("fp32", "s")
    drawn = engine.step([Work("s", text, answers=6)])[0].tokens
    other = Engine(model)
    other.open("s", WARM)
    seen: list[int] = []
    original = model.head

    def head(hidden: torch.Tensor) -> torch.Tensor:
        logits = original(hidden)
        seen.extend(reference.draw(row.tolist(), WARM, len(seen) + 1) for row in logits)
        return logits

    model.head = head
    try:
        other.step([Work("s", text, answers=6)])
    finally:
        model.head = original
    assert drawn == seen


def test_features_are_of_the_raw_softmax() -> None:
    """A router's thresholds do not move with a client's temperature."""
    text = prompt(12)
    answers = []
    for sampling in (Sampling(), WARM, Sampling(1, 2.0, top_k=2)):
        engine = opened("fp32", "s", sampling=sampling)
        answers.append(engine.step([Work("s", text, answers=12, features=True)])[0].features)
    of_the_model = [(seen.margin, seen.entropy, seen.top) for seen in answers if seen is not None]
    assert len(of_the_model) == 3
    assert of_the_model[0] == of_the_model[1] == of_the_model[2]


def test_a_step_without_answers_still_keeps_its_tokens() -> None:
    engine = opened("fp32", "s")
    assert engine.step([Work("s", prompt(5), answers=0)]) == [Outcome([])]
    assert engine.length("s") == engine.cached_tokens == 5


def test_positions_reach_the_end_of_the_context() -> None:
    engine = opened("fp32", "s")
    engine.step([Work("s", prompt(SHAPE.context - 1))])
    assert len(engine.step([Work("s", [1])])[0].tokens) == 1
