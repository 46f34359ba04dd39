"""The loop of a role: who meets in a step."""

import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from ringroad.actors import hosting
from ringroad.actors.channel.spoke import Arrival, Link, Spoke
from ringroad.actors.hosting import run_role
from ringroad.actors.messages import Features, Hello, Message, Seen

ROUTER = b"router"


def asking(session: str) -> Seen:
    """A question."""
    return Seen(session, 0, 1, 0, [], Features([], []), b"")


@dataclass
class Fake:
    """A role that answers all it was asked, and a router behind it that asks some sessions again."""

    again: frozenset[str] = frozenset()  # sessions that come back
    late: float = 0.0  # seconds until they do
    ends: int = 4  # steps
    place: threading.Event = field(default_factory=threading.Event)
    inbox: "queue.SimpleQueue[Arrival]" = field(default_factory=queue.SimpleQueue)
    questions: list[Message] = field(default_factory=list)
    idle: bool = False  # whether there is always something to do
    takes: float = 0.0  # seconds of a step
    steps: list[set[str]] = field(default_factory=list)
    during: dict[int, str] = field(default_factory=dict)  # who asks while a step runs

    @property
    def busy(self) -> bool:
        return bool(self.questions) or self.idle

    @property
    def asked(self) -> bool:
        return bool(self.questions)

    def hello(self) -> Hello:
        return Hello("verifier")

    def receive(self, message: Message) -> None:
        self.questions.append(message)

    def step(self) -> list[Message]:
        if len(self.steps) in self.during:
            self.inbox.put((ROUTER, [asking(self.during[len(self.steps)])]))
        time.sleep(self.takes)
        answers, self.questions = self.questions, []
        self.steps.append({answer.session for answer in answers if isinstance(answer, Seen)})
        if len(self.steps) == self.ends:
            self.place.set()
        return answers

    def rescue(self) -> list[Message]:
        return []

    def send(self, link: Link, messages: Sequence[Message]) -> None:
        assert link == ROUTER
        back = [each for each in messages if isinstance(each, Seen) and each.session in self.again]
        if back:
            threading.Timer(self.late, self.inbox.put, [(link, back)]).start()

    def leave(self) -> None:
        """Nobody is told."""

    def run(self, *asked: str) -> list[set[str]]:
        """The sessions of each step, when these ask first."""
        self.inbox.put((ROUTER, [asking(name) for name in asked]))
        spoke: Spoke = self  # type: ignore[assignment]
        run_role(self, spoke, self.place)
        return self.steps


def test_who_asks_while_a_step_runs_meets_those_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosting, "COMPANY_SECONDS", 30.0)
    role = Fake(again=frozenset("abc"), late=0.02, during={1: "c"})
    assert role.run("a", "b") == [{"a", "b"}, {"a", "b"}, {"a", "b", "c"}, {"a", "b", "c"}]


def test_those_who_do_not_come_back_are_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosting, "COMPANY_SECONDS", 0.01)
    role = Fake(again=frozenset("a"), late=0.3, ends=3, during={0: "b"})
    assert role.run("a") == [{"a"}, {"b"}, {"a"}]


def test_a_long_step_is_worth_a_longer_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosting, "COMPANY_SECONDS", 0.0)
    monkeypatch.setattr(hosting, "COMPANY_SHARE", 100.0)
    role = Fake(again=frozenset("a"), late=0.05, ends=2, during={0: "b"}, takes=0.02)
    assert role.run("a") == [{"a"}, {"a", "b"}]


def test_who_has_spare_work_alone_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosting, "COMPANY_SECONDS", 30.0)
    role = Fake(ends=3, idle=True)
    began = time.monotonic()
    assert role.run("a") == [{"a"}, set(), set()]
    assert time.monotonic() - began < 10.0
