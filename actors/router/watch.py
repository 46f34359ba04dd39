"""What a router tells those who watch it: figures for all its sessions, spans for those that are traced."""

from collections.abc import Collection, Sequence

from msgspec.structs import replace

from ringroad.actors.figures import DEPTHS, RouterFigures
from ringroad.actors.messages import Finish, Mode, Proposal, Submit, Verdict
from ringroad.actors.router.state import VERIFIER, State
from ringroad.actors.tracing import Trails, tell


class Watch:
    """Of one router. It looks on, and decides nothing."""

    def __init__(self, replica: int) -> None:
        """`replica`: which of the routers this is."""
        self._figures = RouterFigures(replica)
        self._trails = Trails()

    def figures(self, states: Collection[State]) -> RouterFigures:
        """As of now. `states`: of all sessions."""
        backlog = sum(state.asked == VERIFIER for state in states)
        return replace(self._figures, sessions=len(states), backlog=backlog)

    def begun(self, submit: Submit) -> str:
        """A session begins; where the spans of its roles belong."""
        return self._trails.begin(submit.session, "session", submit.trace, mode=submit.mode.value)

    def answered(self, name: str, state: State, answer: Proposal | Verdict) -> None:
        """An answer that the session waited for, in the state it is to change."""
        if isinstance(answer, Verdict):
            self._judged(state, len(answer.path))
        if self._trails and (trail := self._trails.get(name)):
            if isinstance(answer, Verdict):
                trail.round("consult", guesses=len(state.guesses), accepted=len(answer.path))
            else:
                trail.round("draft", guesses=len(answer.tokens))

    def lost(self, role: str) -> None:
        """A peer is gone."""
        self._figures.lost[role] = self._figures.lost.get(role, 0) + 1

    def moved(self, name: str, role: str, another: bool) -> None:
        """A session lost a peer; `another`: it has a new one."""
        if trail := self._trails.get(name):
            tell(trail.span, "failover", role=role, another=another)

    def ended(self, name: str, state: State, finish: Finish) -> None:
        """A session is over."""
        if self._trails:
            counts = state.counts
            self._trails.end(name, finish=finish.value, consults=counts.consults, drafted=counts.drafted)

    def _judged(self, state: State, accepted: int) -> None:
        figures = self._figures
        if state.mode is Mode.SPECULATIVE:
            figures.budgets.observe(state.budget)
        if state.guesses and state.judged:
            for i in range(min(_depth(len(state.guesses), state.parents), DEPTHS)):
                figures.judged[i] += 1
            for i in range(min(accepted, DEPTHS)):
                figures.accepted[i] += 1


def _depth(guesses: int, parents: Sequence[int]) -> int:
    """Of a tree; an empty `parents` means a chain."""
    if not parents:
        return guesses
    depths: list[int] = []
    for parent in parents:
        depths.append(1 if parent < 0 else depths[parent] + 1)
    return max(depths)
