"""The way of a GPU, here with the kernels' twins: what plain torch says, of all that an engine does."""

import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.actors.engine.cache import Cache, Span
from ringroad.actors.engine.engine import Engine, Outcome, Work
from ringroad.actors.engine.model import Model
from ringroad.actors.engine.paged import RECORDED, Paged, _inputs
from ringroad.actors.engine.pool import BLANK, BLOCK, Pool
from ringroad.actors.messages import Sampling
from ringroad.kernels.triton.graphs import Outputs, Replay
from ringroad.kernels.triton.select import TWINS
from tests import reference
from tests.engine.tiny import SHAPE, TinyWeights, bits, prompt, tiny

SAMPLINGS = [
    Sampling(),
    Sampling(1, 1.0),
    Sampling(2**64 - 1, 0.8, top_p=0.9),
    Sampling(3, 1.3, top_k=7),
    Sampling(4, 0.9, top_k=50, top_p=0.95, min_p=0.02),
    Sampling(5, 1.0, min_p=0.1),
]


class NormedHeads(TinyWeights):
    """As Qwen3: queries and keys are normed."""

    def __init__(self) -> None:
        super().__init__(replace(SHAPE, family="qwen3"))
        generator = torch.Generator().manual_seed(5)
        for layer in range(SHAPE.layers):
            for part in ("q_norm", "k_norm"):
                name = f"model.layers.{layer}.self_attn.{part}.weight"
                self._tensors[name] = 1 + 0.3 * torch.randn(SHAPE.head_dim, generator=generator)


@cache
def models(family: str) -> tuple[Model, Model]:
    """In plain torch, and by pages."""
    weights = NormedHeads() if family == "qwen3" else TinyWeights()
    return Model(weights, "fp32", threads=1), Model(weights, "fp32", threads=1, kernels=TWINS)


def assert_same(ours: Outcome, theirs: Outcome) -> None:
    assert ours.tokens == theirs.tokens
    assert ours.successors == theirs.successors
    assert (ours.features is None) == (theirs.features is None)
    if ours.features and theirs.features:
        assert ours.features.margin == pytest.approx(theirs.features.margin, abs=1e-4)
        assert ours.features.entropy == pytest.approx(theirs.features.entropy, abs=1e-4)
    assert len(ours.siblings) == len(theirs.siblings)
    for mine, other in zip(ours.siblings, theirs.siblings, strict=True):
        assert [token for token, _ in mine] == [token for token, _ in other]
        assert [chance for _, chance in mine] == pytest.approx([c for _, c in other], abs=1e-4)


def a_work(dice: random.Random, session: str) -> Work:
    count = dice.choice([1, 1, 1, 2, 5, 9])
    parents = [dice.randrange(-1, i) for i in range(count)] if dice.random() < 0.5 else None
    return Work(
        session,
        [dice.randrange(SHAPE.vocabulary) for _ in range(count)],
        parents,
        answers=dice.randrange(count + 1),
        features=dice.random() < 0.3,
        siblings=dice.choice([0, 0, 2, 4]),
        successors=dice.choice([0, 0, 3]),
    )


@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
@given(seed=st.integers(0, 10**6))
@settings(max_examples=12)
def test_every_step_as_in_plain_torch(family: str, seed: int) -> None:
    """Sessions of all samplings, one with a beginning of another's: chains, trees, kept paths, rollbacks."""
    dice = random.Random(seed)
    engines = [Engine(model) for model in models(family)]
    text = prompt(dice.choice([3, BLOCK - 2, BLOCK + 30]), seed)
    names = [str(i) for i in range(len(SAMPLINGS))]
    for engine in engines:
        for name, sampling in zip(names, SAMPLINGS, strict=True):
            engine.open(name, sampling)
            found = engine.adopt(name, text)
            engine.step([Work(name, text[found:], answers=0)])
    for _ in range(6):
        works = [a_work(dice, name) for name in dice.sample(names, dice.randint(1, len(names)))]
        for ours, theirs in zip(*(engine.step(works) for engine in engines), strict=True):
            assert_same(ours, theirs)
        for work in works:
            parents = work.parents or list(range(-1, len(work.tokens) - 1))
            path = reference.ancestors(parents, dice.randrange(-1, len(parents)))
            back = dice.choice([0, 0, 3])
            for engine in engines:
                engine.keep(work.session, path)
                engine.truncate(work.session, max(0, engine.length(work.session) - back))
    for name in names:
        kept, expected = (bits(engine._sessions[name].cache) for engine in engines)
        torch.testing.assert_close(kept, expected, rtol=1e-4, atol=1e-4)


def test_distributions_are_handed_out_beside_draws() -> None:
    sampling, both = Sampling(7, 1.1, top_k=20), []
    for model in models("qwen2"):
        engine = Engine(model)
        for name in "ab":
            engine.open(name, sampling)
        works = [Work("a", prompt(5), answers=2, distributions=True), Work("b", prompt(6), answers=2)]
        given, drawn = engine.step(works)
        assert given.distributions is not None
        both.append((given.distributions, drawn.tokens))
    torch.testing.assert_close(both[0][0], both[1][0])
    assert both[0][1] == both[1][1]


def test_fewer_layers_speak() -> None:
    said = []
    for model in models("qwen2"):
        cache = Cache(Pool(model.shape, model.dtype, model.device, max_bytes=10**6))
        cache.reserve(9)
        with torch.inference_mode():
            said.append(model.forward(torch.tensor(prompt(9)), torch.arange(9), [Span(cache, 0, 9)], depth=1))
    torch.testing.assert_close(said[0], said[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 5, RECORDED - 1, RECORDED, RECORDED + 1])
def test_padding_is_written_nowhere(rows: int) -> None:
    engine = Engine(tiny("paged"), cache_bytes=10**6)
    engine.open("s", Sampling())
    engine.step([Work("s", prompt(rows))])
    written = engine._pool.data.ne(0).any(-1).any(3).any(1).any(1)  # [blocks, places]
    assert written.sum() == rows
    assert not written[BLANK].any()


@given(st.lists(st.integers(1, 20), min_size=1, max_size=5), st.integers(0, 400))
@settings(max_examples=30)
def test_steps_of_few_rows_have_few_shapes(counts: list[int], length: int) -> None:
    """And every row is some session's, lest attention leave it what memory held."""
    pool, spans, at = Pool(SHAPE, torch.float32, torch.device("cpu"), max_bytes=10**7), [], 0
    for count in counts:
        cache = Cache(pool)
        cache.reserve(length + count)
        cache.keep(0, range(length))
        spans.append(Span(cache, at, at + count))
        at += count
    numbers = torch.arange(at)
    found = _inputs(numbers, numbers, spans, max(counts))
    assert found.first.diff().sum() == len(found.tokens) == len(found.slots) == len(found.seen)
    assert found.first[: len(counts) + 1].tolist() == [0, *torch.tensor(counts).cumsum(0).tolist()]
    if at <= RECORDED:
        assert len(found.tokens) in (1, 2, 4, 8, 16, 32, 64)
        assert len(found.cached) in (1, 2, 4, 8)
        assert found.table.shape[1] in (1, 4, 16)
        assert len(found.seen[0]) == 1
    else:
        assert (len(found.tokens), len(found.cached)) == (at, len(counts))


# --- recordings -----------------------------------------------------------------------------------


class Recorder:
    """Stands for CUDA graphs: the same memory in and out, and a count of what was recorded."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(self, run: Callable[[], Outputs]) -> tuple[Outputs, Replay]:
        self.recorded += 1
        outputs = run()

        def replay() -> None:
            self.replayed += 1
            for place, fresh in zip(outputs, run(), strict=True):
                place.copy_(fresh)

        return outputs, replay


@pytest.fixture
def recorded() -> tuple[Model, Recorder]:
    model, recorder = Model(TinyWeights(), "fp32", threads=1, kernels=TWINS), Recorder()
    assert model._paged is not None
    model._paged = Paged(model._paged._decoder, recorder)
    return model, recorder


def decoded(model: Model, prompts: list[list[int]], steps: int) -> list[list[int]]:
    engine = Engine(model)
    texts = [list(text) for text in prompts]
    for i in range(len(texts)):
        engine.open(str(i), SAMPLINGS[i])
    for _ in range(steps):
        works = [Work(str(i), text[engine.length(str(i)) :]) for i, text in enumerate(texts)]
        for text, outcome in zip(texts, engine.step(works), strict=True):
            text += outcome.tokens
    return texts


def test_a_decode_step_is_recorded_once_for_a_shape(recorded: tuple[Model, Recorder]) -> None:
    model, recorder = recorded
    prompts = [prompt(70, 1), prompt(2, 2), prompt(30, 3)]
    assert decoded(model, prompts, 12) == decoded(tiny("fp32"), prompts, 12)
    # The prompts are too many rows. Then three rows of three sessions in four, over up to four blocks.
    assert (recorder.recorded, recorder.replayed) == (1, 11)
    decoded(model, prompts, 3)  # another pool
    assert recorder.recorded == 2


def test_a_longer_text_and_a_larger_batch_are_other_shapes(recorded: tuple[Model, Recorder]) -> None:
    model, recorder = recorded
    engine = Engine(model)
    engine.open("a", Sampling())
    engine.open("b", Sampling())
    sizes = []
    for works in (
        [Work("a", prompt(3))],
        [Work("a", prompt(4))],
        [Work("a", prompt(60))],  # its second block
        [Work("a", prompt(2))],
        [Work("a", prompt(1)), Work("b", prompt(1))],
        [Work("b", prompt(2))],
    ):
        engine.step(works)
        sizes.append(recorder.recorded)
    assert sizes == [1, 2, 3, 4, 5, 6]
    engine.step([Work("a", [1]), Work("b", [2])])
    assert recorder.recorded == 6


def test_a_pool_that_is_gone_leaves_no_recording(recorded: tuple[Model, Recorder]) -> None:
    model, _ = recorded
    decoded(model, [prompt(3)], 2)
    assert model._paged is not None
    assert len(model._paged._steps) == 0
