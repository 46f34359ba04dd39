"""The router's part in working ahead: what drafters are told to prepare, and which rounds are a measure."""

import random
from dataclasses import dataclass, field

import msgspec
import pytest

from ringroad.actors.messages import (
    Consult,
    Draft,
    Hello,
    Message,
    Mode,
    Proposal,
    Sampling,
    Submit,
    ToDrafter,
    Verdict,
)
from ringroad.actors.router.config import RouterConfig
from ringroad.actors.router.contest import REST
from ringroad.actors.router.foresight import Foresight
from ringroad.actors.router.router import Router

GATE, DRAFTER, VERIFIER = b"gate", b"drafter", b"verifier"
SPEEDS = {"own hardware": (1.0, 1.5, 1.3), "shared": (1.0, 0.6, 0.5)}


@dataclass
class Pair:
    """A router with a drafter and a verifier. Every guess stays; a round takes 0.1 s, divided by the speed
    of what was prepared in it and before it. With a clock."""

    config: RouterConfig = field(default_factory=lambda: RouterConfig(adapt=False, draft_tokens=3))
    speeds: tuple[float, ...] = (1.0, 1.0, 1.0)
    model: str = "small"
    place: list[str] = field(default_factory=list)  # of both
    now: float = 0.0
    asked: list[tuple[bytes, Message]] = field(default_factory=list)
    outcomes: list[int] = field(default_factory=list)  # of every draft

    def __post_init__(self) -> None:
        self.chance = random.Random(1)
        self.router = Router(self.config, lambda to, message: self.asked.append((to, message)))
        self.hear(DRAFTER, Hello("drafter", self.model, place=self.place))
        self.hear(VERIFIER, Hello("verifier", place=self.place))

    def hear(self, sender: bytes, message: Message) -> None:
        self.router.receive(sender, message, self.now)

    def submit(
        self, name: str, tokens: int, mode: Mode = Mode.SPECULATIVE, budget: int | None = None
    ) -> None:
        self.hear(GATE, Submit(name, [1, 2], tokens, mode, Sampling(), draft_tokens=budget))

    def run(self, steps: int = 10**6) -> None:
        while self.asked and steps:
            to, message = self.asked.pop(0)
            steps -= self.answer(to, message)

    def answer(self, to: bytes, message: Message) -> bool:
        match message:
            case Draft():
                self.outcomes.append(message.outcomes)
                length = message.base + len(message.tokens)
                tokens = [7] * message.budget
                self.hear(DRAFTER, Proposal(message.session, message.epoch, length, tokens, []))
            case Consult():
                length = message.base + len(message.tokens)
                way = [0, 1, 4].index(min(self.outcomes[-2:], default=0))
                self.now += 0.1 * self.chance.gauss(1.0, 0.1) / self.speeds[way]
                path = list(range(len(message.guesses)))
                self.hear(VERIFIER, Verdict(message.session, message.epoch, length, path, 7))
            case _:
                return False
        return True


@pytest.mark.parametrize(("ahead", "outcomes"), [("serial", 0), ("ahead", 1), ("enumerate", 6)])
def test_what_is_set_is_what_is_asked_for(ahead: str, outcomes: int) -> None:
    pair = Pair(RouterConfig(adapt=False, ahead=ahead, outcomes=6))  # type: ignore[arg-type]
    pair.submit("s", 100)
    pair.hear(GATE, Submit("t", [1, 2], 30, Mode.ROUTED, Sampling()))
    drafts = {each.session: each.outcomes for _, each in pair.asked if isinstance(each, Draft)}
    assert drafts == {"s": outcomes, "t": 0}, "what nobody judges has no verdict to prepare for"


def test_who_shares_cores_works_ahead_when_told_to_alone() -> None:
    by_itself = Pair(speeds=SPEEDS["own hardware"], place=["core 0"])
    by_itself.submit("s", 4000)
    by_itself.run()
    assert set(by_itself.outcomes) == {0}
    told = Pair(RouterConfig(adapt=False, ahead="ahead"), place=["core 0"])
    told.submit("s", 40)
    told.run()
    assert set(told.outcomes) == {1}


def test_the_wire_carries_it_and_an_older_draft_wants_nothing() -> None:
    draft = Draft("s", 0, 0, [1], 3, judged=True, outcomes=4)
    sent = msgspec.msgpack.encode(draft)
    assert msgspec.msgpack.decode(sent, type=ToDrafter) == draft
    before = 1 + Draft.__struct_fields__.index("outcomes")  # behind the message's name
    older = msgspec.msgpack.decode(sent)[:before]
    assert msgspec.convert(older, ToDrafter) == Draft("s", 0, 0, [1], 3, judged=True)


@pytest.mark.parametrize("budget", [None, 2])
@pytest.mark.parametrize("where", SPEEDS)
def test_by_itself_it_does_what_is_faster(where: str, budget: int | None) -> None:
    """And a request's own number of guesses is kept to, whatever is prepared."""
    pair = Pair(speeds=SPEEDS[where])
    pair.submit("s", 4000, budget=budget)
    budgets = set()
    while pair.asked:
        to, message = pair.asked.pop(0)
        if isinstance(message, Draft):
            budgets.add(message.budget)
        pair.answer(to, message)
    assert max(budgets) == (budget or 3)
    late = pair.outcomes[-200:]
    assert (late.count(1) > 150) if where == "own hardware" else (late.count(0) > 180)
    assert pair.outcomes[:30] == [0] * 30, "serial first"


def test_drafters_without_a_model_prepare_nothing() -> None:
    pair = Pair(RouterConfig(ahead="ahead"), model="")
    pair.submit("s", 60, budget=3)
    pair.run()
    assert set(pair.outcomes) == {0}


def test_a_session_that_ends_is_no_longer_counted() -> None:
    pair = Pair()
    pair.submit("s", 40)
    pair.run()
    assert [len(peer.foresight._rounds) for peer in pair.router._peers.values()] == [0, 0]


# --- rounds that are a measure --------------------------------------------------------------------


class Seen:
    """Takes the place of a contest: says a way, and writes down what it is told."""

    def __init__(self) -> None:
        self.way = 0
        self.seen: list[tuple[int, float, float]] = []

    def choose(self, sessions: int) -> int:
        return self.way

    def observe(self, way: int, tokens: float, seconds: float) -> None:
        self.seen.append((way, tokens, seconds))


def watched(sessions: int = 1) -> tuple[Foresight, Seen]:
    foresight, seen = Foresight((0, 1, 4)), Seen()
    foresight._contests = {sessions.bit_length(): seen}  # type: ignore[dict-item]
    return foresight, seen


def played(foresight: Foresight, at: float, session: str = "s", reads: int = 1) -> None:
    foresight.drafted(session, reads, at)
    foresight.consulted(session, 1, at)
    foresight.judged(session, 3, at + 0.5)


def test_a_round_counts_where_the_one_before_went_the_same_way() -> None:
    foresight, seen = watched()
    for at, way in enumerate([0, 0, 1, 1, 1, 0, 0]):
        seen.way = way
        played(foresight, at)
    # From verdict to verdict: the first has none before it.
    assert seen.seen == [(way, 3, 1.0) for way in (0, 1, 1, 0)]
    assert foresight.drafted("s", 1, 9.0) == 0
    seen.way = 2
    assert foresight.drafted("s", 1, 9.0) == 4


def test_a_round_without_a_draft_does_not_count() -> None:
    foresight, seen = watched()
    played(foresight, 0)
    foresight.consulted("s", 1, 1.0)
    foresight.judged("s", 1, 1.5)
    played(foresight, 2)
    assert seen.seen == []
    played(foresight, 3)
    assert len(seen.seen) == 1


@pytest.mark.parametrize("role", ["drafter", "verifier"])
def test_while_anyone_reads_a_prompt_nothing_is_measured(role: str) -> None:
    foresight, seen = watched(2)
    for at in range(3):
        played(foresight, at, "s")
        played(foresight, at, "t")
    before = len(seen.seen)
    assert before == 4
    # "t" reads from 3.0 to 4.2; rounds of "s" end at 3.5 and 4.5, and only the one after began in quiet.
    if role == "drafter":
        foresight.drafted("t", 100, 3.0)
    else:
        foresight.drafted("t", 1, 3.0)
        foresight.consulted("t", 100, 3.0)
    played(foresight, 3, "s")
    foresight.judged("t", 1, 4.2)
    played(foresight, 4, "s")
    assert len(seen.seen) == before
    played(foresight, 5, "s")
    assert len(seen.seen) == before + 1


def test_who_leaves_while_reading_has_disturbed_too() -> None:
    foresight, seen = watched(1)
    for at in range(2):
        played(foresight, at)
    before = len(seen.seen)
    foresight.consulted("t", 100, 2.0)
    foresight.left("t", 2.2)
    played(foresight, 2)
    assert len(seen.seen) == before
    played(foresight, 3)
    assert len(seen.seen) == before + 1


def test_loads_are_contested_apart() -> None:
    foresight = Foresight((0, 1, 4))
    for count in (1, 2, 3, 4, 7, 8):
        for i in range(count):
            foresight.drafted(str(i), 1, 0.0)
    assert set(foresight._contests) == {1, 2, 3, 4}


def test_who_never_drafts_does_not_slow_the_contest_down() -> None:
    foresight = Foresight((0, 1))
    for name in "bcdefgh":
        foresight.consulted(name, 1, 0.0)
    first = next(i for i in range(1000) if _round_of(foresight, "a", float(i)) == 1)
    assert first < 2 * REST


def _round_of(foresight: Foresight, session: str, now: float) -> int:
    outcomes = foresight.drafted(session, 1, now)
    foresight.judged(session, 1, now + 1.0)
    return outcomes
