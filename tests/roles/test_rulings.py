"""What a head apart rules, against what a drafter proposes, in any order."""

import pytest

from ringroad.actors.messages import Draft, Features, Message, Policy, Proposal, Ruling, Seen
from ringroad.actors.router.rulings import PATIENCE, Rulings

LENGTH, EPOCH = 30, 2
RULE = Policy("learned", 0.5)
TOKENS = [7, 8, 9, 10]


def columns(count: int, first: int = 0) -> Features:
    values = [0.5 + 0.01 * at for at in range(first, first + count)]
    return Features(list(values), list(values), list(values), list(values))


def draft(until: Policy | None = RULE, judged: bool = False, session: str = "s") -> Draft:
    return Draft(session, EPOCH, LENGTH, [], 8, until, judged)


def seen(first: int, count: int = 1, length: int = LENGTH) -> Seen:
    return Seen("s", EPOCH, length, first, TOKENS[first : first + count], columns(count, first), b"bits")


def ruling(first: int, *doubts: float, length: int = LENGTH, session: str = "s") -> Ruling:
    return Ruling(session, EPOCH, length, first, list(doubts))


def proposal(count: int = 4, length: int = LENGTH) -> Proposal:
    return Proposal("s", EPOCH, length, TOKENS[:count], [], columns(count), 0.5)


class Court(Rulings):
    """With one head, and what was sent to it."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Message]] = []
        super().__init__(lambda address, message: self.sent.append((address, message)))
        self.met(b"head")


@pytest.fixture
def court() -> Court:
    found = Court()
    assert found.drafted(draft(), LENGTH).sights
    return found


def doubted(answer: Proposal | None) -> list[float]:
    assert answer is not None
    assert answer.features is not None
    assert len(answer.tokens) == len(answer.features.doubt) == len(answer.features.margin)
    return answer.features.doubt


def test_what_is_seen_goes_to_the_head(court: Court) -> None:
    court.saw(seen(0))
    court.saw(seen(1, 2))
    assert court.sent == [(b"head", seen(0)), (b"head", seen(1, 2))]


@pytest.mark.parametrize("rule", [Policy("margin", 0.5), Policy("random", 0.5), None])
def test_other_rules_need_no_head(rule: Policy | None) -> None:
    court = Court()
    assert court.drafted(draft(rule), LENGTH) == draft(rule)
    assert court.proposed(proposal(), 0.0) == proposal()


def test_what_is_judged_anyway_needs_no_head() -> None:
    assert Court().drafted(draft(judged=True), LENGTH) == draft(judged=True)


def test_a_consult_ends_the_draft_before_its_proposal(court: Court) -> None:
    for at in range(3):
        court.saw(seen(at))
    assert court.ruled(b"head", ruling(0, 0.1)) is None
    answer = court.ruled(b"head", ruling(1, 0.7))
    assert answer == Proposal(
        "s", EPOCH, LENGTH, TOKENS[:2], [], Features(*([[0.5, 0.51]] * 4), doubt=[0.1, 0.7])
    )
    assert len(court) == 0
    assert court.ruled(b"head", ruling(2, 0.9)) is None, "nobody waits for it"
    assert court.proposed(proposal(), 0.0) == proposal(), "stale: the session drops it"


def test_a_proposal_waits_for_its_rulings(court: Court) -> None:
    court.saw(seen(0, 2))
    court.saw(seen(2, 2))
    assert court.proposed(proposal(), 0.0) is None
    assert court.ruled(b"head", ruling(0, 0.1, 0.2)) is None
    answer = court.ruled(b"head", ruling(2, 0.3, 0.4))
    assert doubted(answer) == [0.1, 0.2, 0.3, 0.4]
    assert answer is not None
    assert answer.seconds == 0.5, "it is the drafter's own"


def test_a_proposal_whose_rulings_are_there_goes_on_at_once(court: Court) -> None:
    court.saw(seen(0, 4))
    assert court.ruled(b"head", ruling(0, 0.1, 0.2, 0.3, 0.4)) is None
    assert doubted(court.proposed(proposal(), 0.0)) == [0.1, 0.2, 0.3, 0.4]


def test_a_share_is_held_by_the_place_of_a_guess() -> None:
    """The same doubt is kept early, and doubted where the large model has spoken too little."""
    court, rule = Court(), Policy("learned", share=0.5, spoken=0, large=0)
    court.drafted(draft(rule), LENGTH)
    court.saw(seen(0, 4))
    answer = court.ruled(b"head", ruling(0, 0.46, 0.46, 0.46, 0.46))
    assert doubted(answer) == [0.46] * 4  # thresholds 0.5, 0.484, 0.469, 0.453


def test_a_step_is_decided_as_a_whole() -> None:
    court = Court()
    assert court.drafted(draft(Policy("step", 0.5)), LENGTH).sights
    court.saw(seen(0, 4))
    assert court.ruled(b"head", ruling(0, 0.9, 0.9, 0.1, 0.1)) is None
    assert doubted(court.proposed(proposal(), 0.0)) == [0.9, 0.9, 0.1, 0.1]


def test_what_is_of_an_earlier_draft_says_nothing(court: Court) -> None:
    court.saw(seen(0, length=LENGTH - 1))
    assert court.sent == []
    court.saw(seen(0))
    assert court.ruled(b"head", ruling(0, 0.9, length=LENGTH - 1)) is None
    assert court.proposed(proposal(1, LENGTH - 1), 0.0) == proposal(1, LENGTH - 1), "for the session to drop"
    assert doubted(court.ruled(b"head", ruling(0, 0.9))) == [0.9]


def test_what_comes_out_of_turn_says_nothing(court: Court) -> None:
    court.saw(seen(1))
    assert court.sent == []
    court.saw(seen(0))
    assert court.ruled(b"head", ruling(1, 0.9)) is None
    assert doubted(court.ruled(b"head", ruling(0, 0.8))) == [0.8]


def test_without_a_head_nothing_changes() -> None:
    court = Rulings(lambda address, message: None)
    assert court.drafted(draft(), LENGTH) == draft()
    assert court.proposed(proposal(), 0.0) == proposal()


def test_when_the_head_is_lost_what_waits_goes_on_without(court: Court) -> None:
    court.saw(seen(0, 4))
    court.ruled(b"head", ruling(0, 0.1))
    assert court.proposed(proposal(), 0.0) is None
    assert court.lost(b"head") == [proposal()], "no doubts: the fallback decides all of it"
    assert court.drafted(draft(), LENGTH) == draft(), "and none is asked for"
    court.met(b"head")
    assert court.drafted(draft(), LENGTH).sights, "until it is back"


def test_what_is_still_drafted_when_the_head_is_lost_goes_on_without(court: Court) -> None:
    court.saw(seen(0, 2))
    assert court.lost(b"head") == []
    court.saw(seen(2, 2))
    assert court.proposed(proposal(), 0.0) == proposal()


def test_another_heads_loss_changes_nothing(court: Court) -> None:
    court.met(b"second")
    assert court.lost(b"second") == []
    court.saw(seen(0))
    assert doubted(court.ruled(b"head", ruling(0, 0.9))) == [0.9]


def test_a_head_that_cannot_say_is_not_waited_for(court: Court) -> None:
    court.saw(seen(0, 4))
    assert court.proposed(proposal(), 0.0) is None
    assert court.ruled(b"head", ruling(0)) == proposal()


def test_a_silent_head_is_not_waited_for_long_and_not_again(court: Court) -> None:
    court.saw(seen(0, 4))
    assert court.proposed(proposal(), 10.0) is None
    assert court.overdue(10.0 + PATIENCE) == []
    assert court.overdue(10.1 + PATIENCE) == [proposal()]
    assert court.drafted(draft(), LENGTH) == draft()
    court.ruled(b"head", ruling(0, 0.1))
    assert court.drafted(draft(), LENGTH).sights, "it has answered"


def test_a_proposal_without_features_waits_for_nothing(court: Court) -> None:
    plain = Proposal("s", EPOCH, LENGTH, [], [])
    assert court.proposed(plain, 0.0) == plain


def test_a_session_that_ends_leaves_nothing(court: Court) -> None:
    court.saw(seen(0))
    court.forget("s")
    assert len(court) == 0
    assert court.ruled(b"head", ruling(0, 0.9)) is None
