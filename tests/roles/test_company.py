"""Which consults the hub holds back until others of the same company have drafted."""

from ringroad.actors.messages import (
    Cancel,
    Close,
    Consult,
    Draft,
    Hello,
    Message,
    Mode,
    Open,
    Proposal,
    Sampling,
    Submit,
    Verdict,
)
from ringroad.actors.router.company import PATIENCE
from ringroad.actors.router.config import RouterConfig
from ringroad.actors.router.router import Router

GATE, DRAFT, JUDGE = b"gate", b"draft", b"judge"
SHARED = ["host core 0", "host core 1"]


class Hub:
    """A router whose drafter and verifier answer when they are told to."""

    def __init__(self, *sessions: str, drafter: list[str] = SHARED, verifier: list[str] = SHARED) -> None:
        """The sessions have read their prompts and have one token."""
        self.sent: list[tuple[bytes, Message]] = []
        self.now = 0.0
        self.router = Router(RouterConfig(until=None), lambda to, message: self.sent.append((to, message)))
        self.hears(DRAFT, Hello("drafter", place=drafter))
        self.hears(JUDGE, Hello("verifier", place=verifier))
        self.drafts: dict[str, Draft] = {}
        for turn in (self.begin, self.propose, self.judge):
            for name in sessions:
                turn(name)

    def hears(self, sender: bytes, *messages: Message) -> None:
        self.router.receive_all(sender, messages, self.now)
        for to, each in self.sent:
            if to == DRAFT and isinstance(each, Draft):
                self.drafts[each.session] = each

    def begin(self, name: str, mode: Mode = Mode.SPECULATIVE, prompt: int = 40, budget: int = 2) -> None:
        self.hears(GATE, Submit(name, [1] * prompt, 30, mode, Sampling(), draft_tokens=budget))

    def propose(self, name: str) -> None:
        draft = self.drafts[name]
        self.hears(DRAFT, Proposal(name, draft.epoch, draft.base + len(draft.tokens), [5, 6], []))

    def judge(self, *names: str) -> None:
        self.hears(JUDGE, *map(self.verdict, names))

    def verdict(self, name: str) -> Verdict:
        """That all guesses stay."""
        consult = next(each for each in reversed(self.consults()) if each.session == name)
        length = consult.base + len(consult.tokens)
        return Verdict(name, consult.epoch, length, list(range(len(consult.guesses))), 7)

    def consults(self) -> list[Consult]:
        return [each for to, each in self.sent if to == JUDGE and isinstance(each, Consult)]

    def asked(self) -> list[str]:
        """The sessions that the verifier was asked about since."""
        found = [each.session for each in self.consults()]
        self.sent.clear()
        return found


def test_sessions_of_one_place_are_judged_together() -> None:
    hub = Hub("a", "b", "c")
    hub.asked()
    hub.propose("b")
    hub.propose("a")
    assert hub.asked() == []
    hub.propose("c")
    assert hub.asked() == ["b", "a", "c"]


def test_sessions_of_other_places_go_ahead() -> None:
    hub = Hub("a", "b", drafter=["host cuda of 0"], verifier=["host cuda of 1"])
    hub.asked()
    hub.propose("a")
    assert hub.asked() == ["a"]


def test_one_core_in_common_is_enough() -> None:
    hub = Hub("a", "b", drafter=["host core 1"])
    hub.asked()
    hub.propose("a")
    assert hub.asked() == []


def test_who_guesses_nothing_waits_for_those_answered_with_it() -> None:
    hub = Hub("a", "b")
    hub.begin("c", budget=0)
    hub.propose("a")
    hub.propose("b")
    hub.judge("c", "a", "b")  # it asks for no draft, and its verdict is read first
    hub.asked()
    hub.propose("b")
    assert hub.asked() == []
    hub.propose("a")
    assert hub.asked() == ["c", "b", "a"]


def test_nobody_waits_for_a_prompt() -> None:
    hub = Hub("a")
    hub.begin("b")
    hub.asked()
    hub.propose("a")
    assert hub.asked() == ["a"]


def test_plain_sessions_do_not_wait() -> None:
    hub = Hub("a")
    hub.asked()
    hub.begin("b", Mode.LARGE)
    assert hub.asked() == ["b"]


def test_nobody_waits_for_small_sessions() -> None:
    hub = Hub("a")
    hub.begin("b", Mode.SMALL, prompt=1)
    hub.asked()
    hub.propose("a")
    assert hub.asked() == ["a"]


def test_nobody_waits_long_for_a_drafter_that_hangs() -> None:
    hub = Hub("a", "b")
    hub.asked()
    hub.propose("a")
    hub.now = 0.9 * PATIENCE
    hub.router.tick(hub.now)
    assert hub.asked() == []
    hub.now = 1.1 * PATIENCE
    hub.router.tick(hub.now)
    assert hub.asked() == ["a"]


def test_an_end_sets_others_free() -> None:
    hub = Hub("a", "b")
    hub.asked()
    hub.propose("a")
    hub.hears(GATE, Cancel("b"))
    assert hub.asked() == ["a"]


def test_one_that_waits_may_end() -> None:
    hub = Hub("a", "b")
    hub.asked()
    hub.propose("a")
    hub.hears(GATE, Cancel("a"))
    assert (JUDGE, Close("a")) in hub.sent
    hub.propose("b")
    assert hub.asked() == ["b"]


def test_a_lost_drafter_sets_all_free() -> None:
    hub = Hub("a", "b")
    hub.asked()
    hub.propose("a")
    hub.router.lose(DRAFT)
    assert sorted(hub.asked()) == ["a", "b"]


def test_one_that_waits_follows_to_another_verifier() -> None:
    hub = Hub("a", "b")
    other = b"other judge"
    hub.hears(other, Hello("verifier", place=SHARED))
    hub.propose("a")
    hub.sent.clear()
    hub.router.lose(JUDGE)
    assert not hub.consults()
    hub.propose("b")
    told = [
        (type(each), each.session)
        for to, each in hub.sent
        if to == other and isinstance(each, Open | Consult)
    ]
    assert sorted(told, key=str) == sorted(
        [(Open, "a"), (Consult, "a"), (Open, "b"), (Consult, "b")], key=str
    )
    texts = {each.session: each.tokens for to, each in hub.sent if to == other and isinstance(each, Consult)}
    assert texts == {name: [*[1] * 40, 5, 6, 7] for name in "ab"}
