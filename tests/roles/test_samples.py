"""Several samples of one prompt: each is the plain text of its own seed, and the prompt is read once."""

from collections.abc import Sequence

import pytest

from ringroad.actors.colocated import Colocated
from ringroad.actors.drafter import shapes, strategies
from ringroad.actors.drafter.model import ModelDrafter
from ringroad.actors.drafter.plan import Plan
from ringroad.actors.drafter.strategy import Ensemble
from ringroad.actors.engine.engine import Engine, Outcome, Work
from ringroad.actors.engine.model import Model
from ringroad.actors.engine.pool import BLOCK
from ringroad.actors.gateway.samples import submits_of
from ringroad.actors.messages import Mode, Sampling, Submit
from ringroad.actors.router.config import RouterConfig
from ringroad.actors.verifier.verifier import Verifier
from ringroad.kernels.linear import Weights
from tests.engine.tiny import prompt
from tests.roles.pair import (
    KINDS,
    SAMPLINGS,
    SOMETIMES,
    drafter,
    large,
    plain,
    plainly_routed,
    request,
    small,
    speakers_of,
    text_of,
    verifier,
)

COUNT = 4
MODES = [Mode.LARGE, Mode.SPECULATIVE, Mode.SMALL]


class Counting(Engine):
    """An engine that says how many tokens it has read of the first `prompt` of all texts."""

    def __init__(self, model: Model, prompt: int) -> None:
        super().__init__(model)
        self.prompt, self.read = prompt, 0

    def step(self, batch: Sequence[Work]) -> list[Outcome]:
        for work in batch:
            self.read += max(0, min(len(work.tokens), self.prompt - self.length(work.session)))
        return super().step(batch)


def samples(sampling: Sampling, mode: Mode, length: int = 10) -> list[Submit]:
    policy = SOMETIMES if mode is Mode.ROUTED else None
    asked = request(sampling, mode, text=prompt(length, 3), draft_tokens=5, policy=policy)
    return list(submits_of(asked, COUNT))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_each_is_plain_decoding(kind: Weights, sampling: Sampling, mode: Mode) -> None:
    submits = samples(sampling, mode)
    assert submits[0] == request(sampling, mode, text=submits[0].prompt, draft_tokens=5)
    said = Colocated(RouterConfig(), verifier(kind), drafter(kind)).generate(*submits)
    texts = [text_of(said[submit.session]) for submit in submits]
    shaken = 0.02 if mode is Mode.SMALL else 0.0
    assert texts == [plain(kind, submit, shaken=shaken) for submit in submits]
    assert len(set(map(tuple, texts))) == (COUNT if sampling.temperature else 1)


@pytest.mark.parametrize("sampling", SAMPLINGS[1:4], ids=str)
def test_each_is_plain_routing(sampling: Sampling) -> None:
    submits = samples(sampling, Mode.ROUTED)
    said = Colocated(RouterConfig(), verifier("fp32"), drafter("fp32")).generate(*submits)
    for submit in submits:
        chunks = said[submit.session]
        assert (text_of(chunks), speakers_of(chunks)) == plainly_routed("fp32", submit, SOMETIMES)


@pytest.mark.parametrize("tree", ["", *shapes.names()])
@pytest.mark.parametrize("mode", [*MODES, Mode.ROUTED])
def test_the_prompt_is_read_once(mode: Mode, tree: str) -> None:
    """By each model, up to its last full block; what follows is each one's own."""
    blocks = 3 * BLOCK
    engines = Counting(large("fp32"), blocks), Counting(small("fp32"), blocks)
    ways = Ensemble([strategies.make("suffix")], 0.0)
    plan = Plan(ways, shape=shapes.make(tree) if tree else None)
    roles = Verifier(engines[0], "large"), ModelDrafter(engines[1], "small", plan=plan)
    submits = samples(SAMPLINGS[1], mode, length=blocks + 8)
    said = Colocated(RouterConfig(), *roles).generate(*submits)
    if mode in MODES:
        shaken = 0.02 if mode is Mode.SMALL else 0.0
        assert [text_of(said[s.session]) for s in submits] == [
            plain("fp32", s, shaken=shaken) for s in submits
        ]
    wanted = {Mode.LARGE: (blocks, 0), Mode.SMALL: (0, blocks)}
    assert tuple(engine.read for engine in engines) == wanted.get(mode, (blocks, blocks))
