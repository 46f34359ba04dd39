"""How many tokens to guess: as many as commit the most tokens a second, or none.

A session pays for what it adds to the passes of all, and each token it commits is worth what one
costs the crowd: the sessions of a verifier, all at the best common budget (`forecasts.py`).
Whatever is chosen, the text is the same.
"""

from dataclasses import dataclass, field

from ringroad.actors.messages import Pass
from ringroad.actors.router.costs import JUST
from ringroad.actors.router.forecasts import Chances, Load, Plan, forecast, plans
from ringroad.actors.router.pace import Pace, Record, like, of_all

GAIN = 1.03  # guessing must promise so much: the best of several estimates flatters itself
CREDIT = 0.01  # of the verifier's time, for trying what does not look best
FIRST = 4  # guesses a round while nobody knows what a draft pass costs
TRIED = 2  # guesses where a session that has none tries again
DOUBT = 0.9  # what is known counts for so much when a session tries again
MISSED = 800  # tokens that a drafter may have to read only for its passes to be measured
HORIZON = 64  # tokens within which a drafter that must read much has to earn it


@dataclass
class Budget:
    """The budgets of all sessions of a router; no clock, no randomness."""

    ceiling: int  # guesses a round at most
    _all: Record = field(default_factory=of_all)
    _credit: float = 0.0  # seconds

    def pace(self) -> Pace:
        """A new session's, which is expected to do as the others did."""
        return like(self._all)

    def earn(self, took: Pass) -> None:
        """A session's part in a verifier's pass gives credit for tries."""
        self._credit += CREDIT * took.seconds / max(1, took.sessions)

    def choose(self, pace: Pace, load: Load, unread: int, left: int) -> int:
        """Guesses for a session's next round; 0 where the large model should go on alone.

        `unread` tokens of its text the drafter has not read, `left` may still be committed.
        """
        if not self.ceiling or not load.knows_plain:
            pace.trying = False
            return 0  # what the plain path costs is measured, never only inferred
        plain, little = load.judging.curve.at(1.0), unread <= MISSED
        # A drafter with more sessions may have another verifier, as fast as that one is.
        if load.verifier_sessions == load.drafter_sessions == 1 and load.drafting.doubt(plain, now=little):
            load.judging.curve.age(but=JUST)
        if load.verifier_sessions == 1 and little and load.drafting.lessons and not load.knows_drafting:
            load.drafting.lessons -= 1
            pace.trying = False
            return min(self.ceiling, load.ceiling, FIRST)  # and so is drafting
        found = self._plans(pace, load)
        best = min(found, key=lambda plan: plan.excess)
        # Who reads for it goes over from none to some: where that pays for all, tokens are still worth what
        # they cost without guesses.
        excess = best.excess if load.held_up else min(best.excess, best.common_excess)
        gain = -excess * min(left, HORIZON) / best.tokens
        if gain <= load.reading(unread):
            return self._try(pace, load, unread, found)
        pace.trying = False
        return best.guesses

    def _plans(self, pace: Pace, load: Load) -> list[Plan]:
        ceiling = min(self.ceiling, load.ceiling)
        own = pace.record.chances(ceiling)
        rounds = forecast(load, own if load.verifier_sessions == 1 else self._all.chances(ceiling))
        common = min(range(ceiling + 1), key=lambda count: rounds[count].each * (GAIN if count else 1.0))
        if load.held_up:
            common = 0  # where all wait for the drafts of some, a guess must pay for whoever makes it alone
        return plans(load, own, rounds, common, margin=GAIN - 1.0)

    def _try(self, pace: Pace, load: Load, unread: int, found: list[Plan]) -> int:
        """Where none is best: some all the same, when the credit pays, and on as long as they stay."""
        tried = found[min(TRIED, len(found) - 1)]
        again = pace.trying and pace.succeeded and self._hopeful(load, tried.guesses)
        # Rows are known roughly, so a try may look cheap: never cheaper than were all to try at once.
        price = load.reading(unread) + max(tried.excess, tried.common_excess)
        pace.trying = self._pays(price, anyhow=again)
        if pace.trying and not again:
            pace.record.fade(DOUBT)
            self._all.fade(DOUBT ** (1.0 / load.verifier_sessions))  # every session's try adds to it
        return tried.guesses if pace.trying else 0

    def _pays(self, price: float, anyhow: bool) -> bool:
        """Spends the credit if it is enough; saved for two tries at most, since tries age.

        `anyhow` it may be overdrawn, by the price of two.
        """
        self._credit = min(self._credit, 2.0 * price)
        if self._credit < (-price if anyhow else price):
            return False
        self._credit -= price
        return True

    def _hopeful(self, load: Load, count: int) -> bool:
        """Whether guesses would pay if all of them were right."""
        plain, *guessed = forecast(load, Chances(*[[1.0] * count] * 3))
        return any(better.each * GAIN < plain.each for better in guessed)
