"""Routed sessions of one company draft and are judged in turns: whose draft waits, and whose consult."""

from ringroad.actors.messages import Cancel, Draft, Hello, Mode, Open, Policy
from ringroad.actors.router.company import PATIENCE
from tests.roles.company import DOUBTED, DRAFT, GATE, JUDGE, KEPT, ROUTED, SHARED, routed


def test_routed_sessions_are_judged_together() -> None:
    hub = routed("a", "b", "c")
    hub.propose("a", DOUBTED)
    hub.propose("b", DOUBTED)
    assert hub.asked() == []
    hub.propose("c", DOUBTED)
    assert hub.asked() == ["a", "b", "c"]


def test_a_draft_that_stands_is_followed_when_others_have_been_judged() -> None:
    hub = routed("a", "b", "c")
    hub.propose("a", DOUBTED)
    hub.propose("b", KEPT)
    assert hub.asked() == []
    assert hub.drafting() == ["c"], "a waits, and it is its turn next"
    hub.propose("c", KEPT)
    assert hub.asked() == ["a"]
    assert hub.drafting() == []
    hub.judge("a")
    assert hub.drafting() == ["a", "b", "c"]


def test_drafts_that_stand_are_followed_at_once_while_nobody_doubts() -> None:
    hub = routed("a", "b")
    hub.propose("a", KEPT)
    assert hub.drafting() == ["a", "b"]


def test_routed_sessions_of_other_places_wait_for_nobody() -> None:
    hub = routed("a", "b", drafter=["host cuda of 0"])
    hub.propose("a", DOUBTED)
    assert hub.asked() == ["a"]
    hub.propose("b", KEPT)
    assert hub.drafting() == ["b"]


def test_a_routed_session_alone_waits_for_nobody() -> None:
    hub = routed("a")
    hub.propose("a", KEPT)
    hub.propose("a", DOUBTED)
    assert hub.asked() == ["a"]
    hub.judge("a")
    assert hub.drafting() == ["a"]


def test_no_draft_waits_for_a_prompt_that_is_read() -> None:
    hub = routed("a")
    hub.begin("b", Mode.ROUTED, policy=ROUTED)
    hub.propose("b", DOUBTED)  # the verifier has not read its prompt
    hub.propose("a", KEPT)
    assert hub.asked() == ["b"]
    assert hub.drafting() == ["a"]


def test_drafts_for_speculation_wait_for_nobody() -> None:
    hub = routed("a")
    hub.propose("a", DOUBTED)
    hub.begin("b")
    assert hub.drafting() == ["b"]


def test_what_is_drafted_at_a_stretch_holds_nobody_up() -> None:
    """A policy that judges the whole text has it drafted in one go."""
    hub = routed("a")
    hub.begin("b", Mode.ROUTED, prompt=1, policy=Policy("cascade", 0.5))
    assert hub.drafting() == ["a", "b"]
    hub.propose("a", DOUBTED)
    assert hub.asked() == ["a"]


def test_no_draft_waits_long_for_a_verifier_that_hangs() -> None:
    hub = routed("a", "b")
    hub.propose("a", DOUBTED)
    hub.propose("b", KEPT)
    assert hub.asked() == ["a"]
    hub.now = 0.9 * PATIENCE
    hub.router.tick(hub.now)
    assert hub.drafting() == []
    hub.now = 1.1 * PATIENCE
    hub.hears(GATE)
    assert hub.drafting() == ["b"]


def test_the_end_of_who_is_judged_sets_drafts_free() -> None:
    hub = routed("a", "b")
    hub.propose("a", DOUBTED)
    hub.propose("b", KEPT)
    hub.hears(GATE, Cancel("a"))
    assert hub.drafting() == ["b"]


def test_one_whose_draft_waits_may_end() -> None:
    hub = routed("a", "b")
    hub.propose("a", DOUBTED)
    hub.propose("b", KEPT)
    hub.hears(GATE, Cancel("b"))
    hub.judge("a")
    assert hub.drafting() == ["a"]


def test_a_draft_that_waits_follows_to_another_drafter() -> None:
    hub = routed("a", "b")
    other = b"other draft"
    hub.hears(other, Hello("drafter", place=SHARED))
    hub.propose("a", DOUBTED)
    hub.propose("b", KEPT)
    hub.router.lose(DRAFT)
    assert not [each for to, each in hub.sent if to == other and isinstance(each, Draft)]
    hub.judge("a")
    told = [
        (type(each), each.session) for to, each in hub.sent if to == other and isinstance(each, Open | Draft)
    ]
    assert sorted(told, key=str) == sorted([(Draft, "a"), (Draft, "b"), (Open, "a"), (Open, "b")], key=str)


def test_a_lost_verifier_sets_drafts_free() -> None:
    hub = routed("a", "b")
    hub.propose("a", DOUBTED)
    hub.propose("b", KEPT)
    hub.router.lose(JUDGE)
    told = [each.session for to, each in hub.sent if to == DRAFT and isinstance(each, Draft)]
    assert told[-1:] == ["b"]
