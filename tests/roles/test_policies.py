"""The dial: what every rule makes of a threshold, and how a share of large tokens is held."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from ringroad.actors.messages import Features, Mode, Policy, Proposal, Speaker
from ringroad.actors.router.events import Begin
from ringroad.actors.router.opening import begin
from ringroad.actors.router.policies import (
    FALLBACK,
    HORIZON,
    LEARNED,
    RULES,
    Decision,
    Scope,
    decide,
    kept,
    offered,
    quantile,
    threshold,
)
from ringroad.actors.router.state import DRAFTER, VERIFIER
from tests.roles.scripted import POLICY, Script, generated, large, small, submit

TOKENWISE = [name for name, rule in RULES.items() if rule.scope is Scope.TOKEN]
WIDER = [name for name, rule in RULES.items() if rule.scope is not Scope.TOKEN]
UNIT = st.floats(0, 1)
SIGHTS = st.tuples(UNIT, st.floats(0, 12), UNIT, UNIT.filter(lambda coin: coin < 1), UNIT)


def features(sights: list[tuple[float, ...]]) -> Features:
    return Features(*map(list, zip(*sights, strict=True)))


@given(st.sampled_from(list(RULES)), st.lists(SIGHTS, min_size=1, max_size=8))
def test_every_dial_goes_from_always_to_never(name: str, sights: list[tuple[float, ...]]) -> None:
    seen = features(sights)
    keeps = [kept(Policy(name, at), seen, len(sights)) for at in (0.0, 0.1, 0.5, 0.9, 1.0, 1.0001, 2.0)]
    assert keeps[0] == 0
    assert keeps[-2:] == [len(sights)] * 2
    assert all(fewer <= more for fewer, more in pairwise(keeps))


@pytest.mark.parametrize(
    ("name", "doubts"),
    [
        (LEARNED, [0.25, 0.75]),
        ("margin", [0.6, 0.9]),
        ("entropy", [1 - math.exp(-0.5), 1 - math.exp(-2.0)]),
        ("max-prob", [0.4, 0.7]),
        ("random", [0.1, 0.95]),
    ],
)
def test_what_each_rule_doubts(name: str, doubts: list[float]) -> None:
    seen = Features([0.4, 0.1], [0.5, 2.0], [0.6, 0.3], [0.1, 0.95], [0.25, 0.75])
    for index, doubt in enumerate(doubts):
        assert decide(Policy(name, doubt - 1e-9), seen, index) is Decision.CONSULT
        assert decide(Policy(name, doubt + 1e-9), seen, index) is Decision.KEEP


def test_wider_rules_look_at_all_of_it() -> None:
    top = [0.9] * 18 + [0.2, 0.4]
    seen = Features([0.5] * 20, [1.0] * 20, top, [0.5] * 20, [0.1] * 10 + [0.3] * 10)
    # The third of twenty: a tenth of them, two, are below it.
    assert kept(Policy("cascade", 0.11), seen, 20) == 20
    assert kept(Policy("cascade", 0.09), seen, 20) == 0
    assert kept(Policy("cascade", 0.6), seen, 20) == 20
    assert kept(Policy("cascade", 0.6), structs.replace(seen, top=[0.2, *top[1:]]), 20) == 0
    assert kept(Policy("step", 0.21), seen, 20) == 20
    assert kept(Policy("step", 0.19), seen, 20) == 0
    assert kept(Policy("step", 0.51), structs.replace(seen, doubt=[]), 20) == 20, "margin in its place"
    assert kept(Policy("step", 0.49), structs.replace(seen, doubt=[]), 20) == 0
    for name in WIDER:
        assert decide(Policy(name, 0.0), seen, 0) is Decision.KEEP, "no drafter stops in the middle"


def test_what_is_offered() -> None:
    assert set(RULES) - set(offered()) == {LEARNED}
    assert offered(0.37) == {LEARNED: 0.37, **offered()}


# --- what is missing -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TOKENWISE)
def test_a_missing_feature_leaves_it_to_margin(name: str) -> None:
    default = RULES[FALLBACK].default
    seen = Features([1 - default + 0.01, 1 - default - 0.01], [0.0, 0.0])
    if name != "entropy":
        assert kept(Policy(name, default), seen, 2) == 1
    assert kept(Policy(name, 0.5), Features([], []), 2) == 0, "nothing is known: the large model's"
    assert kept(Policy(name, 0.5), None, 2) == 0


def test_a_head_that_is_missing_is_named_once_and_its_tokens_are_counted() -> None:
    state = begin(submit(Mode.ROUTED, policy=Policy(LEARNED, 0.9)), 6, POLICY, None, {DRAFTER, VERIFIER})
    run = Script(state)
    run.tell(Begin())
    run.run()
    counts = run.state.counts
    assert counts.degraded == ["head"]
    assert counts.fallbacks == counts.drafted > 0
    assert {Speaker.LARGE, Speaker.SMALL_KEPT} == set(run.speakers), "margin has decided"


def test_a_head_that_judges_is_not() -> None:
    state = begin(submit(Mode.ROUTED, policy=Policy(LEARNED, 0.5)), 6, POLICY, None, {DRAFTER, VERIFIER})
    run = Script(state)
    run.tell(Begin())
    run.asked = None
    run.tell(Proposal("s", 0, 3, [7, 8], [], Features([0.0] * 2, [0.0] * 2, doubt=[0.4, 0.6])))
    assert generated(run) == [7]
    assert (run.state.counts.degraded, run.state.counts.fallbacks) == ([], 0)


# --- the two ends ----------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", list(RULES))
@pytest.mark.parametrize("end", [{"threshold": 0.0}, {"share": 1.0}])
def test_at_nought_no_drafter_is_asked(policy: str, end: dict[str, float]) -> None:
    run = Script(begin(submit(Mode.ROUTED, policy=Policy(policy, **end)), 6, POLICY, None, {VERIFIER}))
    run.tell(Begin())
    run.run()
    assert generated(run) == [large(p) for p in range(3, 23)]
    counts = run.state.counts
    assert (counts.drafted, counts.consults, counts.degraded) == (0, 20, [])


@pytest.mark.parametrize("policy", list(RULES))
@pytest.mark.parametrize("end", [{"threshold": 1.01}, {"share": 0.0}])
def test_above_one_nobody_is_consulted(policy: str, end: dict[str, float]) -> None:
    run = Script(begin(submit(Mode.ROUTED, policy=Policy(policy, **end)), 6, POLICY, None, {DRAFTER}))
    run.tell(Begin())
    run.run()
    assert generated(run) == [small(p) for p in range(3, 23)]
    assert run.state.counts.consults == 0


# --- a share ---------------------------------------------------------------------------------------


@given(
    st.floats(0, 1),
    st.lists(UNIT, min_size=0, max_size=9).map(sorted),
    st.lists(UNIT, min_size=1, max_size=400),
    st.integers(1, 8),
)
def test_a_share_is_held_within_a_bound(
    share: float, quantiles: list[float], doubts: list[float], draft_tokens: int
) -> None:
    """Whatever the doubts are, and however wrong the quantiles: nowhere in the text is it missed by more."""
    policy = Policy(LEARNED, share=share, quantiles=quantiles)
    spoken = consulted = 0
    while spoken < len(doubts):
        rest = doubts[spoken : spoken + draft_tokens]
        seen = Features([1.0] * len(rest), [0.0] * len(rest), doubt=rest)
        keep = kept(structs.replace(policy, spoken=spoken, large=consulted), seen, len(rest))
        spoken += keep
        assert abs(share * spoken - consulted) <= HORIZON + 1
        if keep < len(rest):
            spoken, consulted = spoken + 1, consulted + 1
        assert abs(share * spoken - consulted) <= HORIZON + 1


@given(st.floats(0.05, 0.95), st.integers(0, 10**6))
def test_true_quantiles_hold_it_without_a_swing(share: float, seed: int) -> None:
    """Doubts come as they were measured to come: the threshold stays about where they put it."""
    coins = [math.modf(math.sin(seed + i) * 1e4)[0] % 1.0 for i in range(1000)]
    policy = Policy(LEARNED, share=share, quantiles=[i / 32 for i in range(33)])
    consulted = 0
    for spoken, coin in enumerate(coins):
        now = structs.replace(policy, spoken=spoken, large=consulted)
        seen = Features([1.0], [0.0], doubt=[coin])
        consulted += decide(now, seen, 0) is Decision.CONSULT
    assert consulted / len(coins) == pytest.approx(share, abs=0.03)


def test_the_share_does_not_depend_on_how_many_guesses_come_at_once() -> None:
    texts = []
    for draft_tokens in (1, 3, 16):
        policy = Policy("margin", share=0.4)
        request = submit(Mode.ROUTED, max_tokens=200, draft_tokens=draft_tokens, policy=policy)
        run = Script(begin(request, 6, POLICY, None, {DRAFTER, VERIFIER}))
        run.tell(Begin())
        run.run()
        texts.append((run.text, run.speakers))
    assert texts[0] == texts[1] == texts[2]
    assert abs(texts[0][1].count(Speaker.LARGE) - 0.4 * 200) <= HORIZON + 1


def test_the_quantiles_are_those_of_the_policy() -> None:
    known = {"margin": [0.0, 0.5, 1.0], LEARNED: [0.1]}
    both = {DRAFTER, VERIFIER}
    held = begin(submit(Mode.ROUTED, policy=Policy("margin", share=0.5)), 6, POLICY, None, both, known)
    assert held.policy.quantiles == known["margin"]
    fixed = begin(submit(Mode.ROUTED), 6, POLICY, None, both, known)
    assert fixed.policy.quantiles == [], "of no use, so they are not sent about"


def test_quantiles() -> None:
    known = [0.0, 0.2, 1.0]
    assert [quantile(known, at) for at in (-1, 0, 0.25, 0.5, 1, 2)] == [0, 0, 0.1, 0.2, 2, 2]
    assert quantile([0.5], 0.3) == 0.5
    assert quantile([], 0.3) == 0.3
    # Of the next token, when one too few was the large model's: a little lower than its share alone asks.
    policy = Policy("margin", share=0.25, spoken=8, large=1)
    assert threshold(policy) == 1 - 0.25 - 1 / HORIZON
    assert threshold(policy, 4) == 1 - 0.25 - 2 / HORIZON
