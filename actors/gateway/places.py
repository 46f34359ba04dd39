"""Places for requests that are generated, and a line of those that wait for one: both bounded, both
shared."""

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable
from typing import NamedTuple

from ringroad.actors.errors import TooBusy
from ringroad.actors.gateway.fair import ANSWER_COST, PROMPT_COST, Flow, Line

_RETRY_SECONDS = (1.0, 60.0)  # least and most that a client is told to wait


class _Held(NamedTuple):
    since: float  # in seconds of the event loop's clock
    flow: Flow


class _Waits(NamedTuple):
    flow: Flow
    tokens: int
    placed: Callable[[], None]
    refused: Callable[[TooBusy], None]


class Places:
    """Whoever waits is given a place in the order of `fair.py`.

    A tenant that holds less than its share of the places, and would be next, need not wait until one is
    free: it gets one of a few spare ones, so that who comes rarely is not delayed by who always comes.
    """

    def __init__(self, places: int, line: int, spare: int = 0) -> None:
        self._places = places
        self._spare = spare
        self._longest = line
        self._held: dict[Hashable, _Held] = {}
        self._holds: Counter[str] = Counter()  # places by tenant, where it has any
        self._weights: dict[str, float] = {}  # of those tenants
        self._waits: dict[Hashable, _Waits] = {}
        self._line: Line[Hashable] = Line()  # the same
        self._held_seconds: float | None = None  # moving average over all that left; None: nobody yet

    @property
    def held(self) -> int:
        """Places that are taken."""
        return len(self._held)

    @property
    def waiting(self) -> int:
        """How many are in line."""
        return len(self._line)

    @property
    def wait_seconds(self) -> float:
        """That one who comes now, of a tenant that was not here yet, is estimated to wait."""
        return 0.0 if self.held < self._places else self._wait(Flow())

    def check(self, flow: Flow, patience: float | None, count: int = 1) -> None:
        """Raises TooBusy where the line has no room for `count` more, or is too long for who can wait
        `patience` seconds."""
        more = count - max(0, self._places - self.held)  # that will have to wait
        if more <= 0 or (more == 1 and self._spared(flow)):
            return
        wait = self._wait(flow, more)
        over = self.waiting + more - self._longest
        if over > 0 and len(self._line.giving_way(flow, over)) < over:
            raise TooBusy("every place and the line for them are full", _bounded(wait))
        if patience is not None and self._held_seconds is not None and patience < wait:
            raise TooBusy("the deadline would pass before there is a place", _bounded(wait))

    def enter(
        self,
        who: Hashable,
        flow: Flow,
        tokens: int,
        placed: Callable[[], None],
        refused: Callable[[TooBusy], None],
    ) -> None:
        """Takes a place, or one in the line, where a newcomer may push out another; see `check`.

        tokens: that have to be read before the first is written. Either is called once: `placed` when there
        is a place, maybe at once, `refused` when it has to leave the line.
        """
        if self.held >= self._places and self.waiting >= self._longest and not self._spared(flow):
            for other in self._line.giving_way(flow):
                self._push_out(other)
        self._waits[who] = _Waits(flow, tokens, placed, refused)
        self._line.join(who, flow)
        self._fill()

    def leave(self, who: Hashable) -> None:
        """Gives back what it has, a place or one in the line; nothing is fine, too."""
        self._line.leave(who)
        self._waits.pop(who, None)
        if held := self._held.pop(who, None):
            seconds = asyncio.get_running_loop().time() - held.since
            average = seconds if self._held_seconds is None else self._held_seconds
            self._held_seconds = average + 0.1 * (seconds - average)
            self._holds[held.flow.tenant] -= 1
            if not self._holds[held.flow.tenant]:
                del self._holds[held.flow.tenant], self._weights[held.flow.tenant]
        self._fill()

    def wrote(self, flow: Flow, tokens: int) -> None:
        """Tokens of an answer were generated."""
        self._line.charge(flow, tokens * ANSWER_COST)
        self._fill()  # somebody else may be next now, for whom there is a spare place

    def _fill(self) -> None:
        while self.waiting and self.held < self._places + self._spare:
            who = self._line.first() if self.held < self._places else self._line.first(self._holds_little)
            if who is None:
                return
            self._line.leave(who)
            self._place(who, self._waits.pop(who))

    def _place(self, who: Hashable, waits: _Waits) -> None:
        self._held[who] = _Held(asyncio.get_running_loop().time(), waits.flow)
        self._holds[waits.flow.tenant] += 1
        self._weights[waits.flow.tenant] = waits.flow.weight
        self._line.charge(waits.flow, waits.tokens * PROMPT_COST)
        waits.placed()

    def _push_out(self, who: Hashable) -> None:
        flow, _, _, refused = self._waits[who]
        self.leave(who)
        refused(TooBusy("others had to be let into the line", _bounded(self._wait(flow))))

    def _spared(self, flow: Flow) -> bool:
        """Whether somebody who came now would be given a spare place."""
        spare = self.held < self._places + self._spare
        return spare and self._line.would_be_first(flow.tenant) and self._below(flow.tenant, flow.weight)

    def _holds_little(self, tenant: str) -> bool:
        return self._below(tenant, self._line.weights[tenant])

    def _below(self, tenant: str, weight: float) -> bool:
        """Whether it has less than its share of the places, among all that hold some or wait."""
        weights = {**self._weights, **self._line.weights, tenant: weight}
        return self._holds[tenant] * sum(weights.values()) < self._places * weight

    def _wait(self, flow: Flow, count: int = 1) -> float:
        """Seconds that the last of `count` who join the line now waits, as places have been held so far."""
        held = 1.0 if self._held_seconds is None else self._held_seconds
        return held * self._line.turns(flow, count) / self._places


def _bounded(wait: float) -> float:
    least, most = _RETRY_SECONDS
    return min(max(wait, least), most)
