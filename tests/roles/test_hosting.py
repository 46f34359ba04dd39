"""The loop of a role: who meets in a step."""

import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from ringroad.actors import hosting
from ringroad.actors.channel import Spoke
from ringroad.actors.hosting import run_role
from ringroad.actors.messages import Close, Hello, Message


@dataclass
class Fake:
    """A role that answers all it was asked, and a router behind it that asks some sessions again."""

    again: frozenset[str] = frozenset()  # sessions that come back
    late: float = 0.0  # seconds until they do
    ends: int = 4  # steps
    place: threading.Event = field(default_factory=threading.Event)
    inbox: "queue.SimpleQueue[Sequence[Message]]" = field(default_factory=queue.SimpleQueue)
    asked: list[Message] = field(default_factory=list)
    steps: list[set[str]] = field(default_factory=list)
    during: dict[int, str] = field(default_factory=dict)  # who asks while a step runs

    @property
    def busy(self) -> bool:
        return bool(self.asked)

    def hello(self) -> Hello:
        return Hello("verifier")

    def receive(self, message: Message) -> None:
        self.asked.append(message)

    def step(self) -> list[Message]:
        if len(self.steps) in self.during:
            self.inbox.put([Close(self.during[len(self.steps)])])
        answers, self.asked = self.asked, []
        self.steps.append({answer.session for answer in answers if isinstance(answer, Close)})
        if len(self.steps) == self.ends:
            self.place.set()
        return answers

    def rescue(self) -> list[Message]:
        return []

    def send(self, messages: Sequence[Message]) -> None:
        back = [each for each in messages if isinstance(each, Close) and each.session in self.again]
        if back:
            threading.Timer(self.late, self.inbox.put, [back]).start()

    def run(self, *asked: str) -> list[set[str]]:
        """The sessions of each step, when these ask first."""
        self.inbox.put([Close(name) for name in asked])
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
