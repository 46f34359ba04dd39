"""The state machine when peers are lost, come back, forget or fail."""

import pytest

from ringroad.actors.messages import Failed, Finish, Forgotten, Mode, Speaker
from ringroad.actors.router.events import AskDraft, AskVerdict, Begin, End, From, Gained, Lost, OpenPeer
from ringroad.actors.router.opening import begin
from ringroad.actors.router.state import DRAFTER, VERIFIER
from tests.roles.scripted import POLICY, Script, begun, generated, large, script, spoken, submit

MODES = list(Mode)


@pytest.mark.parametrize("answers", range(8))
def test_small_waits_for_a_drafter_since_nobody_else_may_speak(answers: int) -> None:
    run, undisturbed = script(Mode.SMALL, max_tokens=40), script(Mode.SMALL, max_tokens=40)
    undisturbed.run()
    for _ in range(answers):
        run.answer()
    run.lose(DRAFTER)
    run.run()
    assert run.ends == []
    run.tell(Gained(DRAFTER))
    run.run()
    assert run.text == undisturbed.text
    assert set(run.speakers) == {Speaker.SMALL_KEPT}
    assert run.state.counts.degraded == [DRAFTER]


def test_small_ends_when_its_drafter_gives_the_session_up() -> None:
    run = script(Mode.SMALL)
    run.tell(From(DRAFTER, Failed("s", run.state.drafter.epoch, "broken")))
    assert run.ends == [End(Finish.ERROR, "broken")]


def test_a_drafter_missing_from_the_start_is_reported() -> None:
    for mode in (Mode.SPECULATIVE, Mode.ROUTED):
        assert begun(submit(mode), VERIFIER).counts.degraded == [DRAFTER]
    assert begun(submit(Mode.LARGE), VERIFIER).counts.degraded == []


@pytest.mark.parametrize("answers", range(8))
@pytest.mark.parametrize("mode", [Mode.LARGE, Mode.SPECULATIVE, Mode.ROUTED])
def test_losing_the_drafter_leaves_the_word_to_the_large_model(mode: Mode, answers: int) -> None:
    run = script(mode, max_tokens=40)
    for _ in range(answers):
        run.answer()
    before = len(run.text)
    run.lose(DRAFTER)
    run.run()
    assert run.ends == [End(Finish.LENGTH)]
    assert run.state.counts.degraded == [DRAFTER]
    if mode in (Mode.LARGE, Mode.SPECULATIVE):
        assert generated(run) == [large(p) for p in range(3, 43)]
    else:
        assert run.text[before:] == [large(p) for p in range(before, 43)]


@pytest.mark.parametrize("answers", range(8))
@pytest.mark.parametrize("mode", MODES)
def test_a_new_verifier_gets_everything_again(mode: Mode, answers: int) -> None:
    run = script(mode, max_tokens=40)
    for _ in range(answers):
        run.answer()
    waiting = isinstance(run.asked, AskVerdict)
    guesses, trusted = run.state.guesses, run.state.trusted
    run.lose(VERIFIER)
    run.run()
    epoch = run.last_epoch[VERIFIER]
    actions = run.tell(Gained(VERIFIER))
    if waiting and guesses:
        assert actions == [OpenPeer(VERIFIER, epoch + 1), AskVerdict(epoch + 1, 0, guesses, (), trusted)]
    run.run()
    assert run.ends == [End(Finish.LENGTH)]
    assert generated(run) == [spoken(mode, p)[0] for p in range(3, 43)]
    assert run.state.counts.degraded == [VERIFIER]


@pytest.mark.parametrize("answers", range(8))
def test_a_new_drafter_takes_over(answers: int) -> None:
    run = script(Mode.SPECULATIVE)
    for _ in range(answers):
        run.answer()
    run.lose(DRAFTER)
    run.tell(Gained(DRAFTER))
    drafted = run.state.counts.drafted
    run.run()
    assert generated(run) == [large(p) for p in range(3, 23)]
    assert run.state.counts.drafted > drafted


@pytest.mark.parametrize("mode", [Mode.SMALL, Mode.ROUTED])
def test_who_waits_for_both_goes_on_with_the_first_to_come(mode: Mode) -> None:
    """Neither is there; a drafter comes: what it may speak without a consult, it speaks."""
    run = Script(begin(submit(mode), 6, POLICY, None, set()))
    run.tell(Begin())
    run.tell(Gained(DRAFTER))
    assert isinstance(run.asked, AskDraft)
    run.tell(Gained(VERIFIER))
    run.run()
    assert generated(run) == [spoken(mode, p)[0] for p in range(3, 23)]


def test_the_verifiers_failure_is_the_sessions() -> None:
    run = script(Mode.LARGE)
    run.answer()
    assert run.tell(From(VERIFIER, Failed("s", 0, "out of memory"))) == [End(Finish.ERROR, "out of memory")]


def test_the_drafters_failure_is_not() -> None:
    run = script(Mode.SPECULATIVE)
    run.tell(From(DRAFTER, Failed("s", 0, "out of memory")))
    run.run()
    assert generated(run) == [large(p) for p in range(3, 23)]
    assert run.state.counts.degraded == [DRAFTER]


def test_lost_twice_is_named_once() -> None:
    run = script(Mode.SPECULATIVE)
    for _ in range(2):
        run.lose(DRAFTER)
        run.tell(Gained(DRAFTER))
        run.answer()
    assert run.state.counts.degraded == [DRAFTER]


@pytest.mark.parametrize("role", [DRAFTER, VERIFIER])
def test_who_forgot_is_opened_again(role: str) -> None:
    run = script(Mode.SPECULATIVE)
    for _ in range(4 if role == DRAFTER else 5):
        run.answer()
    actions = run.tell(From(role, Forgotten("s", 0)))
    assert actions[0] == OpenPeer(role, 1)
    assert isinstance(actions[1], AskDraft | AskVerdict)
    assert (actions[1].epoch, actions[1].base) == (1, 0)
    run.run()
    assert generated(run) == [large(p) for p in range(3, 23)]


def lost(most_losses: int) -> Script:
    """A session at work at a verifier, all but the last loss behind it."""
    run = Script(begin(submit(Mode.LARGE), 6, POLICY, None, {VERIFIER}, most_losses=most_losses))
    run.tell(Begin())
    for _ in range(most_losses - 1):
        run.lose(VERIFIER)
        assert run.ends == []
        run.tell(Gained(VERIFIER))
    return run


@pytest.mark.parametrize("most", [1, 2, 3, 5])
def test_a_session_that_verifiers_may_die_of_ends(most: int) -> None:
    run = lost(most)
    run.lose(VERIFIER)
    (end,) = run.ends
    assert end.finish is Finish.ERROR
    assert f"{most} verifiers were lost" in end.error
    assert run.state.counts.degraded == [VERIFIER]


def test_another_verifier_in_its_place_is_no_excuse() -> None:
    run = lost(3)
    (end,) = run.tell(Lost(VERIFIER, another=True))
    assert isinstance(end, End)
    assert end.finish is Finish.ERROR


def test_a_verdict_clears_a_session() -> None:
    run = lost(3)
    assert run.state.suspect
    run.answer()
    assert not run.state.suspect
    for _ in range(2):
        run.lose(VERIFIER)
        run.tell(Gained(VERIFIER))
    run.run()
    assert run.ends == [End(Finish.LENGTH)]
    assert generated(run) == [large(p) for p in range(3, 23)]


def test_who_forgets_clears_nobody() -> None:
    run = lost(3)
    run.forget(VERIFIER)
    assert run.state.suspect


@pytest.mark.parametrize("event", [Lost(VERIFIER, idle=True), Lost(DRAFTER)])
def test_other_losses_are_no_reason_to_end(event: Lost) -> None:
    run = lost(3)
    run.tell(event)
    assert run.ends == []
    assert run.state.losses == 2


def test_who_drafts_meanwhile_is_not_to_blame() -> None:
    run = script(Mode.SPECULATIVE)
    for _ in range(5):
        assert isinstance(run.asked, AskDraft)
        run.tell(Lost(VERIFIER))
        run.tell(Gained(VERIFIER))
    run.run()
    assert run.ends == [End(Finish.LENGTH)]
