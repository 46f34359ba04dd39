"""What became of a session's guesses, and of all sessions' guesses together."""

from dataclasses import dataclass, field

from ringroad.actors.messages import Proposal, Verdict
from ringroad.actors.router.chances import Chain
from ringroad.actors.router.forecasts import Chances

WIDENING = 0.05  # the weight of a new round
RAREST = 8  # rounds between looks of a session that guesses nothing
OWN, ALL = 0.95, 0.995  # memory of a session's chances, and of all sessions' together


@dataclass
class Record:
    """Running chances of guesses to be made, to need a draft pass, and to stay."""

    stays: Chain
    made: Chain
    drafted: Chain
    width: float = 1.0  # rows that a guess brings: second choices stand beside the first
    others: "Record | None" = None  # all sessions', this one's included

    def observe(self, allowed: int, made: int, passes: int, stayed: int) -> None:
        """Takes in a round in which up to `allowed` guesses were asked for, one below the other."""
        self._widen(max(1.0, made / allowed))
        self.stays.observe(stayed, allowed)
        self.made.observe(made, allowed)
        self.drafted.observe(min(passes, allowed), allowed)

    def _widen(self, seen: float) -> None:
        self.width += WIDENING * (seen - self.width)
        if self.others is not None:
            self.others._widen(seen)

    def fade(self, weight: float) -> None:
        """Makes all that is known count for less."""
        for chain in (self.stays, self.made, self.drafted):
            chain.fade(weight)

    def chances(self, count: int) -> Chances:
        """Of the first `count` guesses."""
        made = [self.width * chance for chance in self.made.reach(count)]
        return Chances(self.stays.reach(count), made, self.drafted.reach(count))


def of_all() -> Record:
    """The record of a router that has seen nothing yet."""
    stays, made, drafted = (Chain(ALL, trust=1.0) for _ in range(3))
    return Record(stays, made, drafted)


@dataclass
class Pace:
    """A session's record, its present round, and whether that is a try."""

    record: Record
    trying: bool = False
    succeeded: bool = False  # the last round kept a guess
    _rest: int = 1  # rounds between looks at what guesses would bring
    _rested: int = 0  # since the last one
    _round: tuple[int, int, int] = field(default=(0, 0, 0))  # allowed, made, passes

    def looks(self, idle: bool) -> bool:
        """Whether to choose anew in this round.

        Who guesses nothing, one of many, does it more and more rarely: choosing takes a share of a round.
        """
        self._rested += 1
        if idle and not self.trying and self._rested < self._rest:
            return False
        self._rest, self._rested = min(2 * self._rest, RAREST) if idle else 1, 0
        return True

    def proposed(self, allowed: int, proposal: Proposal) -> None:
        """The drafter has answered; it might have made `allowed` guesses."""
        passes = proposal.took.passes if proposal.took is not None else 0
        self._round = allowed, len(proposal.tokens), passes

    def judged(self, verdict: Verdict) -> None:
        """The round is over."""
        allowed, made, passes = self._round
        self._round = (0, 0, 0)
        self.succeeded = bool(verdict.path)
        if allowed:
            self.record.observe(allowed, made, passes, len(verdict.path))


def like(others: Record) -> Pace:
    """A new session's, which is expected to do as the others did."""
    # Hope: to stop guessing is dear to undo, for the drafter falls behind.
    stays = Chain(OWN, others.stays, hope=1.0)
    return Pace(Record(stays, Chain(OWN, others.made), Chain(OWN, others.drafted), others.width, others))
