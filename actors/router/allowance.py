"""How much each session may have guessed next, from what all of them have measured."""

from collections.abc import Mapping

from ringroad.actors.messages import Mode, Proposal, Submit, Verdict
from ringroad.actors.router.budget import Budget
from ringroad.actors.router.config import RouterConfig
from ringroad.actors.router.forecasts import Load
from ringroad.actors.router.members import Peer, Peers, Running
from ringroad.actors.router.pace import Pace
from ringroad.actors.router.state import DRAFTER, VERIFIER


class Allowance:
    """The budgets of one hub's sessions; what it is given are the hub's own peers and sessions."""

    def __init__(self, config: RouterConfig, peers: Peers, running: Mapping[str, Running]) -> None:
        self._adapt = config.adapt
        self._ahead = config.ahead
        self._budget = Budget(config.draft_tokens)
        self._peers = peers
        self._running = running

    def pace(self, submit: Submit) -> Pace | None:
        """Of a session that begins; None where its budget is given."""
        free = self._adapt and submit.mode is Mode.SPECULATIVE and submit.draft_tokens is None
        return self._budget.pace() if free else None

    def learn(self, running: Running, peer: Peer, answer: Proposal | Verdict) -> None:
        """What an answer says about costs and chances."""
        state, pace, took = running.state, running.pace, answer.took
        if took is not None:
            # A try is made alone, so it says nothing of the company that guesses are made in.
            company = None if pace is not None and pace.trying else self._asking(peer)
            peer.meter.observe(took, company, guessing=isinstance(answer, Proposal) or bool(state.guesses))
        if took is not None and isinstance(answer, Verdict):
            self._budget.earn(took)
        if pace is None:
            return
        if isinstance(answer, Proposal):
            pace.proposed(state.room, answer)
        else:
            pace.judged(answer)

    def of(self, running: Running) -> int | None:
        """The budget of a session's next round, where it is the router's to choose now."""
        drafter, verifier = self._peers.pair(running)
        state = running.state
        if running.pace is None or state.asked == DRAFTER or drafter is None or verifier is None:
            return None
        sessions = len(drafter.sessions), len(verifier.sessions)
        if not running.pace.looks(idle=state.budget == 0 and len(verifier.sessions) > 1):
            return None
        load = Load(drafter.meter, verifier.meter, *sessions, drafter.shares(verifier))
        unread = state.length - (state.drafter.has or 0) + 1  # after the verdict that comes now
        budget = self._budget.choose(running.pace, load, unread, state.limit - state.length)
        if running.begins and sum(self._running[other].begins for other in verifier.sessions) > 1:
            return 0  # of those that come together nobody knows yet how many they are
        return budget

    def outcomes(self, name: str, running: Running, unread: int, now: float) -> int:
        """How many outcomes of the coming verdict a drafter that reads so many tokens is to prepare for."""
        drafter, verifier = self._peers.pair(running)
        # What is not judged has no verdict; what needs no model takes no time.
        if running.state.mode is not Mode.SPECULATIVE or not (verifier and drafter and drafter.hello.model):
            return 0
        if self._ahead == "auto" and drafter.shares(verifier):
            return 0  # whoever works ahead there takes the verdict's time
        return verifier.foresight.drafted(name, unread, now)

    def _asking(self, peer: Peer) -> int:
        """How many sessions ask a peer in every round."""
        states = [self._running[name].state for name in peer.sessions]
        if peer.hello.role == VERIFIER:
            return len(states)
        return sum(state.budget > 0 and state.mode is not Mode.LARGE for state in states)
