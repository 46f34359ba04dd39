"""The hub with scripted peers: what it sends to whom, and how sessions move."""

import pytest

from ringroad.actors.messages import (
    Cancel,
    Chunk,
    Close,
    Consult,
    Draft,
    Finish,
    Forgotten,
    Hello,
    Mode,
    Open,
    Proposal,
    Roster,
    Submit,
    Verdict,
    Welcome,
)
from ringroad.actors.router.config import RouterConfig
from tests.roles.hubs import DRAFT, GATE, JUDGE, WARM, Hub, large


def test_a_text_in_chunks() -> None:
    hub = Hub()
    hub.greet(JUDGE)
    hub.submit(max_tokens=3)
    opened, asked = hub.take(JUDGE)
    assert opened == Open("s", 0, WARM, 6)
    assert asked == Consult("s", 0, 0, [1, 2, 3])
    for _ in range(3):
        hub.judge(JUDGE, asked)
        asked = hub.take(JUDGE)[0]
    assert asked == Close("s")
    *tokens, last = hub.chunks()
    assert [(c.offset, c.tokens, c.finish) for c in tokens] == [(i, [large(3 + i)], None) for i in range(3)]
    assert (last.offset, last.tokens, last.finish, last.error) == (3, [], Finish.LENGTH, "")
    assert last.counts is not None
    assert (last.counts.large, last.counts.consults) == (3, 3)
    assert len(hub.router) == 0


def test_replay_to_another_verifier() -> None:
    hub = Hub()
    hub.greet(b"judge-a")
    hub.submit()
    asked = hub.take(b"judge-a")[1]
    hub.judge(b"judge-a", asked)
    assert hub.take(b"judge-a") == [Consult("s", 0, 4, [])]
    hub.greet(b"judge-b")
    hub.router.lose(b"judge-a")
    assert hub.take(b"judge-b") == [Open("s", 1, WARM, 7), Consult("s", 1, 0, [1, 2, 3, large(3)])]
    hub.hears(b"judge-a", Verdict("s", 0, 4, [], 99))
    hub.hears(b"judge-a", Verdict("s", 1, 4, [], 99))
    assert [c.tokens for c in hub.chunks()] == [[large(3)]], "a verdict of the lost one"
    hub.judge(b"judge-b", Consult("s", 1, 0, [1, 2, 3, large(3)]))
    assert [c.tokens for c in hub.chunks()] == [[large(4)]]


def test_a_session_waits_for_a_verifier_to_come() -> None:
    hub = Hub()
    hub.greet(JUDGE)
    hub.submit()
    hub.router.lose(JUDGE)
    assert hub.chunks() == []
    hub.hears(b"judge-2", Hello("verifier"))
    assert hub.take(b"judge-2") == [Welcome("router.2"), Open("s", 1, WARM, 7), Consult("s", 1, 0, [1, 2, 3])]


def test_who_forgot_gets_everything_again() -> None:
    hub = Hub()
    hub.greet(JUDGE)
    hub.submit()
    hub.judge(JUDGE, hub.take(JUDGE)[1])
    hub.take(JUDGE)
    hub.hears(JUDGE, Forgotten("s", 0))
    again = [Open("s", 1, WARM, 7), Consult("s", 1, 0, [1, 2, 3, large(3)])]
    assert hub.take(JUDGE) == again
    hub.hears(JUDGE, Forgotten("s", 0))
    assert hub.take(JUDGE) == [], "a late one, of before it was opened again"


def test_a_drafter_gets_what_it_lacks() -> None:
    hub = Hub()
    hub.greet(DRAFT, JUDGE)
    hub.submit(mode=Mode.SPECULATIVE, max_tokens=9, draft_tokens=2)
    assert hub.take(DRAFT) == [Open("s", 0, WARM, 12), Draft("s", 0, 0, [1, 2, 3], 2, judged=True)]
    hub.hears(DRAFT, Proposal("s", 0, 3, [4, 5], [], held=1))
    assert hub.take(JUDGE) == [Open("s", 0, WARM, 12), Consult("s", 0, 0, [1, 2, 3], [4, 5])]
    hub.hears(JUDGE, Verdict("s", 0, 3, [0], 8))
    assert hub.take(DRAFT) == [Draft("s", 0, 4, [8], 2, judged=True)]
    hub.hears(DRAFT, Proposal("s", 0, 5, [6], []))
    assert hub.take(JUDGE) == [Consult("s", 0, 5, [], [6])]
    assert [c.tokens for c in hub.chunks()] == [[4, 8]]


def test_the_least_busy_is_chosen() -> None:
    hub = Hub()
    judges = (b"judge-a", b"judge-b", b"judge-c")
    hub.greet(*judges)
    for name in "uvwxyz":
        hub.submit(name)
    opened = {judge: [m.session for m in hub.take(judge) if isinstance(m, Open)] for judge in judges}
    assert sorted(map(len, opened.values())) == [2, 2, 2]
    for name in opened[b"judge-b"]:
        hub.hears(GATE, Cancel(name))
    hub.submit("next")
    assert [m.session for m in hub.take(b"judge-b") if isinstance(m, Open)] == ["next"]


def test_a_lost_gateway_cancels_its_own_sessions() -> None:
    hub = Hub()
    hub.greet(JUDGE)
    hub.submit("mine")
    hub.hears(b"other", Submit("other", [1], 4, Mode.LARGE, WARM))
    hub.take(JUDGE)
    hub.router.lose(GATE)
    assert hub.take(JUDGE) == [Close("mine")]
    assert len(hub.router) == 1


@pytest.mark.parametrize("reason", [Finish.CANCELLED, Finish.STOP])
def test_cancel_frees_everywhere(reason: Finish) -> None:
    hub = Hub()
    hub.greet(DRAFT, JUDGE)
    hub.submit(mode=Mode.SPECULATIVE)
    hub.take(DRAFT), hub.take(JUDGE)
    hub.hears(GATE, Cancel("s", reason))
    hub.hears(GATE, Cancel("s", reason))
    assert hub.take(DRAFT) == hub.take(JUDGE) == [Close("s")]
    assert [c.finish for c in hub.chunks()] == [reason]
    assert len(hub.router) == 0
    hub.hears(DRAFT, Proposal("s", 0, 3, [1], []))
    assert hub.take(GATE) == []


def test_a_name_in_use_is_refused_and_the_first_goes_on() -> None:
    hub = Hub()
    hub.greet(JUDGE)
    hub.submit(max_tokens=2)
    asked = hub.take(JUDGE)[1]
    hub.hears(b"other", Submit("s", [9], 4, Mode.LARGE, WARM))
    (refused,) = hub.take(b"other")
    assert isinstance(refused, Chunk)
    assert (refused.finish, refused.error) == (Finish.ERROR, "session exists")
    assert hub.take(JUDGE) == []
    hub.judge(JUDGE, asked)
    assert [c.tokens for c in hub.chunks()] == [[large(3)]]


def test_silence_is_death() -> None:
    hub = Hub(RouterConfig(lost_after_seconds=3.0))
    hub.greet(b"judge-a", b"judge-b")
    hub.submit()
    hub.now = 2.0
    hub.hears(b"judge-b", Hello("verifier"))
    hub.hears(GATE, Hello("gateway"))
    hub.router.tick(3.0)
    hub.take(b"judge-a"), hub.take(b"judge-b")
    hub.router.tick(3.1)
    assert hub.take(b"judge-a") == [Close("s")]
    assert [type(m) for m in hub.take(b"judge-b")] == [Open, Consult]
    roster = hub.rosters()[-1]
    assert roster == Roster([Hello("verifier")])


def test_a_router_that_was_paused_blames_nobody() -> None:
    hub = Hub(RouterConfig(lost_after_seconds=3.0))
    hub.greet(b"judge-a", b"judge-b")
    hub.hears(GATE, Hello("gateway"))
    assert hub.router.tick(1.0) == []
    assert hub.router.tick(9.0) == [], "nobody could be heard"
    hub.now = 10.0
    hub.hears(b"judge-b", Hello("verifier"))
    assert hub.router.tick(11.9) == []
    assert hub.router.tick(12.1) == [GATE, b"judge-a"], "who is silent from there on"


def test_gateways_hear_who_is_there() -> None:
    hub = Hub()
    hub.hears(GATE, Hello("gateway"))
    assert hub.rosters() == [Roster([])]
    hub.hears(JUDGE, Hello("verifier", "m"))
    assert hub.rosters() == [Roster([Hello("verifier", "m")])]
    hub.hears(JUDGE, Hello("verifier", "m", sessions=4))
    hub.router.tick(0.0)
    assert hub.rosters() == [Roster([Hello("verifier", "m", sessions=4)])]


@pytest.mark.parametrize("mode", [Mode.SMALL, Mode.ROUTED])
def test_a_drafter_lost_while_another_is_there_changes_no_text(mode: Mode) -> None:
    """The other one can say all the first could have: nobody else may speak instead."""
    hub = Hub()
    hub.greet(b"draft-a", b"draft-b", JUDGE)
    hub.submit(mode=mode)
    hub.take(b"draft-a")
    hub.router.lose(b"draft-a")
    assert hub.take(JUDGE) == []
    assert [type(m) for m in hub.take(b"draft-b")] == [Open, Draft]


def test_small_goes_on_without_any_verifier() -> None:
    hub = Hub()
    hub.greet(b"draft-a")
    hub.submit(mode=Mode.SMALL)
    hub.take(b"draft-a")
    hub.router.lose(b"draft-a")
    hub.hears(b"draft-b", Hello("drafter"))
    assert [type(m) for m in hub.take(b"draft-b")] == [Welcome, Open, Draft]


def test_every_meeting_has_a_name_and_a_heartbeat_repeats_it() -> None:
    """A peer that was taken for dead and comes back must void what it held; one in touch must not."""
    hub = Hub()
    names = []
    for _ in range(2):
        hub.hears(JUDGE, Hello("verifier"))
        hub.hears(JUDGE, Hello("verifier"))
        first, again = hub.take(JUDGE)
        assert first == again
        names.append(first)
        hub.router.lose(JUDGE)
    assert names[0] != names[1]
    hub.hears(b"stranger", Hello("cook"))
    assert hub.take(b"stranger") == []
