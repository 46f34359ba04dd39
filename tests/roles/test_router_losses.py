"""Peers that a hub loses, alone or together: where their sessions go, and what counts as one loss."""

from ringroad.actors.messages import (
    Consult,
    Draft,
    Hello,
    Mode,
    Open,
    Proposal,
    Welcome,
)
from tests.roles.hubs import GATE, JUDGE, Hub


def test_a_lost_ones_sessions_are_spread() -> None:
    hub = Hub()
    judges = (b"judge-a", b"judge-b", b"judge-c")
    hub.greet(*judges)
    for name in "uvwxyz":
        hub.submit(name)
    for judge in judges:
        hub.take(judge)
    hub.router.lose(b"judge-a")
    moved = [len([m for m in hub.take(judge) if isinstance(m, Open)]) for judge in judges]
    assert moved == [0, 1, 1]


def test_verifiers_that_are_lost_together_are_one_loss() -> None:
    """Nobody is given to one that is gone as well, and blamed for it."""
    hub = Hub()
    judges = [b"judge-%d" % i for i in range(4)]
    hub.greet(*judges)
    hub.submit()
    for judge in judges:
        hub.take(judge)
    hub.router.lose(*judges)
    assert not any(isinstance(told, Consult) for judge in judges for told in hub.take(judge))
    assert hub.chunks() == []
    hub.hears(JUDGE, Hello("verifier"))
    assert [type(told) for told in hub.take(JUDGE)] == [Welcome, Open, Consult]


def test_a_drafter_and_a_verifier_that_are_lost_together_are_both_replaced() -> None:
    hub = Hub()
    hub.greet(b"draft-a", b"judge-a", b"draft-b", b"judge-b")
    hub.submit(mode=Mode.ROUTED)
    hub.take(b"draft-a"), hub.take(b"judge-a")
    hub.router.lose(b"judge-a", b"draft-a")
    assert [type(told) for told in hub.take(b"draft-b")] == [Open, Draft]
    hub.hears(b"draft-b", Proposal("s", 1, 3, [], []))
    assert [type(told) for told in hub.take(b"judge-b")] == [Open, Consult]


def test_silence_of_all_is_one_loss() -> None:
    hub = Hub()
    judges = [b"judge-%d" % i for i in range(4)]
    hub.greet(*judges)
    hub.hears(GATE, Hello("gateway"))
    hub.submit()
    hub.now = 100.0
    hub.hears(GATE, Hello("gateway"))
    hub.take(GATE)
    assert hub.router.tick(hub.now) == judges
    assert hub.chunks() == []
    assert len(hub.router) == 1


def test_a_session_of_another_router_goes_to_those_who_had_it() -> None:
    """They hold what they have computed of it. A new one goes to the least busy."""
    hub, judges = Hub(), (b"judge-a", b"judge-b", b"judge-c")
    for number, judge in enumerate(judges):
        hub.hears(judge, Hello("verifier", replica=number))
        hub.take(judge)
    hub.submit("s", at={"verifier": 1})
    assert [type(told) for told in hub.take(b"judge-b")] == [Open, Consult]
    hub.submit("t", at={"verifier": 1, "drafter": 1})
    (_, consult) = hub.take(b"judge-b")
    hub.judge(b"judge-b", consult)
    assert [chunk.at for chunk in hub.chunks()] == [{"verifier": 1}]
    hub.hears(b"judge-c", Hello("verifier", replica=2, leaving=True))
    hub.take(b"judge-c")
    hub.submit("u", at={"verifier": 2})
    hub.submit("v", at={"verifier": 7})
    assert [told.session for told in hub.take(b"judge-a") if isinstance(told, Open)] == ["u", "v"]
