"""Sessions that guess in step on scripted models: what passes cost and guesses bring is given."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from ringroad.actors.messages import Pass, Proposal, Verdict
from ringroad.actors.router.budget import Budget
from ringroad.actors.router.costs import Meter
from ringroad.actors.router.forecasts import Load
from ringroad.actors.router.pace import Pace

CEILING = 8
Seconds = Callable[[int], float]  # of a pass, by its rows


@dataclass(frozen=True)
class Machine:
    """What a pass of the drafter and of the verifier takes."""

    draft: Seconds
    judge: Seconds


MACHINES = {
    "cpu": Machine(lambda rows: 0.009 + 0.0012 * rows, lambda rows: 0.060 + 0.0062 * rows),
    "gpu": Machine(lambda rows: 0.006 + 0.00001 * rows, lambda rows: 0.030 + 0.00002 * rows),
    "dear drafter": Machine(lambda rows: 0.045 + 0.002 * rows, lambda rows: 0.060 + 0.0062 * rows),
    "free drafter": Machine(lambda rows: 0.00001, lambda rows: 0.060 + 0.0062 * rows),
}


@dataclass
class Crowd:
    """`sessions` of one verifier and one drafter, who wait for each other in every round.

    A guess is right with chance `right`, and the drafter goes on after one with chance `on`. Time is
    what the passes of a round add up to, with noise of `noise`; tokens are counted as expected.
    """

    machine: Machine
    sessions: int
    right: float
    on: float = 1.0
    fixed: int | None = None  # a budget for all in place of a controlled one
    noise: float = 0.05
    one_place: bool = False
    seconds: float = 0.0
    tokens: float = 0.0
    budgets: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(1)
        self.control = Budget(CEILING)
        self.drafting, self.judging = Meter(), Meter()
        self.paces: list[Pace] = []
        self.unread: list[int] = []
        self.hold(self.sessions)

    def hold(self, sessions: int) -> None:
        """Some sessions end, or others come."""
        self.sessions = sessions
        self.paces = [*self.paces, *(self.control.pace() for _ in range(sessions))][:sessions]
        self.unread = [*self.unread, *[1] * sessions][:sessions]
        self.budgets = [*self.budgets, *[self.fixed or 0] * sessions][:sessions]

    def rate(self, rounds: int) -> float:
        """Tokens a second over so many rounds from here."""
        tokens, seconds = self.tokens, self.seconds
        for _ in range(rounds):
            self.play()
        return (self.tokens - tokens) / (self.seconds - seconds)

    def play(self) -> None:
        """A round of all."""
        made = [self._guesses(budget) for budget in self.budgets]
        kept = [self._run(self.right, count) for count in made]
        first = self._draft(made)
        took = self._pass(self.machine.judge, sum(made) + self.sessions, self.sessions)
        now = sum(budget > 0 for budget in self.budgets)
        for i, pace in enumerate(self.paces):
            budget = self.budgets[i]
            self.tokens += 1.0 + sum(self.right * (self.right * self.on) ** depth for depth in range(budget))
            behind = 1 + (kept[i] == made[i])  # a drafter has not read its own last guess
            self.unread[i] = behind if made[i] else self.unread[i] + 1
            if self.fixed is not None:
                continue
            if budget:
                seen = Pass(first.seconds, first.rows, first.sessions, made[i])
                self.drafting.observe(seen, None if pace.trying else now, guessing=True)
                pace.proposed(budget, Proposal("s", 0, 0, [0] * made[i], [], took=seen))
            self.judging.observe(took, None if pace.trying else self.sessions, guessing=budget > 0)
            self.control.earn(took)
            pace.judged(Verdict("s", 0, 0, list(range(kept[i])), 0))
            load = Load(self.drafting, self.judging, self.sessions, self.sessions, self.one_place)
            self.budgets[i] = self.control.choose(pace, load, self.unread[i], left=10**6)

    def _guesses(self, budget: int) -> int:
        return min(budget, 1 + self._run(self.on, budget))

    def _run(self, chance: float, most: int) -> int:
        return next((i for i in range(most) if self.chance.random() >= chance), most)

    def _draft(self, made: list[int]) -> Pass:
        """The passes that make these guesses; the first of them."""
        first = Pass(0.0, 0, 1)
        for depth in range(max(made)):
            those = [i for i, count in enumerate(made) if count > depth]
            rows = sum(1 if depth else self.unread[i] for i in those)
            took = self._pass(self.machine.draft, rows, len(those))
            first = first if depth else took
        return first

    def _pass(self, seconds: Seconds, rows: int, sessions: int) -> Pass:
        took = seconds(rows) * self.chance.gauss(1.0, self.noise)
        self.seconds += took
        return Pass(took, rows, sessions)


def fixed_rates(machine: Machine, sessions: int, right: float, on: float, rounds: int) -> list[float]:
    """Tokens a second of every budget from none to the ceiling."""
    return [
        Crowd(machine, sessions, right, on, fixed=budget, noise=0.0).rate(rounds)
        for budget in range(CEILING + 1)
    ]
