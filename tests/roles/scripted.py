"""A session's peers as the simplest that could answer: what a model says is a rule of the position."""

from dataclasses import dataclass, field

from ringroad.actors.messages import (
    Counts,
    Failed,
    Features,
    Forgotten,
    Mode,
    Policy,
    Proposal,
    Sampling,
    Speaker,
    Submit,
    Verdict,
)
from ringroad.actors.router import events, session
from ringroad.actors.router.opening import begin
from ringroad.actors.router.policies import Scope
from ringroad.actors.router.state import DRAFTER, VERIFIER, State
from tests import reference

POLICY = Policy("margin", 0.5)
PROMPT = [90, 91, 92]


def large(position: int) -> int:
    return position * 7 % 11


def flagged(position: int) -> bool:
    """Whether the policy consults on what the small model says here."""
    return position % 5 == 3


def small(position: int) -> int:
    return large(position) if position % 4 else 50


def submit(
    mode: Mode,
    max_tokens: int = 20,
    draft_tokens: int = 4,
    ends: list[int] | None = None,
    policy: Policy = POLICY,
    breaks: list[int] | None = None,
) -> Submit:
    return Submit(
        "s", PROMPT, max_tokens, mode, Sampling(), ends or [], draft_tokens, policy, breaks=breaks or []
    )


def begun(request: Submit, *peers: str) -> State:
    return begin(request, 6, POLICY, None, set(peers or (DRAFTER, VERIFIER)))


def spoken(mode: Mode, position: int) -> tuple[int, Speaker | None]:
    """The token at a position of a session whose drafter is never lost, and who speaks it (None: either)."""
    if mode is Mode.LARGE:
        return large(position), Speaker.LARGE
    if mode is Mode.SMALL:
        return small(position), Speaker.SMALL_KEPT
    if mode is Mode.ROUTED:
        return (
            (large(position), Speaker.LARGE) if flagged(position) else (small(position), Speaker.SMALL_KEPT)
        )
    return large(position), None


@dataclass
class Held:
    """What a peer holds of the session."""

    epoch: int
    text: list[int] = field(default_factory=list)


@dataclass
class Script:
    """Runs the state machine with honest peers, and checks every action as it comes."""

    state: State
    text: list[int] = field(default_factory=lambda: list(PROMPT))
    speakers: list[Speaker] = field(default_factory=list)
    ends: list[events.End] = field(default_factory=list)
    held: dict[str, Held] = field(default_factory=dict)
    asked: events.AskDraft | events.AskVerdict | None = None
    consumed: list[Proposal | Verdict] = field(default_factory=list)
    last_epoch: dict[str, int] = field(default_factory=lambda: {DRAFTER: -1, VERIFIER: -1})

    def tell(self, event: events.Event) -> list[events.Action]:
        """An event's actions, carried out."""
        before = self.state
        self.state, actions = session.advance(before, event)
        for action in actions:
            self._carry_out(action)
        self._check(before)
        return actions

    def answer(self, tree: bool = False) -> list[events.Action]:
        """The honest answer of whoever is asked; nothing when nobody who is there is."""
        if self.asked is None:
            return []
        message = (
            self._propose(self.asked, tree)
            if isinstance(self.asked, events.AskDraft)
            else self._judge(self.asked)
        )
        self.asked = None
        self.consumed.append(message)
        return self.tell(message)

    def lose(self, role: str) -> None:
        self.held.pop(role, None)
        if isinstance(self.asked, events.AskDraft) == (role == DRAFTER):
            self.asked = None
        self.tell(events.Lost(role))

    def forget(self, role: str) -> None:
        """A peer that is there has lost all it held, and says so."""
        self.held[role].text = []
        if isinstance(self.asked, events.AskDraft) == (role == DRAFTER):
            self.asked = None
        self.tell(events.From(role, Forgotten("s", self.last_epoch[role])))

    def fail_drafter(self) -> None:
        """The drafter cannot go on."""
        self.held.pop(DRAFTER)
        self.asked = None if isinstance(self.asked, events.AskDraft) else self.asked
        self.tell(events.From(DRAFTER, Failed("s", self.last_epoch[DRAFTER], "broken")))

    def run(self) -> None:
        """To the end, or until nobody who is there is asked."""
        for _ in range(500):
            if not self.answer():
                return
        raise AssertionError("no end")

    def _carry_out(self, action: events.Action) -> None:
        assert not self.ends, f"{action} after the end"
        match action:
            case events.OpenPeer(role, epoch):
                assert epoch > self.last_epoch[role], "an epoch twice"
                self.last_epoch[role] = epoch
                self.held[role] = Held(epoch)
            case events.AskDraft(epoch, base, budget):
                self._send(DRAFTER, epoch, base)
                own = self.state.judged  # a verdict adds a token itself
                assert 1 <= budget <= self.state.limit - len(self.text) - own
                self.asked = action
            case events.AskVerdict(epoch, base):
                self._send(VERIFIER, epoch, base)
                assert len(action.parents) in (0, len(action.guesses))
                self.asked = action
            case events.Commit(tokens, speakers):
                assert len(tokens) == len(speakers) > 0
                self.text += tokens
                self.speakers += speakers
            case events.End():
                self.ends.append(action)

    def _send(self, role: str, epoch: int, base: int) -> None:
        """The peer must hold `base` tokens of the right text; what it lacks comes with the question."""
        held = self.held[role]
        assert epoch == held.epoch
        assert held.text[:base] == self.text[:base], f"the {role} holds another text"
        assert len(held.text) >= base
        held.text = list(self.text)

    def _propose(self, ask: events.AskDraft, tree: bool) -> Proposal:
        start = len(self.text)
        if tree and self.state.judged:
            parents = [-1, -1, 1, 1, 3][: ask.budget]
            depths = [len(reference.ancestors(parents, n)) - 1 for n in range(len(parents))]
            tokens = [large(start + depth) if (n + start) % 2 == 0 else 60 for n, depth in enumerate(depths)]
            return Proposal("s", ask.epoch, start, tokens, parents, held=len(tokens))
        tokens, margin = [], []
        for position in range(start, start + ask.budget):
            tokens.append(small(position))
            margin.append(0.1 if flagged(position) else 0.9)
            if tokens[-1] in self.state.stops and not self.state.judged:
                break  # judged ones may go on, as those of strategies do
            # A drafter may go on behind a doubt, whether that is in vain or not.
            doubt = flagged(position) and position % 2 == 1
            if ask.until is not None and doubt and self.state.scope is Scope.TOKEN:
                break
        self.held[DRAFTER].text += tokens
        seen = None if ask.until is None else Features(margin, [0.0] * len(tokens), margin)
        return Proposal("s", ask.epoch, start, tokens, [], seen, held=len(tokens))

    def _judge(self, ask: events.AskVerdict) -> Verdict:
        start = len(self.text)
        parents = list(ask.parents or range(-1, len(ask.guesses) - 1))
        depths = [len(reference.ancestors(parents, n)) for n in range(len(parents))]
        outcomes = [large(start), *(large(start + depth) for depth in depths)]
        if ask.trusted:  # these are guessed right, whatever is said there
            outcomes = [
                ask.guesses[n] if n in ask.trusted else said for n, said in enumerate(outcomes[:-1])
            ] + outcomes[-1:]
        path, token = reference.longest_agreement(outcomes, ask.guesses, parents)
        self.held[VERIFIER].text += [*(ask.guesses[n] for n in path), token]
        return Verdict("s", ask.epoch, start, path, token)

    def _check(self, before: State) -> None:
        state, counts = self.state, self.state.counts
        generated = self.text[len(PROMPT) :]
        assert state.length == len(self.text) <= state.limit
        assert counts.kept + counts.accepted + counts.large == len(generated) == len(self.speakers)
        assert counts.kept == self.speakers.count(Speaker.SMALL_KEPT)
        assert counts.accepted == self.speakers.count(Speaker.SMALL_ACCEPTED)
        assert counts.large == self.speakers.count(Speaker.LARGE)
        assert counts.large <= counts.consults or state.mode is Mode.ROUTED  # of several doubts at once
        assert counts.accepted <= counts.drafted
        assert all(new >= old for old, new in zip(_numbers(before.counts), _numbers(counts), strict=True))
        assert not state.ends & set(generated[:-1]), "text after an end"
        assert len(self.ends) == (state.finish is not None)
        if state.finish is None:
            assert state.asked is not None
            assert not (generated and generated[-1] in state.ends)
            assert len(self.text) < state.limit


def _numbers(counts: Counts) -> list[int]:
    return [
        counts.drafted,
        counts.accepted,
        counts.consults,
        counts.kept,
        counts.large,
        counts.fallbacks,
    ]


def script(mode: Mode, **changes: int | list[int] | Policy) -> Script:
    """A session that has just begun, with both peers there."""
    ready = Script(begun(submit(mode, **changes)))  # type: ignore[arg-type]
    ready.tell(events.Begin())
    return ready


def generated(run: Script) -> list[int]:
    return run.text[len(PROMPT) :]
