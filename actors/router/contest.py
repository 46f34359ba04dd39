"""Which of several ways is fastest, learnt from what is going on anyway and from rare, short tries."""

from dataclasses import dataclass, field
from math import inf, log, sqrt

TRY = 6.0  # rounds of each session; half of them must be seen, and of the best way before it as many
REST = 32.0  # rounds between tries while nothing is known
LONGEST = 4096.0  # rounds between tries of what costs more than the best, in the end
SOONEST = 256.0  # the same of what costs less, to which a change of load should lead back soon
MEMORY = 32.0  # tries that are remembered
SURPRISE = 3.0  # standard deviations from which on something else seems to have changed
LEFT = 2.0  # tries that those before a surprise still count for
FEWEST = 3.0  # tries that a change of the best way takes
GUESSED = 0.3  # the standard deviation of a try's gain before any was seen
WEIGHT = 2.0  # tries that this guess is worth
CLEAR = log(1.03)  # the gain that is worth a change
SURE = 2.0  # standard errors of a mean between which it may really lie


@dataclass
class Tally:
    """What some rounds committed."""

    rounds: float = 0.0
    tokens: float = 0.0
    seconds: float = 0.0

    def add(self, tokens: float, seconds: float) -> None:
        """One more."""
        self.rounds += 1.0
        self.tokens += tokens
        self.seconds += seconds

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds


@dataclass
class Gain:
    """The gains of tries: logarithms of how many times as fast a way was as the best one just before."""

    tries: float = 0.0
    mean: float = 0.0
    rest: float = REST  # rounds until the next try
    _squares: float = 0.0  # of differences from the mean, added up

    def add(self, gain: float) -> None:
        """One more try. Old ones fade, more so where it is unlike them."""
        most = MEMORY - 1.0
        if self.tries > LEFT and abs(gain - self.mean) > SURPRISE * sqrt(self.variance):
            most, self.rest = LEFT, REST
        fade = min(1.0, most / max(1.0, self.tries))
        self.tries, self._squares = self.tries * fade + 1.0, self._squares * fade
        step = gain - self.mean
        self.mean += step / self.tries
        self._squares += step * (gain - self.mean)

    @property
    def variance(self) -> float:
        """Of a try's gain."""
        return (self._squares + WEIGHT * GUESSED**2) / (self.tries + WEIGHT)

    @property
    def error(self) -> float:
        """Of the mean: its standard error."""
        return sqrt(self.variance / self.tries) if self.tries else inf


@dataclass
class Contest:
    """Ways in an order such that each costs more than the one before it; no clock, no randomness.

    The best way so far is followed. Now and then a neighbour of it is tried for some rounds and compared
    with the rounds before: committed tokens a second of a session. What wins clearly is the best from
    then on; while it loses clearly, tries become exponentially rarer. A way beyond one that loses is not
    tried at all.
    """

    ways: int
    best: int = 0
    _trying: int | None = None
    _rounds: float = 0.0  # of each session, so far
    _until: float = 0.0  # the round at which a try ends
    _due: dict[int, float] = field(default_factory=dict)  # the round at which a way is tried next
    _gains: dict[int, Gain] = field(default_factory=dict)
    _tallies: dict[int, Tally] = field(default_factory=dict)  # since the last try began or ended

    def choose(self, sessions: int) -> int:
        """The way of the next round of one of so many sessions."""
        self._rounds += 1.0 / sessions
        if self._trying is not None and self._rounds >= self._until:
            self._judge(self._trying, sessions)
        if self._trying is None:
            self._try()
        return self.best if self._trying is None else self._trying

    def observe(self, way: int, tokens: float, seconds: float) -> None:
        """What a round committed that went the same way as the session's last."""
        if seconds > 0.0:  # as in a simulation without a clock
            self._tallies.setdefault(way, Tally()).add(tokens, seconds)

    def _try(self) -> None:
        around = (way for way in (self.best - 1, self.best + 1) if 0 <= way < self.ways)
        due = {way: self._due.setdefault(way, self._rounds + REST) for way in around}
        way = min(due, key=lambda way: due[way], default=self.best)
        if way != self.best and due[way] <= self._rounds:
            self._trying = way
            self._until = self._rounds + TRY + 1.0  # the first round reaps what the way before it has sown
            self._tallies.pop(way, None)

    def _judge(self, way: int, sessions: int) -> None:
        """A try is over."""
        self._trying = None
        gain = self._gains.setdefault(way, Gain())
        tried, usual = self._tallies.pop(way, Tally()), self._tallies.pop(self.best, Tally())
        last = gain.mean
        if min(tried.rounds, usual.rounds) >= TRY * sessions / 2:
            last = log(tried.rate / usual.rate)
            gain.add(last)
        if gain.tries >= FEWEST and gain.mean > max(CLEAR, SURE * gain.error):
            self.best = way
            self._gains.clear()
            self._due.clear()
            return
        if gain.mean > 0.0 or (way < self.best and last > 0.0):  # the cheaper way needs less evidence
            gain.rest = REST
        elif gain.mean + SURE * gain.error < CLEAR:
            gain.rest = min(2.0 * gain.rest, LONGEST if way > self.best else SOONEST)
        self._due[way] = self._rounds + gain.rest
