"""One seed, one text: with work ahead of verdicts too, whenever these come, in fp32."""

import random
from functools import cache

import pytest

from ringroad.actors.colocated import GATEWAY, Colocated
from ringroad.actors.drafter import shapes
from ringroad.actors.drafter.model import ModelDrafter
from ringroad.actors.engine.engine import Engine
from ringroad.actors.messages import Cancel, Chunk, Finish, Mode, Policy, Proposal, Sampling, Submit
from ringroad.actors.role import Role
from ringroad.actors.router.config import RouterConfig
from ringroad.actors.verifier.verifier import Verifier
from tests import reference
from tests.engine.tiny import prompt, tiny
from tests.roles.drafting import planned

LARGE, SMALL = tiny(), tiny(shaken=0.02)
SAMPLINGS = [Sampling(seed, heat) for heat in (0.0, 0.7, 1.2) for seed in (3, 4)]
TOKENS = 16
WAYS = ["serial", "ahead", "enumerate"]


class Uneven(Colocated):
    """Steps one busy role at a time, at random: the drafter prepares for as long as the verdict takes.

    Some sessions are cancelled on the way. Counts proposals, and those that took no pass.
    """

    def __init__(self, config: RouterConfig, seed: int, drafter: Role, *, cancels: tuple[str, ...] = ()):
        self.drafter, self.judge = drafter, Verifier(Engine(LARGE), "large")
        super().__init__(config, self.judge, drafter)
        self._chance = random.Random(seed)
        self._lazy = self._chance.choice([0.1, 0.5, 0.9])  # how often it is the drafter's turn
        self._cancels = list(cancels)
        self.proposals = self.prepared = 0

    def _step(self) -> bool:
        if self._cancels and self._chance.random() < 0.1:
            self._router.receive(GATEWAY, Cancel(self._cancels.pop()), now=0.0)
        busy = [(address, role) for address, role in self._roles.items() if role.busy]
        if not busy:
            return False
        first = self._chance.random() < self._lazy
        address, role = next((each for each in busy if (each[1] is self.drafter) == first), busy[0])
        for answer in role.step():
            if isinstance(answer, Proposal):
                self.proposals += 1
                self.prepared += answer.took is None
            self._router.receive(address, answer, now=0.0)
        return True


@cache
def said(text: tuple[int, ...], sampling: Sampling, count: int = TOKENS) -> list[int]:
    return reference.plain_text(LARGE, text, sampling, count)


def request(sampling: Sampling, budget: int | None, name: str = "s", length: int = 12) -> Submit:
    text = prompt(length, sampling.seed + length)
    return Submit(name, text, TOKENS, Mode.SPECULATIVE, sampling, draft_tokens=budget)


def text_of(chunks: list[Chunk]) -> list[int]:
    return [token for chunk in chunks for token in chunk.tokens]


def assert_clean(room: Uneven) -> None:
    for role in (room.drafter, room.judge):
        assert not role.busy
        assert role.hello().sessions == role.hello().cached_tokens == 0
    assert isinstance(room.drafter, ModelDrafter)
    assert len(room.drafter._idle) == 0


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("ahead", WAYS)
def test_the_text_is_the_large_models(ahead: str, sampling: Sampling) -> None:
    """Every plan of a drafter, at verdicts as late as chance will have them."""
    prepared = 0
    for seed in range(24):
        chance = random.Random(seed)
        until = chance.choice([None, RouterConfig().until])
        config = RouterConfig(
            ahead=ahead,  # type: ignore[arg-type]
            outcomes=chance.randint(2, 9),
            until=until,
        )
        enough = chance.choice([2.0, 1e9])
        drafter = planned(
            SMALL,
            *chance.choice([(), ("suffix",), ("suffix", "recycling")]),
            tree=chance.choice(["", "", "", *shapes.names()]),
            two_levels=chance.random() < 0.5,
            second_choices=chance.random() < 0.5,
            floor=chance.choice([0.0, 0.2]),
            enough=enough,
        )
        room = Uneven(config, seed, drafter)
        submit = request(sampling, chance.randint(1, 9))
        assert text_of(room.generate(submit)["s"]) == said(tuple(submit.prompt), sampling)
        assert_clean(room)
        prepared += room.prepared if enough > 2.0 else 0  # else some took no pass for another reason
    assert (prepared == 0) if ahead == "serial" else (prepared >= 2)


@pytest.mark.parametrize("blocks", [3, 200])
@pytest.mark.parametrize("ahead", ["ahead", "enumerate"])
def test_in_company_with_cancels_and_little_room(ahead: str, blocks: int) -> None:
    """Sessions that give way, end early, or are not judged, beside those that are prepared for."""
    block = 2 * 2 * 2 * 64 * 32 * 4
    for seed in range(6):
        submits = [
            request(sampling, 2 + i, name=f"s{i}", length=8 + 9 * i) for i, sampling in enumerate(SAMPLINGS)
        ]
        routed = Submit("r", prompt(9), TOKENS, Mode.ROUTED, SAMPLINGS[3], policy=Policy("margin", 0.7))
        drafter = ModelDrafter(Engine(SMALL, cache_bytes=blocks * block), "small")
        room = Uneven(RouterConfig(ahead=ahead), seed, drafter, cancels=("s0", "s3"))  # type: ignore[arg-type]
        found = room.generate(*submits, routed)
        for submit in submits:
            expected = said(tuple(submit.prompt), submit.sampling)
            chunks = found[submit.session]
            if chunks[-1].finish is Finish.CANCELLED:
                assert submit.session in ("s0", "s3")
                expected = expected[: len(text_of(chunks))]
            assert text_of(chunks) == expected
        alone = Colocated(RouterConfig(), Verifier(Engine(LARGE), "large"), planned(SMALL))
        assert text_of(found["r"]) == text_of(alone.generate(routed)["r"])
        assert_clean(room)


@pytest.mark.parametrize("second_choices", [False, True])
@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_where_both_models_are_one_every_next_proposal_is_prepared(
    sampling: Sampling, second_choices: bool
) -> None:
    """Given the time: PEARL never misses then."""
    drafter = planned(LARGE, second_choices=second_choices)
    room = Uneven(RouterConfig(ahead="ahead", until=None), 1, drafter)
    room._lazy = 1.0  # the verdict waits for all that is prepared
    submit = request(sampling, 3)
    assert text_of(room.generate(submit)["s"]) == said(tuple(submit.prompt), sampling)
    assert room.proposals == TOKENS // 4
    assert room.prepared == room.proposals - 1


@pytest.mark.parametrize("second_choices", [False, True])
def test_enumeration_is_hit_more_often_and_neither_changes_what_is_proposed(second_choices: bool) -> None:
    hits, drafted = {}, {}
    for ahead in WAYS:
        hits[ahead], drafted[ahead] = 0, []
        for sampling in SAMPLINGS:
            config = RouterConfig(ahead=ahead, outcomes=8)  # type: ignore[arg-type]
            room = Uneven(config, 1, planned(SMALL, second_choices=second_choices))
            room._lazy = 1.0
            chunks = room.generate(request(sampling, 4))["s"]
            hits[ahead] += room.prepared
            drafted[ahead].append([len(chunk.tokens) for chunk in chunks])
    assert hits["serial"] == 0
    assert 0 < hits["ahead"] < hits["enumerate"]
    assert drafted["serial"] == drafted["ahead"] == drafted["enumerate"]
