"""Drafts from fewer ids and from fewer layers: cheaper guesses, the same texts."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.actors.colocated import Colocated
from ringroad.actors.drafter import shapes, strategies
from ringroad.actors.drafter.config import DrafterConfig
from ringroad.actors.drafter.model import ModelDrafter
from ringroad.actors.drafter.vocabulary import MOST_RARE, RECENT, frequent
from ringroad.actors.engine.engine import Engine, Outcome, Work
from ringroad.actors.engine.model import Model
from ringroad.actors.engine.weights import FirstLayers
from ringroad.actors.errors import ModelError
from ringroad.actors.messages import Draft, Mode, Policy, Sampling, Submit
from ringroad.actors.role import Role
from ringroad.actors.router.config import RouterConfig
from ringroad.actors.verifier.verifier import Verifier
from ringroad.cluster.roles import build_drafter
from tests import reference
from tests.engine.test_weights import write_gguf
from tests.engine.tiny import SHAPE, TinyWeights, prompt, tiny
from tests.roles import draft_reference
from tests.roles.drafting import planned
from tests.roles.one_draft import judged, proposal, tree_of
from tests.roles.test_draft_lossless import LARGE, SMALL, TOKENS, assert_plain, said

SAMPLINGS = [Sampling(1), Sampling(2, 0.8), Sampling(3, 1.2, top_k=30, top_p=0.95)]
CUT = 200
SHALLOW = Model(FirstLayers(TinyWeights(), 1), "fp32", threads=1)  # of LARGE


class Watched(Engine):
    """Keeps what was asked of it."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.steps: list[list[Work]] = []

    def step(self, batch: Sequence[Work]) -> list[Outcome]:
        self.steps.append(list(batch))
        return super().step(batch)


@pytest.fixture
def always() -> Iterator[None]:
    """A cut also in texts like those of tiny models, which have no rare ids."""
    with patch("ringroad.actors.drafter.vocabulary.MOST_RARE", 1.0):
        yield


def request(sampling: Sampling, mode: Mode, name: str = "s", policy: Policy | None = None) -> Submit:
    return Submit(name, prompt(12, sampling.seed), TOKENS, mode, sampling, draft_tokens=4, policy=policy)


def texts(drafter: Role, *submits: Submit) -> list[list[int]]:
    chunks = Colocated(RouterConfig(), Verifier(Engine(LARGE), "large"), drafter).generate(*submits)
    return [[token for chunk in chunks[submit.session] for token in chunk.tokens] for submit in submits]


# --- the same texts -------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 2**64 - 1),
    temperature=st.sampled_from([0.0, 0.7, 1.2]),
    vocabulary=st.sampled_from([0, 2, 100, 200, 290, 319, 10**6]),
    early=st.booleans(),
    names=st.sets(st.sampled_from(strategies.names())),
    shape=st.sampled_from(["", *shapes.names()]),
    budget=st.integers(0, 12),
    two_levels=st.booleans(),
    second_choices=st.booleans(),
    until=st.booleans(),
    rare=st.sampled_from([MOST_RARE, 1.0]),
)
@settings(max_examples=100)
def test_any_way_to_draft_leaves_the_text(
    seed: int,
    temperature: float,
    vocabulary: int,
    early: bool,
    names: set[str],
    shape: str,
    budget: int,
    two_levels: bool,
    second_choices: bool,
    until: bool,
    rare: float,
) -> None:
    drafter = planned(
        SHALLOW if early else SMALL,
        *names,
        tree=shape,
        vocabulary=vocabulary,
        two_levels=two_levels,
        second_choices=second_choices,
    )
    sampling = Sampling(seed, temperature)
    submit = Submit("s", prompt(12, 3), TOKENS, Mode.SPECULATIVE, sampling, draft_tokens=budget)
    with patch("ringroad.actors.drafter.vocabulary.MOST_RARE", rare):
        assert_plain(drafter, submit, until=until)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_what_nobody_judges_comes_of_all_ids(sampling: Sampling) -> None:
    """Alone, and in the same steps as a session whose guesses are judged."""
    policy = Policy("margin", 0.6)
    small, routed = request(sampling, Mode.SMALL, "small"), request(sampling, Mode.ROUTED, "routed", policy)
    speculative = request(sampling, Mode.SPECULATIVE, "speculative")
    expected = texts(planned(SMALL), small, routed)
    assert expected[0] == said(0.02, tuple(small.prompt), sampling)
    assert max(expected[0]) >= CUT, "a cut would have been seen"
    assert texts(planned(SMALL, vocabulary=CUT), small, routed) == expected
    engine = Watched(SMALL)
    drafter = ModelDrafter(engine, "small", plan=planned(SMALL, vocabulary=CUT)._ways)
    assert texts(drafter, small, speculative, routed) == [
        expected[0],
        said(0.0, tuple(speculative.prompt), sampling),
        expected[1],
    ]
    cuts = {work.session: work.vocabulary for step in engine.steps for work in step if work.answers}
    assert cuts == {"small": None, "routed": None, "speculative": CUT}
    assert any(len({work.session for work in step}) == 3 for step in engine.steps)


# --- the guesses ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("second_choices", [False, True])
def test_a_chain_is_the_best_of_the_first_ids(sampling: Sampling, second_choices: bool) -> None:
    role = planned(SMALL, vocabulary=CUT, second_choices=second_choices)
    text, expected = list(judged(6).tokens), set()
    found = set(tree_of(proposal(role, judged(6), sampling)))
    for _ in range(6):
        row = draft_reference.logits(SMALL, text)[:CUT]
        stem = tuple(text[len(judged(6).tokens) :])
        best = draft_reference.siblings(row, sampling, len(text), 2 if second_choices else 1)
        expected |= {(*stem, token) for token, _ in best}
        text.append(reference.draw(row, sampling, len(text)))
    assert found == expected


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("shape", shapes.names())
def test_trees_too(shape: str) -> None:
    found = tree_of(proposal(planned(SMALL, tree=shape, vocabulary=CUT), judged(12), SAMPLINGS[1]))
    whole = tree_of(proposal(planned(SMALL, tree=shape), judged(12), SAMPLINGS[1]))
    assert max(token for path in found for token in path) < CUT
    assert max(token for path in whole for token in path) >= CUT


def test_the_first_layers_guess_what_they_say_alone() -> None:
    text = list(judged(5).tokens)
    for sampling in SAMPLINGS:
        own = reference.plain_text(tiny(layers=1), text, sampling, 5)
        assert proposal(planned(SHALLOW), judged(5), sampling).tokens == own


def test_a_cut_is_for_texts_of_frequent_tokens() -> None:
    """A text in another script has its tokens beyond, and is guessed from all."""
    common, rare = [CUT - 1] * RECENT, [CUT] * RECENT
    assert frequent(common, CUT) == CUT
    assert frequent(rare, CUT) is None
    assert frequent(rare + common, CUT) == CUT
    assert frequent(common + rare, CUT) is None
    few = round(RECENT * MOST_RARE)
    assert frequent(common + rare[:few], CUT) == CUT
    assert frequent(common + rare[: few + 1], CUT) is None
    assert frequent([CUT - 1, CUT], CUT) is None
    assert frequent([], CUT) == CUT
    assert frequent(common, 0) is None


def test_the_text_decides_anew_for_every_pass() -> None:
    engine = Watched(SMALL)
    drafter = ModelDrafter(engine, "small", plan=planned(SMALL, vocabulary=CUT)._ways)
    proposal(drafter, Draft("s", 0, 0, [1] * 80, 1, judged=True), SAMPLINGS[0])
    proposal(drafter, Draft("s", 0, 80, [SHAPE.vocabulary - 1] * 40, 1, judged=True), opened=True)
    assert [work.vocabulary for step in engine.steps for work in step if work.answers] == [CUT, None]


# --- what an operator chooses ---------------------------------------------------------------------


def test_the_configuration_reaches_the_drafter(tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    write_gguf(file)
    chosen = DrafterConfig(model=str(file), weights="fp32", layers=1, vocabulary=100)
    with patch("torch.set_num_threads"):  # as the machine has cores; tests keep one
        role, whole = build_drafter(chosen), build_drafter(DrafterConfig(model=str(file), weights="fp32"))
        with pytest.raises(ModelError, match="layers: the model has 2, not 3"):
            build_drafter(chosen.model_copy(update={"layers": 3}))
    assert isinstance(role, ModelDrafter)
    assert isinstance(whole, ModelDrafter)
    assert (role._engine.model.shape.layers, role._ways.vocabulary) == (1, 100)
    assert whole._engine.model.shape.layers == SHAPE.layers
    assert whole._ways.vocabulary == 0


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"layers": 4}, "layers: there is no model"),
        ({"model": "m", "layers": 0}, "layers"),
        ({"model": "m", "vocabulary": -1}, "vocabulary"),
        ({"model": "m", "vocabulary": 1}, "vocabulary 1"),
    ],
)
def test_what_cannot_be_is_refused_by_name(values: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        DrafterConfig.model_validate(values)
