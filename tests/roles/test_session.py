"""The state machine: who is asked, what is committed, and how a session ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ringroad.actors.messages import (
    Cancel,
    Failed,
    Features,
    Finish,
    Forgotten,
    Mode,
    Policy,
    Proposal,
    Speaker,
    Verdict,
)
from ringroad.actors.router.events import (
    Allowed,
    AskDraft,
    AskVerdict,
    Begin,
    Commit,
    End,
    From,
    Gained,
    Lost,
    OpenPeer,
)
from ringroad.actors.router.opening import begin
from ringroad.actors.router.session import advance
from ringroad.actors.router.state import DRAFTER, VERIFIER
from tests.roles.scripted import POLICY, PROMPT, begun, generated, large, script, small, spoken, submit

MODES = list(Mode)


# --- a life without trouble -----------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("max_tokens", [1, 2, 3, 7, 20])
@pytest.mark.parametrize("draft_tokens", [0, 1, 2, 5, 16])
def test_text_speakers_and_end(mode: Mode, max_tokens: int, draft_tokens: int) -> None:
    run = script(mode, max_tokens=max_tokens, draft_tokens=draft_tokens)
    run.run()
    expected = [spoken(mode, len(PROMPT) + i) for i in range(max_tokens)]
    assert generated(run) == [token for token, _ in expected]
    assert all(want in (None, got) for (_, want), got in zip(expected, run.speakers, strict=True))
    assert run.ends == [End(Finish.LENGTH)]
    counts = run.state.counts
    assert counts.degraded == []
    if mode is Mode.LARGE:
        assert (counts.drafted, counts.consults) == (0, max_tokens)
    if mode is Mode.SMALL:
        assert (counts.consults, counts.drafted) == (0, max_tokens)
    if mode is Mode.SPECULATIVE and draft_tokens == 0:
        assert (counts.drafted, counts.consults) == (0, max_tokens)


def test_the_first_actions_open_and_ask() -> None:
    state, actions = advance(begun(submit(Mode.SPECULATIVE)), Begin())
    assert actions == [OpenPeer(DRAFTER, 0), AskDraft(0, 0, 4, None)]
    assert state.asked == DRAFTER
    _, actions = advance(begun(submit(Mode.LARGE)), Begin())
    assert actions == [OpenPeer(VERIFIER, 0), AskVerdict(0, 0, (), ())]


def test_only_what_is_missing_is_sent_again() -> None:
    run = script(Mode.SPECULATIVE)
    run.answer()
    assert run.asked == AskVerdict(0, 0, tuple(small(p) for p in range(3, 7)), ())
    run.answer()  # 3 accepted, small(4) is wrong: recovered
    assert generated(run) == [large(3), large(4)]
    assert run.asked == AskDraft(0, 4, 4, None)  # the drafter holds the accepted one, not the recovered
    run.answer()
    assert isinstance(run.asked, AskVerdict)
    assert run.asked.base == 5  # the verifier holds its own token too


def test_a_verdict_on_a_tree_sends_the_path_to_the_drafter() -> None:
    run = script(Mode.SPECULATIVE)
    run.answer(tree=True)
    assert isinstance(run.asked, AskVerdict)
    assert run.asked.parents == (-1, -1, 1, 1)
    run.answer()
    assert run.speakers == [Speaker.SMALL_ACCEPTED, Speaker.SMALL_ACCEPTED, Speaker.LARGE]
    assert isinstance(run.asked, AskDraft)
    assert run.asked.base == 3


def test_a_tree_is_not_held_by_its_drafter_even_where_its_first_branch_stays() -> None:
    run = script(Mode.SPECULATIVE)
    for _ in range(2):
        run.answer(tree=True)
        run.answer()
    assert run.speakers[-2:] == [Speaker.SMALL_ACCEPTED, Speaker.LARGE]
    assert isinstance(run.asked, AskDraft)
    assert run.asked.base == len(run.text) - 2


def test_routed_throws_the_flagged_token_away() -> None:
    run = script(Mode.ROUTED, draft_tokens=2)
    assert run.asked == AskDraft(0, 0, 2, POLICY)
    actions = run.answer()  # position 3 is flagged
    assert actions == [OpenPeer(VERIFIER, 0), AskVerdict(0, 0, (), ())]
    assert run.answer()[0] == Commit((large(3),), (Speaker.LARGE,))
    assert run.asked == AskDraft(0, 3, 2, POLICY)
    run.answer()
    assert run.asked == AskDraft(0, 6, 2, POLICY), "kept without a consult"


def test_an_empty_proposal_leaves_the_word_to_the_large_model() -> None:
    for mode in (Mode.SPECULATIVE, Mode.SMALL, Mode.ROUTED):
        run = script(mode)
        run.asked = None
        actions = run.tell(Proposal("s", 0, len(PROMPT), [], []))
        assert actions == [OpenPeer(VERIFIER, 0), AskVerdict(0, 0, (), ())]


def test_until_of_the_router_only_stops_speculation() -> None:
    until = Policy("entropy", 2.0)
    for mode, expected in ((Mode.SPECULATIVE, until), (Mode.ROUTED, POLICY), (Mode.SMALL, None)):
        state = begin(submit(mode), 6, POLICY, until, {DRAFTER, VERIFIER})
        _, actions = advance(state, Begin())
        assert actions[-1] == AskDraft(0, 0, 4, expected)


def test_defaults_of_the_router() -> None:
    request = submit(Mode.ROUTED)
    request = type(request)("s", PROMPT, 20, Mode.ROUTED, request.sampling)
    state = begin(request, 6, POLICY, None, {DRAFTER})
    assert (state.budget, state.policy, state.limit) == (6, POLICY, len(PROMPT) + 20)
    assert (state.drafter.there, state.verifier.there) == (True, False)


# --- ends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("position", [3, 4, 5, 6, 7, 8, 9])
def test_an_end_token_is_the_last(mode: Mode, position: int) -> None:
    """Also inside an accepted path or a kept proposal; what came after it is cut."""
    token, _ = spoken(mode, position)
    run = script(mode, ends=[token, 999], draft_tokens=8)
    run.run()
    first = next(p for p in range(3, 30) if spoken(mode, p)[0] == token)
    assert generated(run) == [spoken(mode, p)[0] for p in range(3, first + 1)]
    assert run.ends == [End(Finish.STOP)]


def test_an_end_inside_an_accepted_path_is_counted_up_to_it() -> None:
    run = script(Mode.SPECULATIVE, ends=[large(6)], draft_tokens=8)
    run.answer()
    run.answer()
    run.answer()
    run.asked = None
    length = len(run.text)
    assert length == 5
    run.tell(Verdict("s", 0, length, [0, 1, 2], 12))
    assert generated(run)[-1] == large(6)
    assert run.speakers[-2:] == [Speaker.SMALL_ACCEPTED] * 2
    assert run.state.counts.accepted == 3
    assert run.ends == [End(Finish.STOP)]


def test_the_limit_cuts_a_proposal_that_is_too_long() -> None:
    run = script(Mode.SMALL, max_tokens=3)
    run.asked = None
    run.tell(Proposal("s", 0, 3, [1, 2, 3, 4, 5], []))
    assert generated(run) == [1, 2, 3]
    assert run.ends == [End(Finish.LENGTH)]


def test_an_end_at_the_limit_is_a_stop() -> None:
    run = script(Mode.LARGE, max_tokens=2, ends=[large(4)])
    run.run()
    assert run.ends == [End(Finish.STOP)]


@pytest.mark.parametrize("reason", [Finish.CANCELLED, Finish.STOP])
@pytest.mark.parametrize("answers", range(5))
@pytest.mark.parametrize("mode", MODES)
def test_cancel_ends_with_its_reason(mode: Mode, answers: int, reason: Finish) -> None:
    run = script(mode)
    for _ in range(answers):
        run.answer()
    assert run.tell(Cancel("s", reason)) == [End(reason)]
    assert run.tell(Cancel("s")) == []


def test_nothing_happens_after_the_end() -> None:
    run = script(Mode.SPECULATIVE, max_tokens=1)
    run.run()
    state = run.state
    events = [Begin(), Cancel("s"), Gained(DRAFTER), Lost(VERIFIER), Verdict("s", 0, state.length, [], 1)]
    for event in events:
        assert advance(state, event) == (state, [])


# --- what does not fit ----------------------------------------------------------------------------


def test_answers_out_of_place_change_nothing() -> None:
    drafting = script(Mode.SPECULATIVE).state
    run = script(Mode.SPECULATIVE)
    run.answer()
    judging = run.state
    good = Proposal("s", 0, 3, [1], [])
    assert advance(drafting, good)[1]
    for wrong in ({"epoch": 1}, {"epoch": -1}, {"length": 2}, {"length": 4}):
        assert advance(drafting, replace(good, **wrong)) == (drafting, [])
    assert advance(judging, good) == (judging, [])
    verdict = Verdict("s", 0, 3, [], 1)
    assert advance(judging, verdict)[1]
    for wrong in ({"epoch": 1}, {"epoch": -1}, {"length": 2}, {"length": 4}):
        assert advance(judging, replace(verdict, **wrong)) == (judging, [])
    assert advance(drafting, verdict) == (drafting, [])
    for role in (DRAFTER, VERIFIER):
        for message in (Forgotten("s", 7), Failed("s", 7, "x")):
            assert advance(drafting, From(role, message)) == (drafting, [])


def test_beginning_twice_asks_once() -> None:
    state = script(Mode.SPECULATIVE).state
    assert advance(state, Begin()) == (state, [])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0, 1))
def test_routed_keeps_up_to_the_first_flagged(margins: list[float], threshold: float) -> None:
    state = replace(begun(submit(Mode.ROUTED, draft_tokens=8)), policy=Policy("margin", threshold))
    state, _ = advance(state, Begin())
    tokens = list(range(len(margins)))
    state, _ = advance(state, Proposal("s", 0, 3, tokens, [], Features(margins, margins)))
    expected = next((i for i, margin in enumerate(margins) if 1.0 - margin >= threshold), len(margins))
    assert (state.counts.kept, state.length) == (expected, 3 + expected)
    assert state.asked == (DRAFTER if expected == len(margins) else VERIFIER)


def test_a_budget_holds_from_the_next_proposal_on() -> None:
    run = script(Mode.SPECULATIVE)
    run.tell(Allowed(0))
    run.answer()
    run.answer()
    assert run.asked == AskVerdict(0, 5, (), ()), "without guesses the drafter is not asked"
    run.tell(Allowed(2))
    run.answer()
    assert run.asked == AskDraft(0, 4, 2, None)
