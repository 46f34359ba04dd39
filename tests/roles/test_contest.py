"""The contest of ways on simulated rounds: it picks the right one, and trying costs little."""

import random
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import mean

import pytest

from ringroad.actors.router.contest import REST, TRY, Contest

SEEDS = range(4)


@dataclass
class Room:
    """Sessions whose rounds commit a random number of tokens, in texts that are easy or hard for a while.

    `speeds` says how many times as fast a round is in each way. Rounds have noise, and sometimes a hiccup.
    """

    speeds: tuple[float, ...]
    sessions: int
    seed: int
    used: list[int] = field(default_factory=list)
    serial: float = 0.0  # seconds, had all rounds been serial
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.contest = Contest(len(self.speeds))
        self.before: list[int | None] = [None] * self.sessions
        self.hard = 0.7

    def play(self, rounds: int) -> float:
        """So many rounds of each session; how many times as fast they were as serial ones."""
        serial, seconds = self.serial, self.seconds
        for at in range(rounds):
            if at % 40 == 0:
                self.hard = self.chance.uniform(0.4, 0.9)
            for session in range(self.sessions):
                self._round(session)
        return (self.serial - serial) / (self.seconds - seconds)

    def _round(self, session: int) -> None:
        way = self.contest.choose(self.sessions)
        tokens = 1 + next((i for i in range(8) if self.chance.random() >= self.hard), 8)
        passes = min(8, tokens + self.chance.randrange(3))
        took = (0.06 + 0.011 * passes) * max(0.3, self.chance.gauss(1.0, 0.1))
        took *= 3.0 if self.chance.random() < 0.01 else 1.0
        mine = took / (1.0 + (self.speeds[way] - 1.0) * self.chance.uniform(0.5, 1.5))
        self.serial, self.seconds = self.serial + took, self.seconds + mine
        if way == self.before[session]:
            self.contest.observe(way, tokens, mine)
        self.before[session] = way
        self.used.append(way)


def rooms(speeds: tuple[float, ...], sessions: int) -> list[Room]:
    return [Room(speeds, sessions, seed) for seed in SEEDS]


@pytest.mark.parametrize("sessions", [1, 6])
@pytest.mark.parametrize("speeds", [(1.0, 0.6, 0.5), (1.0, 0.75, 0.6), (1.0, 0.9, 0.8), (1.0, 0.97, 0.95)])
def test_where_others_are_slower_it_stays_and_tries_cost_little(
    speeds: tuple[float, ...], sessions: int
) -> None:
    """Drafter and verifier on the same cores: work ahead slows the verdict it works ahead of."""
    for room in rooms(speeds, sessions):
        assert room.play(1000) > 0.955, "at first"
        assert room.play(4000) > 0.99, "then less than one percent"
        assert room.contest.best == 0
        assert 2 not in room.used, "what costs more than what loses is not tried"


@pytest.mark.parametrize("sessions", [1, 6])
@pytest.mark.parametrize("gain", [1.2, 1.4, 1.6])
def test_where_working_ahead_is_faster_it_is_found(gain: float, sessions: int) -> None:
    """A drafter on hardware of its own."""
    speeds = (1.0, gain, 0.95 * gain)
    played = rooms(speeds, sessions)
    for room in played:
        room.play(3000)
    found = sum(room.contest.best > 0 for room in played)
    assert found >= len(played) - (gain == 1.2), "a small gain may hide in the noise of a lone session"
    assert mean(room.play(1000) for room in played) > 1.0 + 0.7 * (gain - 1.0)


@pytest.mark.parametrize("sessions", [1, 6])
def test_the_dearest_is_found_beyond_the_next(sessions: int) -> None:
    played = rooms((1.0, 1.2, 1.5), sessions)
    for room in played:
        room.play(4000)
    assert sum(room.contest.best == 2 for room in played) >= len(played) - 1
    assert mean(room.play(500) for room in played) > 1.4


def test_it_turns_back_when_the_gain_is_gone() -> None:
    """The drafter's hardware is shared from now on."""
    for seed in SEEDS:
        room = Room((1.0, 1.5, 1.3), 4, seed)
        room.play(3000)
        assert room.contest.best == 1
        room.speeds = (1.0, 0.7, 0.6)
        room.play(2500)
        assert room.contest.best == 0


def test_tries_become_rare_while_they_lose() -> None:
    room = Room((1.0, 0.6), 1, 2)
    room.play(8000)
    tries = [at for at in range(1, len(room.used)) if room.used[at] > room.used[at - 1]]
    gaps = [later - sooner for sooner, later in pairwise(tries)]
    assert len(tries) < 12
    assert gaps[-1] > 1000
    assert tries[0] == REST
    assert sum(room.used) == len(tries) * (TRY + 1)


def test_one_way_is_no_contest() -> None:
    contest = Contest(1)
    for _ in range(200):
        assert contest.choose(3) == 0
        contest.observe(0, 4, 0.1)


def test_where_time_stands_still_nothing_is_learnt() -> None:
    contest = Contest(3)
    for _ in range(500):
        contest.observe(contest.choose(1), 4, 0.0)
    assert contest.best == 0


def test_a_try_of_which_nothing_was_seen_is_no_evidence() -> None:
    """As where every round was disturbed."""
    contest = Contest(2)
    for _ in range(2000):
        if contest.choose(1) == 0:
            contest.observe(0, 4, 0.1)
    assert contest.best == 0
    assert contest._gains[1].tries == 0
    assert contest._gains[1].rest == REST
