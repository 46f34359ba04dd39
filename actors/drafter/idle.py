"""A drafter's spare time: one pass at a time for what is prepared, whenever nobody asks."""

from collections.abc import Mapping

from ringroad.actors.drafter.ahead import Ahead
from ringroad.actors.engine.engine import Engine, Work
from ringroad.actors.engine.tenant import Held
from ringroad.actors.errors import CacheFull


class Idle:
    """What is prepared for the sessions of a drafter. While it prepares, a session's cache may hold
    something else than its text."""

    def __init__(self, engine: Engine, held: Mapping[str, Held], step_tokens: int) -> None:
        """A pass reads at most about `step_tokens` tokens."""
        self._engine = engine
        self._held = held
        self._tokens = step_tokens
        self._ahead: dict[str, Ahead] = {}

    def __len__(self) -> int:
        return len(self._ahead)

    @property
    def busy(self) -> bool:
        """Whether there is anything left to prepare."""
        return any(ahead.busy for ahead in self._ahead.values())

    def begin(self, session: str, ahead: Ahead) -> None:
        """Something to prepare for a session."""
        self._ahead[session] = ahead

    def take(self, session: str) -> Ahead | None:
        """What is prepared for a session, and no longer gone on with. Who takes it sees to the cache."""
        return self._ahead.pop(session, None)

    def give_up(self, session: str) -> None:
        """Throws away what is prepared for a session; its cache holds its text again."""
        ahead = self._ahead.pop(session, None)
        if ahead is not None and session in self._engine:
            text, length = self._held[session].text, self._engine.length(session)
            self._engine.truncate(session, min(length, ahead.agreeing(text, len(text))))

    def clear(self) -> None:
        """Throws away all that is prepared."""
        for session in list(self._ahead):
            self.give_up(session)

    def step(self) -> None:
        """One forward pass for those who have something to prepare."""
        works: list[Work] = []
        for session in [session for session, ahead in self._ahead.items() if ahead.busy]:
            work = self._planned(session)
            if work is not None:
                works.append(work)
            if sum(len(each.tokens) for each in works) >= self._tokens:
                break
        before = [self._engine.length(work.session) for work in works]
        outcomes = self._engine.step(works) if works else []
        for work, length, outcome in zip(works, before, outcomes, strict=True):
            keep = self._ahead[work.session].read(outcome, length)
            if keep < len(work.tokens):
                self._engine.keep(work.session, range(keep))

    def _planned(self, session: str) -> Work | None:
        """A session's part in a pass, with room made for it where that takes nothing from others."""
        plan = self._ahead[session].plan(self._held[session].text, self._engine.length(session))
        try:
            if plan is not None:
                self._engine.truncate(session, plan[0])
                self._engine.reserve(plan[1])
                return plan[1]
        except CacheFull:
            pass
        self.give_up(session)
        return None
