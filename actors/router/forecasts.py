"""What budgets are expected to commit and to cost.

A round of d guesses commits 1 + sum over i <= d of P(i guesses accepted) tokens, and takes d draft
passes and a consult of d + 1 rows: the model of DEL and Kangaroo, with a running chance for every
position in place of one acceptance rate, and measured passes in place of constants.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ringroad.actors.router.costs import Meter


@dataclass(frozen=True)
class Load:
    """What a session shares its peers with."""

    drafting: Meter
    judging: Meter
    drafter_sessions: int
    verifier_sessions: int
    one_place: bool = False  # both compute on the same cores or device

    @property
    def held_up(self) -> bool:
        """Whether a draft holds up sessions that did not ask for it."""
        return self.one_place and self.verifier_sessions > 1

    @property
    def knows_plain(self) -> bool:
        """Whether it is measured what a consult costs where nobody guesses."""
        return self.judging.curve.knows(self.judging.served(self.verifier_sessions, guessing=False))

    @property
    def knows_drafting(self) -> bool:
        """Whether draft passes were measured lately that read no prompt: others say little of these."""
        known = 2.0 * self.drafting.served(self.drafter_sessions, guessing=True)
        return self.drafting.curve.most == 0.0 or self.drafting.curve.least <= known  # 0: none needs a model

    @property
    def ceiling(self) -> int:
        """No more guesses than double the largest consult seen: what lies beyond is a guess itself."""
        served = self.judging.served(self.verifier_sessions, guessing=True)
        return max(1, int(2.0 * self.judging.curve.most / served) - 1)

    def reading(self, unread: int) -> float:
        """Seconds a drafter takes to catch up."""
        return self.drafting.curve.at(unread) - self.drafting.curve.at(1)


@dataclass(frozen=True)
class Round:
    """What a proposal and its verdict commit, and a session's share of what they cost."""

    tokens: float
    guesses: float
    seconds: float

    @property
    def each(self) -> float:
        """Seconds a committed token."""
        return self.seconds / self.tokens


@dataclass(frozen=True)
class Plan:
    """A budget for one session."""

    guesses: int
    tokens: float  # it commits a round
    excess: float  # seconds it costs all more than no guesses, less what its tokens are worth
    common_excess: float  # the same, were all to have this budget


@dataclass(frozen=True)
class Chances:
    """Of the i-th guess of a round, from the first on."""

    stays: list[float]
    made: list[float]  # the rows it is expected to bring
    drafted: list[float]  # by a draft pass of its own; strategies without a model need none

    def triples(self) -> Iterator[tuple[float, float, float]]:
        """Guess by guess."""
        return zip(self.stays, self.made, self.drafted, strict=True)


def forecast(load: Load, chances: Chances) -> list[Round]:
    """Rounds of 0, 1, .. guesses, were all sessions to do the same."""
    sessions, drafters = load.verifier_sessions, load.drafter_sessions
    together = load.drafting.served(drafters, guessing=True)
    rounds = [Round(1.0, 0.0, load.judging.share(1.0, sessions, guessing=False))]
    drafts = guesses = kept = 0.0
    for stays, made, drafted in chances.triples():
        kept, guesses = kept + stays, guesses + made
        # The others of a batch of sessions may have stopped; a pass runs as long as one goes on.
        drafts += load.drafting.curve.at(max(1.0, together * drafted)) * _any(drafted, together) / together
        # A drafter whose guesses all stayed has not read the last of them: one row more.
        reading = load.drafting.curve.slope(together) * stays
        judging = load.judging.share(1.0 + guesses, sessions, guessing=True)
        rounds.append(Round(1.0 + kept, guesses, drafts + reading + judging))
    return rounds


def _any(chance: float, sessions: float) -> float:
    """The chance that one of so many sessions at least goes on."""
    return float(1.0 - (1.0 - min(1.0, chance)) ** sessions)


def plans(load: Load, chances: Chances, rounds: list[Round], common: int, margin: float) -> list[Plan]:
    """Budgets 0, 1, .. for one session while the others have `common` guesses, as `rounds` says.

    Passes the others make anyway cost a session only its own rows; passes beyond theirs, all.
    """
    plain, worth = rounds[0], rounds[common].each
    company = load.drafting.served(load.drafter_sessions, guessing=True) - 1.0
    others = (load.judging.served(load.verifier_sessions, bool(common)) - 1.0) * (
        1.0 + rounds[common].guesses
    )
    lone = load.drafting.curve.at(1.0)
    found = [Plan(0, 1.0, 0.0, 0.0)]
    tokens, guesses, drafts = 1.0, 0.0, 0.0
    for i, (stays, made, drafted) in enumerate(chances.triples()):
        tokens, guesses = tokens + stays, guesses + made
        joined = _any(drafted, company) if i < common else 0.0
        row = load.drafting.curve.slope(1.0 + company * drafted)
        drafts += drafted * (joined * row + (1.0 - joined) * lone)
        rows = load.judging.added(others, 1.0 + guesses)
        if load.held_up:  # who waits for a draft of its own is judged alone, for the others have gone on
            rows += chances.drafted[0] * (load.judging.curve.at(1.0 + guesses) - rows)
        rows -= load.judging.added(others, 1.0)
        reading = load.drafting.curve.slope(1.0 + company) * stays
        excess = drafts + reading + rows - (tokens - 1.0) * worth + margin * plain.each * tokens
        all_so = rounds[i + 1]
        common_excess = all_so.seconds - all_so.tokens * (1.0 - margin) * plain.each
        found.append(Plan(i + 1, tokens, excess, common_excess))
    return found
