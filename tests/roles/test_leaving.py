"""Who is to stop: a role hands its sessions on and is released, and a role that several routers share."""

from ringroad.actors.messages import (
    Close,
    Consult,
    Forgotten,
    Hello,
    Message,
    Open,
    Roster,
    Sampling,
    Verdict,
    Welcome,
)
from ringroad.actors.role import Role
from ringroad.actors.shared import Shared
from tests.roles.test_router import GATE, WARM, Hub, large

OLD, NEW = b"judge-old", b"judge-new"


def leaving(hub: Hub, address: bytes) -> list[Message]:
    hub.hears(address, Hello("verifier", leaving=True))
    return hub.take(address)


def test_sessions_move_from_who_leaves_to_who_stays() -> None:
    hub = Hub()
    hub.greet(OLD)
    hub.submit()
    hub.judge(OLD, hub.take(OLD)[1])
    hub.take(OLD)
    hub.greet(NEW)
    assert leaving(hub, OLD) == [Welcome("router.1", leaving=True), Close("s")]
    asked = [Open("s", 1, WARM, 7), Consult("s", 1, 0, [1, 2, 3, large(3)])]
    assert hub.take(NEW) == asked
    hub.hears(OLD, Verdict("s", 0, 4, [], 99))  # on its way when it moved
    hub.router.lose(OLD)
    assert hub.take(NEW) == []
    for _ in range(3):
        hub.judge(NEW, asked[-1])
        asked = hub.take(NEW)
    *_, last = hub.chunks()
    assert last.counts is not None
    assert last.counts.degraded == []


def test_who_leaves_alone_is_asked_on_until_another_comes() -> None:
    hub = Hub()
    hub.greet(OLD)
    assert leaving(hub, OLD) == [Welcome("router.1", leaving=True)]
    hub.submit()
    assert [type(each) for each in hub.take(OLD)] == [Open, Consult]
    hub.hears(NEW, Hello("verifier"))
    assert hub.take(OLD) == [Close("s")]
    assert [type(each) for each in hub.take(NEW)] == [Welcome, Open, Consult]
    hub.submit("t")
    assert hub.take(OLD) == []
    assert [type(each) for each in hub.take(NEW)] == [Open, Consult]


def test_a_router_that_leaves_says_so_to_its_gateways() -> None:
    hub = Hub()
    hub.hears(GATE, Hello("gateway"))
    hub.take(GATE)
    hub.router.leave()
    assert hub.rosters() == [Roster([], leaving=True)]


class Fake:
    """A role that answers every consult with a verdict, and everything seen by handing it back."""

    def __init__(self) -> None:
        self.heard: list[Message] = []
        self.answers: list[Message] = []

    @property
    def busy(self) -> bool:
        return bool(self.answers)

    @property
    def asked(self) -> bool:
        return self.busy

    def hello(self) -> Hello:
        return Hello("verifier")

    def receive(self, message: Message) -> None:
        self.heard.append(message)
        if isinstance(message, Consult):
            self.answers.append(Forgotten(message.session, message.epoch))

    def step(self) -> list[Message]:
        answers, self.answers = self.answers, []
        return answers

    def rescue(self) -> list[Message]:
        return self.step()


def opened(name: str) -> list[Message]:
    return [Open(name, 0, Sampling()), Consult(name, 0, 0, [1])]


def test_answers_go_to_the_router_that_asked() -> None:
    role: Role = Fake()
    shared = Shared(role)
    shared.receive(b"a", [*opened("s"), *opened("t")])
    shared.receive(b"b", opened("u"))
    assert shared.step() == {b"a": [Forgotten("s", 0), Forgotten("t", 0)], b"b": [Forgotten("u", 0)]}


def test_who_asks_about_what_nobody_began_is_told() -> None:
    shared = Shared(Fake())
    shared.receive(b"a", opened("s")[1:])
    assert shared.step() == {b"a": [Forgotten("s", 0)]}


def test_a_lost_routers_sessions_end_and_no_others() -> None:
    role = Fake()
    shared = Shared(role)
    shared.receive(b"a", [Welcome("a.1"), *opened("s")])
    shared.receive(b"b", [Welcome("b.1"), *opened("u")])
    role.heard.clear()
    shared.lost(b"a")
    assert role.heard == [Close("s")]
    assert shared.step() == {b"b": [Forgotten("u", 0)]}
    shared.receive(b"c", [Welcome("a.2")])  # the same router, met again
    assert role.heard == [Close("s")]


def test_who_is_to_stop_is_released_when_all_routers_know_and_none_has_a_session() -> None:
    shared = Shared(Fake())
    shared.receive(b"a", [Welcome("a.1"), *opened("s")])
    shared.receive(b"b", [Welcome("b.1")])
    shared.receive(b"a", [Welcome("a.1", leaving=True)])
    shared.receive(b"a", [Close("s")])
    assert not shared.released, "the other router may still begin something"
    shared.receive(b"b", [Open("u", 0, Sampling()), Welcome("b.1", leaving=True)])
    assert not shared.released
    shared.receive(b"b", [Close("u")])
    assert shared.released
