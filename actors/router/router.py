"""The hub: carries out what `session.advance` says, and knows who is there to be asked."""

import logging
from collections.abc import Callable, Mapping, Sequence

from ringroad.actors.messages import (
    Cancel,
    Chunk,
    Close,
    Consult,
    Draft,
    Failed,
    Finish,
    Forgotten,
    Hello,
    Message,
    Proposal,
    Roster,
    Ruling,
    Seen,
    Submit,
    Verdict,
    Welcome,
)
from ringroad.actors.router import events, session
from ringroad.actors.router.allowance import Allowance
from ringroad.actors.router.company import sendable
from ringroad.actors.router.config import RouterConfig
from ringroad.actors.router.members import Address, Peers, Running
from ringroad.actors.router.opening import begin
from ringroad.actors.router.rulings import Rulings
from ringroad.actors.router.state import DRAFTER, HEAD, VERIFIER
from ringroad.actors.router.watch import Watch

log = logging.getLogger(__name__)

Send = Callable[[Address, Message], None]


class Router:
    """One per cluster; without sockets or clocks of its own, so that any transport can drive it."""

    def __init__(
        self,
        config: RouterConfig,
        send: Send,
        name: str = "router",
        quantiles: Mapping[str, list[float]] | None = None,
        replica: int = 0,
    ) -> None:
        """`quantiles`: of the doubts of rules, as the head's card has them. `replica`: which router it is."""
        self._quantiles = quantiles
        self._config = config
        self._send = send
        self._policy = config.policy.policy()
        self._until = config.until.policy() if config.until else None
        self._watch = Watch(replica)
        self._peers = Peers(name, config.ways, self._watch.lost)
        self._gateways: dict[Address, float] = {}  # when each was last heard
        self._running: dict[str, Running] = {}
        self._now, self._leaving = 0.0, False  # the time of the message in hand
        self._awake = 0.0  # since when nothing has kept this router from hearing others
        self._waiting: dict[str, Draft | Consult] = {}  # questions about to be sent, by session
        self._rulings = Rulings(send)
        self._allowance = Allowance(config, self._peers, self._running)

    def __len__(self) -> int:
        return len(self._running)

    def receive(self, sender: Address, message: Message, now: float) -> None:
        """Acts on a message; `now` is seconds on any steady clock."""
        self.receive_all(sender, [message], now)

    def receive_all(self, sender: Address, messages: Sequence[Message], now: float) -> None:
        """Acts on messages that came together: what they lead to is judged together, too."""
        self._now = now
        for message in messages:
            self._act(sender, message)
        self._send_questions()

    def tick(self, now: float) -> list[Address]:
        """Takes peers that have been silent too long for dead; who they are. Tells gateways who is there."""
        patience = self._config.lost_after_seconds
        if now - self._now > patience:  # paused itself: it blames nobody that it heard nothing
            self._awake = now
        self._now = now
        heard = self._gateways | {address: peer.heard for address, peer in self._peers.items()}
        silent = [each for each, when in heard.items() if now - max(when, self._awake) > patience]
        self.lose(*silent)
        for proposal in self._rulings.overdue(now):
            self._take(proposal)
        self._send_questions()
        self._tell_gateways()
        return silent

    def leave(self) -> None:
        """This router is to stop: gateways go to another, if there is one."""
        self._leaving = True
        self._tell_gateways()

    def lose(self, *addresses: Address) -> None:
        """Peers and gateways are gone: their sessions move, or end with them."""
        for address in addresses:
            self._leave(address)
        self._move(addresses)
        self._send_questions()

    def roster(self) -> Roster:
        """Who is there."""
        figures = self._watch.figures([running.state for running in self._running.values()])
        return Roster([peer.hello for peer in self._peers.values()], self._leaving, figures)

    def _tell_gateways(self) -> None:
        roster = self.roster()
        for gateway in self._gateways:
            self._send(gateway, roster)

    def _act(self, sender: Address, message: Message) -> None:
        now = self._now
        match message:
            case Submit():
                self._gateways[sender] = now
                self._begin(sender, message)
            case Cancel():
                self._advance(message.session, message)
            case Proposal():
                self._take(self._rulings.proposed(message, now))
            case Seen():
                self._rulings.saw(message)
            case Ruling():
                self._take(self._rulings.ruled(sender, message))
            case Verdict() | Forgotten() | Failed():
                self._hear(sender, message)
            case Hello(role="gateway"):
                self._gateways[sender] = now
                self._send(sender, self.roster())
            case Hello(role="drafter" | "verifier" | "head"):
                self._greet(sender, message, now)
            case _:
                log.warning("dropped a %s, which is not for a router", type(message).__name__)

    def _leave(self, address: Address) -> None:
        self._gateways.pop(address, None)
        for name, running in list(self._running.items()):
            if running.gateway == address:
                self._advance(name, Cancel(name))
        for proposal in self._rulings.lost(address):
            self._take(proposal)

    def _move(self, addresses: Sequence[Address]) -> None:
        """Gives to others what these had."""
        for name, role, address in (left := self._peers.lose(addresses)):
            self._send(address, Close(name))  # should it only have been silent
            self._running[name].at[role] = other = self._peers.least_busy(role)
            self._peers.give(name, other)
            self._watch.moved(name, role, other is not None)
        for name, role, _ in left:
            if (running := self._running.get(name)) is not None:
                idle = running.state.asked == role and self._waiting.pop(name, None) is not None
                self._advance(name, events.Lost(role, running.at[role] is not None, idle))

    def _begin(self, gateway: Address, submit: Submit) -> None:
        name = submit.session
        if name in self._running:
            self._send(gateway, Chunk(name, 0, [], [], Finish.ERROR, error="session exists"))
            return
        at = {role: self._peers.first(role, submit.at.get(role)) for role in (DRAFTER, VERIFIER)}
        peers = {role for role, address in at.items() if address is not None}
        budget, losses = self._config.draft_tokens, self._config.most_losses
        state = begin(submit, budget, self._policy, self._until, peers, self._quantiles, losses)
        running = Running(state, list(submit.prompt), len(submit.prompt), gateway, submit.sampling, at)
        running.pace, running.salt = self._allowance.pace(submit), submit.salt
        running.trace = self._watch.begun(submit)
        self._running[name] = running
        for address in at.values():
            self._peers.give(name, address)
        self._allow(name, running)
        self._advance(name, events.Begin(tuple(submit.committed), tuple(submit.speakers)))

    def _take(self, proposal: Proposal | None) -> None:
        """A proposal that has all rulings it was to wait for."""
        running = self._running.get(proposal.session) if proposal is not None else None
        if proposal is not None and running is not None and (drafter := running.at[DRAFTER]) is not None:
            self._hear(drafter, proposal)

    def _hear(self, sender: Address, message: Proposal | Verdict | Forgotten | Failed) -> None:
        running = self._running.get(message.session)
        if running is None:
            return
        if (role := next((role for role, at in running.at.items() if at == sender), None)) is None:
            return  # a peer that this session has left
        if isinstance(message, Forgotten | Failed):
            self._advance(message.session, events.From(role, message))
        elif session.fits(running.state, message):
            if isinstance(message, Verdict):
                running.successors = message.successors
                self._peers[sender].foresight.judged(message.session, len(message.path) + 1, self._now)
            self._watch.answered(message.session, running.state, message)
            self._allowance.learn(running, self._peers[sender], message)
            self._allow(message.session, running)
            self._advance(message.session, message)

    def _allow(self, name: str, running: Running) -> None:
        """Sets the budget of a session's next round, where it is the router's to choose."""
        if (budget := self._allowance.of(running)) is not None:
            self._advance(name, events.Allowed(budget))

    def _greet(self, sender: Address, hello: Hello, now: float) -> None:
        known, role = self._peers.get(sender), hello.role
        peer = known or self._peers.meet(sender, hello, now)
        news = known is None or known.hello.leaving != hello.leaving
        peer.hello, peer.heard = hello, now
        # Before any session: it voids what came earlier.
        self._send(sender, Welcome(peer.welcome, hello.leaving))
        if not news:
            return
        self._tell_gateways()
        if role != HEAD:
            for name, running in list(self._running.items()):
                self._place(name, running, role)
        elif not hello.leaving:
            self._rulings.met(sender)
        else:
            for proposal in self._rulings.lost(sender):
                self._take(proposal)

    def _place(self, name: str, running: Running, role: str) -> None:
        """Gives a session that lacks a role, or has it with one who leaves, one of those that stay."""
        address, before = self._peers.least_busy(role), running.at[role]
        if address is None or (before and not self._peers.better(address, before)):
            return
        running.at[role] = address
        self._peers.give(name, address)
        if before is None:
            self._advance(name, events.Gained(role))
            return
        self._peers[before].leave(name, self._now)
        self._send(before, Close(name))
        # As if the one that leaves had forgotten it: the other is told everything.
        self._advance(name, events.From(role, Forgotten(name, running.state.peer(role).epoch)))

    def _advance(self, name: str, event: events.Event) -> None:
        running = self._running.get(name)
        if running is None:
            return
        running.state, actions = session.advance(running.state, event)
        for action in actions:
            self._carry_out(name, running, action)

    def _carry_out(self, name: str, running: Running, action: events.Action) -> None:
        match action:
            case events.OpenPeer(role, epoch):
                self._tell(running, role, running.opening(name, epoch))
            case events.AskDraft(epoch, base, budget, until):
                state, tokens = running.state, running.tokens[base:]
                outcomes = self._allowance.outcomes(name, running, len(tokens), self._now)
                rest = running.successors, outcomes, list(state.stops)
                draft = Draft(name, epoch, base, tokens, budget, until, state.judged, *rest)
                self._waiting[name] = self._rulings.drafted(draft, state.length)
            case events.AskVerdict(epoch, base, guesses, parents, trusted):
                tokens = running.tokens[base:]
                drafter, verifier = self._peers.pair(running)
                learns = drafter is not None and drafter.hello.successors
                if verifier is not None:
                    verifier.foresight.consulted(name, len(tokens), self._now)
                said = list(guesses), list(parents), learns, list(trusted)
                self._waiting[name] = Consult(name, epoch, base, tokens, *said)
            case events.Commit(tokens, speakers, logprobs):
                offset = len(running.tokens) - running.prompt
                running.tokens.extend(tokens)
                text, counts = (list(tokens), list(speakers)), running.state.counts
                at = self._peers.replicas(running)
                chunk = Chunk(name, offset, *text, counts=counts, logprobs=list(logprobs), at=at)
                self._send(running.gateway, chunk)
            case events.End(finish, error):
                self._end(name, running, finish, error)

    def _end(self, name: str, running: Running, finish: Finish, error: str) -> None:
        del self._running[name]
        self._waiting.pop(name, None)
        self._rulings.forget(name)
        self._watch.ended(name, running.state, finish)
        offset = len(running.tokens) - running.prompt
        last = Chunk(name, offset, [], [], finish, running.state.counts, error)
        self._send(running.gateway, last)
        for address in filter(None, running.at.values()):
            self._peers[address].leave(name, self._now)
            self._send(address, Close(name))

    def _send_questions(self) -> None:
        """Those that wait for nobody."""
        for name in sendable(self._waiting, self._running, self._peers, self._now):
            running, question = self._running[name], self._waiting.pop(name)
            running.asked = self._now
            self._tell(running, DRAFTER if isinstance(question, Draft) else VERIFIER, question)

    def _tell(self, running: Running, role: str, message: Message) -> None:
        if (address := running.at[role]) is not None:
            self._send(address, message)
