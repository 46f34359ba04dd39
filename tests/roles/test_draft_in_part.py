"""Drafts that see a part of a long text: the same texts, in every mode."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.actors.colocated import Colocated
from ringroad.actors.drafter import shapes, strategies
from ringroad.actors.drafter.config import DrafterConfig
from ringroad.actors.drafter.model import ModelDrafter
from ringroad.actors.drafter.plan import Plan
from ringroad.actors.engine import views
from ringroad.actors.engine.engine import Engine, Outcome, Work
from ringroad.actors.engine.model import Model
from ringroad.actors.engine.views import make
from ringroad.actors.messages import Counts, Draft, Mode, Policy, Sampling, Submit
from ringroad.actors.router.config import RouterConfig
from ringroad.actors.verifier.verifier import Verifier
from ringroad.cluster.roles import build_drafter
from tests import reference
from tests.engine.test_weights import write_gguf
from tests.engine.tiny import prompt, tiny
from tests.roles.drafting import ensemble
from tests.roles.one_draft import proposal

LARGE, SMALL = tiny(), tiny(shaken=0.02)
ROOM, TOKENS = 4, 20
TEXT = prompt(500, 8)
SAMPLINGS = [Sampling(1), Sampling(2, 0.8), Sampling(3, 1.2, top_k=30, top_p=0.95)]
NAMES = ("speculative", "small", "routed", "stepwise")
STEPWISE = Policy("step", 0.4)
BREAKS = list(range(0, 320, 3))


class Watched(Engine):
    """Keeps what was asked of it."""

    def __init__(self, model: Model, view: str = views.ALL) -> None:
        super().__init__(model, view=make(view, ROOM))
        self.works: list[Work] = []
        self.steps = 0

    def step(self, batch: Sequence[Work]) -> list[Outcome]:
        self.works += batch
        self.steps += 1
        return super().step(batch)


def drafter(engine: Engine, *names: str, tree: str = "", **options: bool) -> ModelDrafter:
    shape = shapes.make(tree) if tree else None
    return ModelDrafter(engine, "small", plan=Plan(ensemble(*names), shape=shape, **options))


def submit(sampling: Sampling, mode: Mode, name: str = "s", policy: Policy | None = None) -> Submit:
    breaks = BREAKS if policy == STEPWISE else []
    return Submit(name, TEXT, TOKENS, mode, sampling, draft_tokens=5, policy=policy, breaks=breaks)


def run(role: ModelDrafter, *submits: Submit, ahead: str = "auto") -> tuple[list[list[int]], Counts]:
    """The texts, and the counts of the last."""
    config = RouterConfig.model_validate({"adapt": False, "ahead": ahead})
    chunks = Colocated(config, Verifier(Engine(LARGE), "large"), role).generate(*submits)
    counts = chunks[submits[-1].session][-1].counts
    assert counts is not None
    return [[token for chunk in chunks[each.session] for token in chunk.tokens] for each in submits], counts


@cache
def plain(sampling: Sampling) -> list[int]:
    return reference.plain_text(LARGE, TEXT, sampling, TOKENS)


@pytest.mark.parametrize("view", [views.ALL, *views.names()])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_the_large_model_drafts_for_itself(view: str, sampling: Sampling) -> None:
    """With all of the text every guess is right; with a part many are, and the text is the same."""
    engine = Watched(LARGE, view)
    (text,), counts = run(drafter(engine), submit(sampling, Mode.SPECULATIVE))
    assert text == plain(sampling)
    assert any(work.partial for work in engine.works)
    assert 0 < counts.accepted <= counts.drafted
    assert view != views.ALL or counts.accepted == counts.drafted


@given(
    seed=st.sampled_from([1, 2, 3]),
    temperature=st.sampled_from([0.0, 0.8]),
    view=st.sampled_from(views.names()),
    names=st.sets(st.sampled_from(strategies.names())),
    shape=st.sampled_from(["", *shapes.names()]),
    two_levels=st.booleans(),
    second_choices=st.booleans(),
    prompt_in_part=st.booleans(),
    ahead=st.sampled_from(["auto", "ahead", "enumerate"]),
)
@settings(max_examples=25, deadline=None)
def test_any_view_leaves_the_text(
    seed: int,
    temperature: float,
    view: str,
    names: set[str],
    shape: str,
    two_levels: bool,
    second_choices: bool,
    prompt_in_part: bool,
    ahead: str,
) -> None:
    engine = Watched(SMALL, view)
    role = drafter(
        engine,
        *names,
        tree=shape,
        two_levels=two_levels,
        second_choices=second_choices,
        prompt_in_part=prompt_in_part,
    )
    sampling = Sampling(seed, temperature)
    (text,), _ = run(role, submit(sampling, Mode.SPECULATIVE), ahead=ahead)
    assert text == plain(sampling)
    assert any(work.partial for work in engine.works)


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("view", views.names())
def test_what_nobody_judges_is_of_the_whole_text(view: str, sampling: Sampling) -> None:
    """Alone, and in the same steps as a session whose guesses are judged, on the same prompt."""
    mine = [
        submit(sampling, Mode.SMALL, "small"),
        submit(sampling, Mode.ROUTED, "routed", Policy("margin", 0.6)),
        submit(sampling, Mode.ROUTED, "stepwise", STEPWISE),
    ]
    expected, _ = run(drafter(Engine(SMALL)), *mine)
    assert expected[0] == reference.plain_text(SMALL, TEXT, sampling, TOKENS)
    for prompt_in_part in (False, True):
        role = drafter(Watched(SMALL, view), prompt_in_part=prompt_in_part)
        assert run(role, *mine)[0] == expected
        engine = Watched(SMALL, view)
        role = drafter(engine, prompt_in_part=prompt_in_part)
        texts, _ = run(role, submit(sampling, Mode.SPECULATIVE, "speculative"), *mine)
        assert texts == [plain(sampling), *expected]
        partial = {
            name: {w.partial for w in engine.works if w.session == name and w.answers} for name in NAMES
        }
        assert partial["small"] == partial["routed"] == {False}
        assert True in partial["speculative"]


def test_a_text_that_is_judged_in_between_goes_on_from_the_whole() -> None:
    """A step that the large model writes anew is drafted for from a part; the next of the small model's own
    follows from all."""
    engine = Watched(SMALL, "window")
    _, counts = run(drafter(engine), submit(SAMPLINGS[0], Mode.ROUTED, policy=STEPWISE))
    answered = [work.partial for work in engine.works if work.answers]
    assert counts.kept
    assert counts.consults
    first = answered.index(True)
    assert False in answered[:first]
    assert False in answered[first:]


@pytest.mark.parametrize("outcomes", [0, 4])
def test_what_guesses_left_in_the_cache_is_computed_anew(outcomes: int) -> None:
    """To the last bit: what is seen of the small model's own words behind a verdict, also where the drafter
    has read ahead of it."""
    role, fresh = drafter(Engine(SMALL, view=make("window", ROOM))), drafter(Engine(SMALL))
    guesses = proposal(role, Draft("s", 0, 0, TEXT, 4, judged=True, outcomes=outcomes)).tokens
    said, until = [*guesses[:2], 7], Policy("margin", 2.0)
    found = proposal(role, Draft("s", 0, len(TEXT), said, 6, until), opened=True)
    expected = proposal(fresh, Draft("s", 0, 0, [*TEXT, *said], 6, until))
    assert len(found.tokens) == 6
    assert (found.tokens, found.features) == (expected.tokens, expected.features)


@pytest.mark.parametrize("in_part", [False, True])
def test_prompts_are_read_whole_unless_the_plan_says_otherwise(in_part: bool) -> None:
    """Of pieces of 256 tokens the first two see all there is, in any case."""
    engine, text = Watched(SMALL, "window"), prompt(800)
    asked = Submit("s", text, 8, Mode.SPECULATIVE, SAMPLINGS[0], draft_tokens=4)
    run(drafter(engine, prompt_in_part=in_part), asked)
    reading = [work.partial for work in engine.works if len(work.tokens) > 16]
    assert reading
    assert set(reading) == {in_part}
    engine.open("next", SAMPLINGS[0])
    assert engine.adopt("next", text) == (512 if in_part else 799)


@pytest.mark.parametrize("view", views.names())
def test_a_model_drafts_for_itself(view: str) -> None:
    """The large model's own guesses from a part of its text are judged by it with all of it."""
    for sampling in SAMPLINGS:
        (text,), counts = run(drafter(Watched(LARGE, view)), submit(sampling, Mode.SPECULATIVE))
        assert text == plain(sampling)
        assert 0 < counts.accepted <= counts.drafted
    (text,), counts = run(drafter(Watched(LARGE)), submit(SAMPLINGS[0], Mode.SPECULATIVE))
    assert counts.accepted == counts.drafted, "with all of it they are its words"


# --- what an operator chooses ---------------------------------------------------------------------


def test_the_configuration_reaches_the_drafter(tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    write_gguf(file)
    chosen = DrafterConfig(
        model=str(file), weights="fp32", sees="heavy", sees_tokens=700, prompt_in_part=True
    )
    with patch("torch.set_num_threads"):  # as the machine has cores; tests keep one
        role, whole = build_drafter(chosen), build_drafter(DrafterConfig(model=str(file), weights="fp32"))
    assert isinstance(role, ModelDrafter)
    assert isinstance(whole, ModelDrafter)
    assert role._engine.view == make("heavy", 10)
    assert role._ways.prompt_in_part
    assert whole._engine.view is None
    assert not whole._ways.prompt_in_part


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"model": "m", "sees": "nothing"}, "sees nothing: known are all, heavy, level, relevant, window"),
        ({"sees": "window"}, "sees: there is no model"),
        ({"model": "m", "sees": "window", "sees_tokens": 255}, "sees_tokens"),
        ({"model": "m", "sees_tokens": 1024}, "sees_tokens: sees is all"),
        ({"model": "m", "prompt_in_part": True}, "prompt_in_part: sees is all"),
    ],
)
def test_what_cannot_be_is_refused_by_name(values: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        DrafterConfig.model_validate(values)
