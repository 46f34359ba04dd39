"""Rules that decide about a step or a whole text at once: it is kept, or the large model writes it anew."""

from collections.abc import Callable
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.actors.messages import (
    Features,
    Finish,
    Mode,
    Policy,
    Proposal,
    Speaker,
    Verdict,
)
from ringroad.actors.router.events import AskDraft, AskVerdict, Begin, End, Gained, Lost
from ringroad.actors.router.opening import begin
from ringroad.actors.router.policies import HORIZON
from ringroad.actors.router.session import PIECE, advance
from ringroad.actors.router.state import DRAFTER, VERIFIER
from tests.roles.scripted import PROMPT, Script, begun, flagged, generated, large, script, small, submit

BREAK = large(10)  # also at 21, 32, 43 and so on, but small(32) is another
STOPS = frozenset([BREAK])
BOTH = (DRAFTER, VERIFIER)
STEPWISE, CASCADE = Policy("step", 0.29), Policy("cascade", 0.5)


def doubtful(start: int, end: int, policy: Policy) -> bool:
    doubts = [0.9 if flagged(position) else 0.1 for position in range(start, end)]
    if policy.name == "step":
        return fmean(doubts) >= policy.threshold
    return sorted(doubts)[-1 - len(doubts) // 10] >= policy.threshold


def expected(policy: Policy, count: int, ends: frozenset[int] = frozenset()) -> list[tuple[int, bool]]:
    """Each token, and whether it is the large model's: the rule as one would write it down."""
    text: list[tuple[int, bool]] = []
    stops = (STOPS if policy.name == "step" else frozenset()) | ends
    while len(text) < count and not (text and text[-1][0] in ends):
        start = len(PROMPT) + len(text)
        step = _stretch(small, start, len(PROMPT) + count, stops)
        consult = doubtful(start, start + len(step), policy)
        text += [
            (t, consult) for t in (_stretch(large, start, len(PROMPT) + count, stops) if consult else step)
        ]
    return text


def _stretch(says: Callable[[int], int], start: int, limit: int, stops: frozenset[int]) -> list[int]:
    words = [says(position) for position in range(start, limit)]
    return words[: next((i + 1 for i, word in enumerate(words) if word in stops), len(words))]


def stretches(policy: Policy, **changes: int | list[int]) -> Script:
    return script(Mode.ROUTED, policy=policy, breaks=[BREAK], **changes)


def spoken(run: Script) -> list[tuple[int, bool]]:
    kept = Speaker.SMALL_KEPT
    return [(token, who is not kept) for token, who in zip(generated(run), run.speakers, strict=True)]


@pytest.mark.parametrize("max_tokens", [1, 2, 8, 9, 30, 60])
@pytest.mark.parametrize("draft_tokens", [1, 2, 5, 16])
@pytest.mark.parametrize(
    "policy", [STEPWISE, Policy("step", 0.27), Policy("step", 0.9), CASCADE, Policy("cascade", 0.95)], ids=str
)
def test_a_stretch_is_kept_or_written_anew(policy: Policy, draft_tokens: int, max_tokens: int) -> None:
    """For any draft length: that of what the large model checks changes nothing."""
    run = stretches(policy, max_tokens=max_tokens, draft_tokens=draft_tokens)
    run.run()
    assert spoken(run) == expected(policy, max_tokens)
    assert run.ends == [End(Finish.LENGTH)]


def test_the_script_has_both_kinds_of_steps() -> None:
    assert {consult for _, consult in expected(STEPWISE, 60)} == {True, False}
    # A step of the large model ends where the small one's would not have.
    assert small(32) != large(32) == BREAK


def test_a_step_is_asked_for_whole_and_to_its_end_only() -> None:
    run = stretches(STEPWISE, max_tokens=60)
    assert run.asked == AskDraft(0, 0, 60, STEPWISE)
    assert run.state.stops == STOPS
    assert not run.state.judged


def test_a_dropped_draft_is_the_first_to_be_checked() -> None:
    """Piece by piece, as long as the large model says the same; then the drafter speculates."""
    run = stretches(Policy("cascade", 0.5), max_tokens=60)
    run.answer()
    draft = [small(position) for position in range(3, 63)]
    assert run.asked == AskVerdict(0, 0, tuple(draft[:PIECE]), ())
    run.answer()  # 3 stays, small(4) is wrong
    assert generated(run) == [large(3), large(4)]
    assert run.state.judged
    assert run.asked == AskDraft(0, 4, 4, None)


def test_as_long_as_it_says_the_same_no_drafter_is_asked() -> None:
    state = begun(submit(Mode.ROUTED, max_tokens=60, policy=CASCADE))
    state, _ = advance(state, Begin())
    draft = list(range(60))
    state, actions = advance(state, Proposal("s", 0, 3, draft, [], None))
    for first in (0, PIECE + 1, 2 * (PIECE + 1)):
        (ask,) = (action for action in actions if isinstance(action, AskVerdict))
        assert ask.guesses == tuple(draft[first : first + PIECE])
        verdict = Verdict("s", 0, 3 + first, list(range(PIECE)), draft[first + PIECE])
        state, actions = advance(state, verdict)
    assert state.drafter.has == state.length - 1
    assert state.counts.drafted == 60


@pytest.mark.parametrize("policy", [STEPWISE, CASCADE], ids=str)
@pytest.mark.parametrize("position", [3, 6, 9, 14, 17])
def test_an_end_token_ends_the_text(policy: Policy, position: int) -> None:
    ends = [large(position), 999]
    run = stretches(policy, ends=ends, max_tokens=60)
    run.run()
    assert spoken(run) == expected(policy, 60, frozenset(ends))
    assert run.ends == [End(Finish.STOP)]


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_steps_hold_a_share_within_a_step(share: float) -> None:
    """What the large model confirms of a dropped draft counts as its own."""
    run = stretches(Policy("step", share=share), max_tokens=400)
    run.run()
    consults = [consult for _, consult in spoken(run)]
    assert {True, False} == set(consults)
    longest = 22  # of the script's steps
    for end in range(1, 401):
        assert abs(share * end - sum(consults[:end])) <= HORIZON + longest


def test_nothing_is_committed_before_the_decision() -> None:
    run = stretches(CASCADE, max_tokens=60)
    assert run.text == PROMPT
    run.lose(DRAFTER)
    run.tell(Gained(DRAFTER))
    assert run.text == PROMPT


def test_a_drafter_that_stops_at_no_break_changes_nothing() -> None:
    state = begun(submit(Mode.ROUTED, max_tokens=60, policy=Policy("step", 0.5), breaks=[BREAK]))
    run = Script(state)
    run.tell(Begin())
    tokens = [small(position) for position in range(3, 63)]
    run.held[DRAFTER].text += tokens
    run.asked = None
    run.tell(Proposal("s", 0, 3, tokens, [], Features([0.9] * 60, [0.0] * 60)))
    assert generated(run) == tokens[:8]
    assert run.asked == AskDraft(0, 11, 52, Policy("step", 0.5))


@pytest.mark.parametrize("policy", [STEPWISE, CASCADE], ids=str)
def test_without_any_features_the_large_model_writes(policy: Policy) -> None:
    run = stretches(policy)
    run.asked = None
    run.held[DRAFTER].text += [7, 8]
    run.tell(Proposal("s", 0, 3, [7, 8], []))
    assert run.state.handed
    assert run.state.counts.fallbacks == 2
    run.run()
    assert {who for _, who in spoken(run)[:8]} == {True}


@pytest.mark.parametrize("answers", range(12))
@pytest.mark.parametrize("policy", [STEPWISE, CASCADE], ids=str)
def test_a_lost_drafter_with_another_there_changes_nothing(policy: Policy, answers: int) -> None:
    run = stretches(policy, max_tokens=60)
    for _ in range(answers):
        run.answer()
    drafting = isinstance(run.asked, AskDraft)
    run.held.pop(DRAFTER, None)
    run.asked = None if drafting else run.asked
    run.tell(Lost(DRAFTER, another=True))
    run.run()
    assert spoken(run) == expected(policy, 60)


def test_a_text_that_the_large_model_began_stays_its_own() -> None:
    """No drafter at first: when one comes it may speculate, and is not asked to answer in its place."""
    run = Script(begun(submit(Mode.ROUTED, max_tokens=30, policy=CASCADE), VERIFIER))
    run.tell(Begin())
    run.answer()
    run.tell(Gained(DRAFTER))
    run.run()
    assert generated(run) == [large(position) for position in range(3, 33)]
    assert Speaker.SMALL_KEPT not in run.speakers
    assert run.state.counts.accepted > 0


@given(
    st.sampled_from([STEPWISE, Policy("step", 0.27), CASCADE, Policy("cascade", 0.95)]),
    st.integers(1, 50),
    st.integers(1, 8),
    st.sets(st.integers(0, 10), max_size=1),
    st.lists(
        st.tuples(
            st.sampled_from(["answer", "answer", "tree", "lose", "gain", "forget", "fail"]),
            st.sampled_from(BOTH),
        ),
        max_size=60,
    ),
)
@settings(max_examples=300)
def test_any_order_of_events(
    policy: Policy, max_tokens: int, draft_tokens: int, ends: set[int], steps: list[tuple[str, str]]
) -> None:
    """`Script` checks every step; in the end the text is finished, and right where no drafter was missed."""
    run = stretches(policy, max_tokens=max_tokens, draft_tokens=draft_tokens, ends=sorted(ends))
    there = dict.fromkeys(BOTH, True)
    missed = False
    for what, role in steps:
        match what:
            case "answer" | "tree":
                run.answer(tree=what == "tree")
            case "lose" if there[role]:
                there[role], missed = False, missed or role == DRAFTER
                run.lose(role)
            case "gain" if not there[role]:
                there[role] = True
                run.tell(Gained(role))
            case "forget" if there[role] and role in run.held:
                run.forget(role)
            case "fail" if role == DRAFTER and role in run.held:
                there[role], missed = False, True
                run.fail_drafter()
    for role in BOTH:
        if not there[role]:
            run.tell(Gained(role))
    run.run()
    found = spoken(run)
    assert run.ends == [End(Finish.STOP if found[-1][0] in ends else Finish.LENGTH)]
    if not missed:
        assert found == expected(policy, max_tokens, frozenset(ends))


def test_the_head_is_named_where_it_was_there() -> None:
    """By its quantiles the router knows that there is one; without it steps go by margin, as they should."""
    for quantiles, degraded in (({}, []), ({"learned": [0.0, 1.0]}, ["head"])):
        state = begin(
            submit(Mode.ROUTED, policy=STEPWISE, breaks=[BREAK]), 6, CASCADE, None, set(BOTH), quantiles
        )
        run = Script(state)
        run.tell(Begin())
        run.run()
        assert run.state.counts.degraded == degraded
        assert run.state.counts.fallbacks > 0
