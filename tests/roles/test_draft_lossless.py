"""One seed, one text: with any strategy, any tree and any of them together, in fp32."""

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.actors.colocated import Colocated
from ringroad.actors.drafter import shapes, strategies
from ringroad.actors.drafter.free import FreeDrafter
from ringroad.actors.drafter.strategy import Strategy
from ringroad.actors.drafter.tree import Growing, Tree
from ringroad.actors.engine.engine import Engine
from ringroad.actors.messages import Chunk, Counts, Mode, Policy, Sampling, Submit
from ringroad.actors.role import Role
from ringroad.actors.router.config import RouterConfig
from ringroad.actors.verifier.verifier import Verifier
from tests import reference
from tests.engine.tiny import SHAPE, prompt, tiny
from tests.roles.drafting import planned

LARGE, SMALL = tiny(), tiny(shaken=0.02)
SAMPLINGS = [Sampling(seed, heat) for heat in (0.0, 0.7, 1.2) for seed in (3, 4)]
CUT = Sampling(9, 0.9, top_k=20, top_p=0.9, min_p=0.02)
TOKENS = 16


@cache
def said(model_seed: float, text: tuple[int, ...], sampling: Sampling, count: int = TOKENS) -> list[int]:
    return reference.plain_text(tiny(shaken=model_seed), text, sampling, count)


def quoting(sampling: Sampling) -> list[int]:
    """A prompt that holds most of its answer already, so that texts are worth looking up in."""
    start = prompt(10, sampling.seed)
    answer = said(0.0, tuple(start), sampling)
    return [*start, *answer, *start, *answer[:3]]


def request(sampling: Sampling, budget: int, mode: Mode = Mode.SPECULATIVE, name: str = "s") -> Submit:
    return Submit(name, quoting(sampling), TOKENS, mode, sampling, draft_tokens=budget)


def run(drafter: Role, *submits: Submit, until: bool = True) -> dict[str, list[Chunk]]:
    config = RouterConfig() if until else RouterConfig(until=None)
    return Colocated(config, Verifier(Engine(LARGE), "large"), drafter).generate(*submits)


def assert_plain(drafter: Role, *submits: Submit, until: bool = True) -> Counts:
    """Every text is the large model's alone. The counts of the last."""
    chunks: list[Chunk] = []
    for submit in submits:
        chunks = run(drafter, submit, until=until)[submit.session]
        text = [token for chunk in chunks for token in chunk.tokens]
        assert text == said(0.0, tuple(submit.prompt), submit.sampling)
    counts = chunks[-1].counts
    assert counts is not None
    assert drafter.hello().sessions == 0
    return counts


# --- random trees ---------------------------------------------------------------------------------


class Guesser(Strategy):
    """Random trees, in which what the large model will say is found now and then."""

    def __init__(self, seed: int, answer: list[int], length: int) -> None:
        self._random = torch.Generator().manual_seed(seed)
        self._answer, self._length = answer, length

    def _upto(self, limit: int) -> int:
        return int(torch.randint(0, limit, (1,), generator=self._random))

    def propose(self, session: str, text: object, budget: int) -> Tree:
        grown, depths = Growing(), {-1: 0}
        at = len(text) - self._length  # type: ignore[arg-type]
        for _ in range(self._upto(budget + 1)):
            parent = self._upto(len(grown) + 1) - 1
            right = self._answer[at + depths[parent] :][:1]
            token = right[0] if right and self._upto(3) else self._upto(SHAPE.vocabulary)
            node = grown.add(token, parent, 0.5 ** (depths[parent] + 1))
            depths[node] = depths[parent] + 1
        return grown.tree


@pytest.mark.parametrize("sampling", [*SAMPLINGS, CUT], ids=str)
def test_with_random_trees(sampling: Sampling) -> None:
    """75 seeds and budgets for each of seven samplings: 525 combinations."""
    submits = [request(sampling, 1 + seed % 16) for seed in range(75)]
    answer, length = said(0.0, tuple(submits[0].prompt), sampling), len(submits[0].prompt)
    accepted = trees = 0
    for seed, submit in enumerate(submits):
        guesser = Guesser(seed, answer, length)
        counts = assert_plain(FreeDrafter([guesser]), submit)
        accepted += counts.accepted
        trees += counts.drafted > counts.accepted
    assert accepted > 75
    assert trees > 60


# --- strategies and shapes ------------------------------------------------------------------------


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("name", strategies.names())
def test_with_each_strategy_alone(name: str, sampling: Sampling) -> None:
    """Twice, so that the second request finds what was learnt of the first."""
    drafter = FreeDrafter([strategies.make(name)])
    for budget in (2, 8):
        counts = assert_plain(drafter, request(sampling, budget), request(sampling, budget))
        assert counts.drafted > 0
        # A tiny model seldom repeats what it quotes, but always what it said to the same request.
        assert name != "suffix" or counts.accepted > 0


@pytest.mark.parametrize("sampling", [*SAMPLINGS, CUT], ids=str)
@pytest.mark.parametrize("shape", shapes.names())
def test_with_each_shape(shape: str, sampling: Sampling) -> None:
    """Every tree of the small model also has the chain's first guess, and more."""
    for budget in (1, 3, 10):
        trees = assert_plain(planned(SMALL, tree=shape), request(sampling, budget))
        assert trees.drafted > 0
        assert trees.accepted > 0


@pytest.mark.parametrize("shape", ["", *shapes.names()])
@pytest.mark.parametrize(
    "names", [("lookup",), ("suffix",), ("recycling",), ("suffix", "recycling", "lookup")]
)
@pytest.mark.parametrize("enough", [2.0, float("inf")])
def test_with_all_together(shape: str, names: tuple[str, ...], enough: float) -> None:
    for sampling in SAMPLINGS[::2]:
        for two_levels in (False, True):
            drafter = planned(
                SMALL,
                *names,
                tree=shape,
                enough=enough,
                floor=0.05,
                two_levels=two_levels,
                second_choices=not two_levels,
            )
            counts = assert_plain(drafter, request(sampling, 8), request(sampling, 8))
            assert counts.accepted > 4


@given(
    seed=st.integers(0, 2**64 - 1),
    temperature=st.sampled_from([0.0, 0.7, 1.2]),
    names=st.sets(st.sampled_from(strategies.names())),
    shape=st.sampled_from(["", *shapes.names()]),
    budget=st.integers(0, 12),
    passes=st.integers(1, 5),
    enough=st.sampled_from([0.5, 2.0, 1e9]),
    two_levels=st.booleans(),
    second_choices=st.booleans(),
    model=st.booleans(),
    until=st.booleans(),
)
@settings(max_examples=60)
def test_any_plan(
    seed: int,
    temperature: float,
    names: set[str],
    shape: str,
    budget: int,
    passes: int,
    enough: float,
    two_levels: bool,
    second_choices: bool,
    model: bool,
    until: bool,
) -> None:
    sampling = Sampling(seed, temperature)
    drafter = planned(
        SMALL,
        *names,
        tree=shape,
        passes=passes,
        enough=enough,
        two_levels=two_levels,
        second_choices=second_choices,
        model=model,
    )
    submit = Submit("s", prompt(12, 3), TOKENS, Mode.SPECULATIVE, sampling, draft_tokens=budget)
    assert_plain(drafter, submit, until=until)


def test_in_company() -> None:
    """Sessions of all kinds in one batch share strategies, and each has its own text."""
    submits = [request(sampling, 3 + i, name=f"s{i}") for i, sampling in enumerate([*SAMPLINGS, CUT])]
    for shape in ("", "dyspec"):
        found = run(planned(SMALL, "suffix", "recycling", tree=shape), *submits)
        for submit in submits:
            text = [token for chunk in found[submit.session] for token in chunk.tokens]
            assert text == said(0.0, tuple(submit.prompt), submit.sampling)


@pytest.mark.parametrize("shape", ["", *shapes.names()])
def test_in_bf16_too(shape: str) -> None:
    """A row keeps its bits also on a side branch (decisions/0001)."""
    large, small = tiny("bf16"), tiny("bf16", shaken=0.02)
    for sampling in SAMPLINGS[::2]:
        submit = request(sampling, 9)
        drafter = planned(small, "suffix", "recycling", tree=shape, two_levels=True, second_choices=True)
        room = Colocated(RouterConfig(), Verifier(Engine(large), "large"), drafter)
        text = [token for chunk in room.generate(submit)["s"] for token in chunk.tokens]
        assert text == reference.plain_text(large, submit.prompt, sampling, TOKENS)


# --- where the small model speaks -----------------------------------------------------------------


@pytest.mark.parametrize("shape", ["", "branch"])
@pytest.mark.parametrize("two_levels", [False, True])
@pytest.mark.parametrize("sampling", SAMPLINGS[::2], ids=str)
def test_what_may_stay_unjudged_is_the_small_models_own(
    sampling: Sampling, two_levels: bool, shape: str
) -> None:
    """Strategies may save its passes, but never speak for it."""

    def drafter() -> Role:
        return planned(
            SMALL, "suffix", "lookup", tree=shape, two_levels=two_levels, enough=0.0, second_choices=True
        )

    for budget in (1, 6):
        chunks = run(drafter(), request(sampling, budget, Mode.SMALL))["s"]
        own = said(0.02, tuple(quoting(sampling)), sampling)
        assert [token for chunk in chunks for token in chunk.tokens] == own
    routed = Submit(
        "s", quoting(sampling), TOKENS, Mode.ROUTED, sampling, [], 5, policy=Policy("margin", 0.6)
    )
    assert run(drafter(), routed) == run(planned(SMALL), routed)
