"""The hub's part in budget control: what it learns from answers, and what drafters are asked for."""

from collections import deque
from dataclasses import dataclass, field

import pytest

from ringroad.actors.messages import (
    Chunk,
    Consult,
    Draft,
    Hello,
    Message,
    Mode,
    Pass,
    Proposal,
    Sampling,
    Submit,
    Verdict,
)
from ringroad.actors.router.budget import Budget
from ringroad.actors.router.config import RouterConfig
from ringroad.actors.router.forecasts import Load
from ringroad.actors.router.pace import Pace, of_all
from ringroad.actors.router.router import Router

GATE, DRAFTER, VERIFIER = b"gate", b"drafter", b"verifier"


@dataclass
class Pair:
    """A router with a drafter and a verifier whose passes and agreement are given; no clock."""

    config: RouterConfig = field(default_factory=RouterConfig)
    right: bool = True  # whether the drafter's guesses are
    draft_seconds: float = 0.01
    slow: float = 1.0  # by how much the machine is, for both models
    first_pass: Pass | None = None  # what the drafter's first took, where it is unlike the others
    drafter_place: list[str] = field(default_factory=list)
    asked: deque[tuple[bytes, Message]] = field(default_factory=deque)
    budgets: list[int] = field(default_factory=list)  # of every round; 0 where the drafter was not asked
    text: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.router = Router(self.config, lambda to, message: self.asked.append((to, message)))
        for role in (DRAFTER, VERIFIER):
            self.meet(role)

    def meet(self, role: bytes, model: str = "") -> None:
        place = self.drafter_place if role == DRAFTER else ["a core 0", "a core 1"]
        self.router.receive(role, Hello(role.decode(), model, place=place), 0.0)

    def submit(
        self,
        mode: Mode = Mode.SPECULATIVE,
        max_tokens: int = 400,
        budget: int | None = None,
        prompt: int = 1,
    ) -> None:
        submit = Submit("s", [1] * prompt, max_tokens, mode, Sampling(), draft_tokens=budget)
        self.router.receive(GATE, submit, 0.0)
        self.run()

    def run(self) -> None:
        while self.asked:
            to, message = self.asked.popleft()
            match message:
                case Draft():
                    self._propose(message)
                case Consult():
                    self._judge(message)
                case Chunk(tokens=tokens) if to == GATE:
                    self.text += tokens

    def _propose(self, draft: Draft) -> None:
        length = draft.base + len(draft.tokens)
        tokens = [7 if self.right else 8] * draft.budget
        took = self.first_pass or Pass(self.slow * self.draft_seconds, 1, 1, draft.budget)
        self.first_pass = None
        self.router.receive(DRAFTER, Proposal(draft.session, draft.epoch, length, tokens, [], took=took), 0.0)

    def _judge(self, consult: Consult) -> None:
        length, count = consult.base + len(consult.tokens), len(consult.guesses)
        self.budgets.append(count)
        path = list(range(count)) if self.right else []
        took = Pass(self.slow * (0.06 + 0.006 * (count + 1)), count + 1, 1)
        self.router.receive(
            VERIFIER, Verdict(consult.session, consult.epoch, length, path, 7, took=took), 0.0
        )


def test_a_session_finds_its_budget() -> None:
    pair = Pair()
    pair.submit()
    assert pair.budgets[0] == 0, "what plain costs comes first"
    assert pair.budgets[-10:-1] == [8] * 9
    assert pair.text == [7] * 400
    pair.budgets.clear()
    pair.submit(max_tokens=100)
    assert pair.budgets[0] >= 6, "the next session begins where the others are"


@pytest.mark.parametrize("wrong", ["guesses", "costs"])
def test_where_it_does_not_pay_the_drafter_is_left_alone(wrong: str) -> None:
    pair = Pair(right=False) if wrong == "guesses" else Pair(draft_seconds=0.2)
    pair.submit()
    assert pair.text == [7] * 400
    assert sum(count > 0 for count in pair.budgets[40:]) <= 0.03 * len(pair.budgets)


def test_a_first_pass_that_reads_the_prompt_is_no_measure() -> None:
    """It is dear, and of one pass alone a curve would make all others half as dear: too dear to try again."""
    pair = Pair(first_pass=Pass(0.2, 40, 1, 8))
    pair.submit(max_tokens=100)
    assert sum(count > 0 for count in pair.budgets) >= len(pair.budgets) - 4


@pytest.mark.parametrize("right", [True, False])
def test_a_requests_own_number_is_kept_to(right: bool) -> None:
    pair = Pair(right=right)
    pair.submit(budget=5, max_tokens=100)
    assert set(pair.budgets[:-6]) == {5}


def test_control_can_be_switched_off() -> None:
    pair = Pair(RouterConfig(adapt=False, draft_tokens=6), right=False)
    pair.submit(max_tokens=50)
    assert set(pair.budgets[:40]) == {6}


def test_who_trusts_guesses_is_not_controlled() -> None:
    pair = Pair(RouterConfig(draft_tokens=3), draft_seconds=5.0)
    pair.submit(Mode.SMALL, max_tokens=30)
    assert pair.budgets == []
    assert pair.text == [7] * 30


def test_plain_sessions_teach_what_plain_costs() -> None:
    pair = Pair()
    pair.submit(Mode.LARGE, max_tokens=20)
    pair.budgets.clear()
    pair.submit(max_tokens=50)
    assert pair.budgets[0] > 0


def test_of_those_that_come_together_only_the_first_is_drafted_for_at_once() -> None:
    pair = Pair()
    pair.submit(max_tokens=60)  # so that guessing is known to pay
    for name in "abc":
        pair.router.receive(GATE, Submit(name, [1], 60, Mode.SPECULATIVE, Sampling()), 0.0)
    drafts = [message.session for _, message in pair.asked if isinstance(message, Draft)]
    consults = [message.session for _, message in pair.asked if isinstance(message, Consult)]
    assert (drafts, consults) == (["a"], ["b", "c"])


def test_a_strange_first_text_does_not_decide_for_the_next() -> None:
    pair = Pair(right=False)
    pair.submit(max_tokens=16)
    pair.right = True
    pair.budgets.clear()
    pair.submit(max_tokens=100)
    assert pair.budgets[0] > 0
    assert len(pair.budgets) < 30


@pytest.mark.parametrize("model", ["", "other"])
def test_drafters_that_come_and_go_are_used_every_time(model: str) -> None:
    """The first pass of each reads the prompt, and says little of what guesses cost."""
    pair = Pair()
    for time in range(12):
        pair.budgets.clear()
        pair.first_pass = Pass(0.3, 150, 1, 8)
        pair.submit(max_tokens=100)
        assert sum(count > 0 for count in pair.budgets) >= len(pair.budgets) - 4, time
        assert len(pair.budgets) < 30, time
        for role in (DRAFTER, VERIFIER):
            pair.router.lose(role)
            pair.meet(role, f"{model}{time}" if model else "")


def test_what_a_busy_start_taught_is_forgotten_though_plain_requests_came_between() -> None:
    pair = Pair(draft_seconds=0.05, slow=8.0)
    pair.submit(max_tokens=16)
    pair.slow, pair.draft_seconds = 1.0, 0.01
    pair.submit(Mode.LARGE, max_tokens=100)
    pair.budgets.clear()
    pair.submit(max_tokens=60)
    assert sum(count > 0 for count in pair.budgets) >= len(pair.budgets) - 2


@pytest.mark.parametrize(
    ("place", "shared"), [(["a core 1", "a core 2"], True), (["b core 1"], False), ([], False)]
)
def test_control_knows_who_computes_on_the_same_cores(
    place: list[str], shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[Load] = []
    choose = Budget.choose

    def watched(self: Budget, pace: Pace, load: Load, unread: int, left: int) -> int:
        loads.append(load)
        return choose(self, pace, load, unread, left)

    monkeypatch.setattr(Budget, "choose", watched)
    Pair(drafter_place=place).submit(max_tokens=10)
    assert {load.one_place for load in loads} == {shared}


def test_a_crowd_that_guesses_nothing_seldom_asks_whether_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """To choose takes the router a share of every round; alone, a session chooses every time."""
    chosen: list[int] = []
    choose = Budget.choose

    def watched(self: Budget, pace: Pace, load: Load, unread: int, left: int) -> int:
        chosen.append(load.verifier_sessions)
        return choose(self, pace, load, unread, left)

    monkeypatch.setattr(Budget, "choose", watched)
    pair = Pair(right=False, draft_seconds=0.2)
    for name, tokens in (("a", 400), ("b", 200)):
        pair.router.receive(GATE, Submit(name, [1], tokens, Mode.SPECULATIVE, Sampling()), 0.0)
    pair.run()
    assert len(pair.text) == 600
    assert chosen.count(2) <= 400 / 4
    assert chosen.count(1) >= 150


def test_who_guesses_chooses_every_time() -> None:
    pace = Pace(of_all())
    assert [pace.looks(idle=True) for _ in range(16)].count(True) == 4  # after 1, 2, 4 and 8 rounds
    pace.trying = True
    assert pace.looks(idle=True)
    pace.trying = False
    assert pace.looks(idle=False)
    assert pace.looks(idle=True)


@pytest.mark.parametrize("prompt", [50, 150])
def test_a_lone_session_is_worth_reading_a_prompt_for(prompt: int) -> None:
    """Where a guess is cheap and right, whatever little it brings beyond the best there is."""
    pair = Pair(draft_seconds=0.015)
    pair.first_pass = Pass(0.0013 * prompt, prompt, 1, 4)
    pair.submit(max_tokens=60, prompt=prompt)
    pair.budgets.clear()
    pair.first_pass = Pass(0.0013 * prompt, prompt, 1, 8)
    pair.submit(max_tokens=60, prompt=prompt)
    assert pair.budgets[0] > 0
    assert len(pair.budgets) < 15
