"""A hub whose sessions draft and are judged in turns: for tests of who waits for whom."""

from ringroad.actors.messages import (
    Consult,
    Draft,
    Features,
    Hello,
    Message,
    Mode,
    Policy,
    Proposal,
    Sampling,
    Submit,
    Verdict,
)
from ringroad.actors.router.config import RouterConfig
from ringroad.actors.router.router import Router

GATE, DRAFT, JUDGE = b"gate", b"draft", b"judge"
SHARED = ["host core 0", "host core 1"]
ROUTED = Policy("margin", 0.5)
KEPT, DOUBTED = [0.9, 0.9], [0.9, 0.1]  # margins of two guesses


class Hub:
    """A router whose drafter and verifier answer when they are told to."""

    def __init__(self, *sessions: str, drafter: list[str] = SHARED, verifier: list[str] = SHARED) -> None:
        """The sessions have read their prompts and have one token."""
        self.sent: list[tuple[bytes, Message]] = []
        self.now = 0.0
        self.drafts: dict[str, Draft] = {}  # that wait for an answer
        self.last: dict[str, Consult] = {}
        self.router = Router(RouterConfig(until=None, lost_after_seconds=3.0), self.send)
        self.hears(DRAFT, Hello("drafter", place=drafter))
        self.hears(JUDGE, Hello("verifier", place=verifier))
        for turn in (self.begin, self.propose, self.judge):
            for name in sessions:
                turn(name)

    def send(self, to: bytes, message: Message) -> None:
        self.sent.append((to, message))
        if to == DRAFT and isinstance(message, Draft):
            self.drafts[message.session] = message
        if isinstance(message, Consult):
            self.last[message.session] = message

    def hears(self, sender: bytes, *messages: Message) -> None:
        self.router.receive_all(sender, messages, self.now)

    def begin(
        self,
        name: str,
        mode: Mode = Mode.SPECULATIVE,
        prompt: int = 40,
        budget: int = 2,
        policy: Policy | None = None,
    ) -> None:
        asked = Submit(name, [1] * prompt, 30, mode, Sampling(), draft_tokens=budget, policy=policy)
        self.hears(GATE, asked)

    def propose(self, name: str, margins: list[float] | None = None) -> None:
        draft = self.drafts.pop(name)
        seen = None if margins is None else Features(margins, [0.0] * len(margins))
        self.hears(DRAFT, Proposal(name, draft.epoch, draft.base + len(draft.tokens), [5, 6], [], seen))

    def judge(self, *names: str) -> None:
        self.hears(JUDGE, *map(self.verdict, names))

    def verdict(self, name: str) -> Verdict:
        """That all guesses stay."""
        consult = self.last[name]
        length = consult.base + len(consult.tokens)
        return Verdict(name, consult.epoch, length, list(range(len(consult.guesses))), 7)

    def consults(self) -> list[Consult]:
        return [each for to, each in self.sent if to == JUDGE and isinstance(each, Consult)]

    def asked(self) -> list[str]:
        """The sessions that the verifier was asked about since."""
        found = [each.session for each in self.consults()]
        self.sent.clear()
        return found

    def drafting(self) -> list[str]:
        """The sessions that the drafter was asked about, and has not answered."""
        return sorted(self.drafts)


def routed(*sessions: str, drafter: list[str] = SHARED) -> Hub:
    """Routed sessions that both models have read, with a draft of each under way."""
    hub = Hub(drafter=drafter)
    for name in sessions:
        hub.begin(name, Mode.ROUTED, policy=ROUTED)
    for name in sessions:
        hub.propose(name, DOUBTED)
    hub.judge(*sessions)
    assert hub.drafting() == sorted(sessions)
    hub.asked()
    return hub
