"""How many outcomes of a verdict drafters prepare for: what is measured to be fastest at a verifier."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

from ringroad.actors.router.contest import Contest

READS = 16  # tokens: who lacks more reads a text first, which says nothing of rounds


@dataclass
class Round:
    """A session's present one, from verdict to verdict."""

    began: float
    before: int | None = None  # the way of the last one; None: nobody drafted
    way: int | None = None
    contest: Contest | None = None  # that chose it
    reads: bool = False


@dataclass
class Foresight:
    """The rounds of a verifier's sessions, and which of several ways they all take.

    A way is a number of outcomes: 0 is serial, 1 draft-ahead (PEARL), more an enumeration (SSD), so each
    costs more than the one before it. It is contested for about so many sessions at a time, each power of
    two by itself. Only rounds in which no session of the verifier reads much text are measured.
    """

    ways: Sequence[int] = (0,)
    _rounds: dict[str, Round] = field(default_factory=dict)
    _contests: dict[int, Contest] = field(default_factory=dict)
    _calm: float = -inf  # since when nobody has read much

    def drafted(self, session: str, tokens: int, now: float) -> int:
        """Outcomes to prepare for in a round whose drafter is sent so many tokens to read."""
        mine = self._round(session, tokens, now)
        mine.contest = self._contest()
        drafting = sum(each is mine or each.before is not None for each in self._rounds.values())
        mine.way = mine.contest.choose(drafting)
        return self.ways[mine.way]

    def consulted(self, session: str, tokens: int, now: float) -> None:
        """The verifier is sent so many tokens to read, guesses apart."""
        self._round(session, tokens, now)

    def judged(self, session: str, committed: int, now: float) -> None:
        """A round ends: so many tokens were committed."""
        mine = self._rounds.get(session)
        if mine is None:
            return
        quiet = mine.began >= self._calm and not any(each.reads for each in self._rounds.values())
        same = mine.contest is self._contest() and mine.way == mine.before  # else another way has sown
        if mine.contest is not None and mine.way is not None and same and quiet:
            mine.contest.observe(mine.way, committed, now - mine.began)
        self.left(session, now)
        self._rounds[session] = Round(now, before=mine.way)

    def left(self, session: str, now: float) -> None:
        """A session is over, or elsewhere."""
        mine = self._rounds.pop(session, None)
        if mine is not None and mine.reads:
            self._calm = now

    def _round(self, session: str, tokens: int, now: float) -> Round:
        mine = self._rounds.setdefault(session, Round(now))
        mine.reads = mine.reads or tokens > READS
        return mine

    def _contest(self) -> Contest:
        return self._contests.setdefault(len(self._rounds).bit_length(), Contest(len(self.ways)))
