"""A session's life as a pure function: `advance(state, event) -> (state, actions)`.

No clock, no socket, no randomness: the same events give the same actions, which is what lets the
simulation and a replay after a failure trust it. Modes differ in two places only, `_ask` (who is
asked next) and `_proposed` (what a proposal may do without a consult).
"""

from dataclasses import dataclass, replace

from ringroad.actors.messages import (
    Cancel,
    Counts,
    Finish,
    Forgotten,
    Mode,
    Policy,
    Proposal,
    Speaker,
    Submit,
    Verdict,
)
from ringroad.actors.router.events import (
    Action,
    Allowed,
    AskDraft,
    AskVerdict,
    Begin,
    Commit,
    End,
    Event,
    From,
    Gained,
    Lost,
    OpenPeer,
)
from ringroad.actors.router.policies import kept

DRAFTER, VERIFIER = "drafter", "verifier"
NOTHING = Counts()
SOON = 32  # tokens that a drafter reads in a pass or two


@dataclass(frozen=True)
class Peer:
    """What a session knows of the drafter or verifier it works with."""

    there: bool = False
    epoch: int = -1  # counts openings; -1: never opened
    has: int | None = None  # leading committed tokens it holds; None: to be opened first


@dataclass(frozen=True)
class State:
    """Where a session stands. The tokens themselves are with the hub; here are only their counts."""

    mode: Mode
    length: int  # committed tokens, the prompt's included
    limit: int  # length at which the text ends
    ends: frozenset[int]
    budget: int  # guesses per proposal
    policy: Policy  # for routed mode
    until: Policy | None  # where drafting for speculation stops early
    drafter: Peer
    verifier: Peer
    asked: str | None = None  # the role whose answer the session waits for
    guesses: tuple[int, ...] = ()  # under judgement
    parents: tuple[int, ...] = ()
    counts: Counts = NOTHING
    finish: Finish | None = None


Step = tuple[State, list[Action]]


def begin(submit: Submit, budget: int, policy: Policy, until: Policy | None, peers: set[str]) -> State:
    """The state of a request before its first event; request and router defaults meet here."""
    length = len(submit.prompt)
    if submit.draft_tokens is not None:
        budget = submit.draft_tokens
    if submit.mode in (Mode.SMALL, Mode.ROUTED):
        budget = max(1, budget)  # here a proposal is who speaks, not a way to be fast
    wanted = submit.mode in (Mode.SPECULATIVE, Mode.ROUTED) and DRAFTER not in peers
    return State(
        mode=submit.mode,
        length=length,
        limit=length + submit.max_tokens,
        ends=frozenset(submit.ends),
        budget=budget,
        policy=submit.policy or policy,
        until=until,
        drafter=Peer(there=DRAFTER in peers),
        verifier=Peer(there=VERIFIER in peers),
        counts=Counts(degraded=[DRAFTER]) if wanted else NOTHING,
    )


def advance(state: State, event: Event) -> Step:
    """What a session does about an event. An event that no longer fits changes nothing."""
    if state.finish is not None:
        return state, []
    match event:
        case Begin():
            return _ask(state) if state.asked is None else (state, [])
        case Allowed(budget=budget):
            return replace(state, budget=budget), []
        case Proposal():
            return _proposed(state, event) if fits(state, event) else (state, [])
        case Verdict():
            return _judged(state, event) if fits(state, event) else (state, [])
        case Cancel(reason=reason):
            return _end(state, reason)
        case Gained(role=role):
            state = _with_peer(state, role, replace(_peer(state, role), there=True))
            idle = not _peer(state, VERIFIER).there and not state.guesses and state.asked == VERIFIER
            return _ask(state) if state.asked == role or idle else (state, [])
        case Lost(role=role, another=another):
            state = _with_peer(state, role, Peer(another, _peer(state, role).epoch))
            return _without(state, role)
        case From(role=role, message=message):
            if message.epoch != _peer(state, role).epoch:
                return state, []
            if isinstance(message, Forgotten):
                state = _with_peer(state, role, replace(_peer(state, role), has=None))
                return _ask(state) if state.asked == role else (state, [])
            if role == VERIFIER or state.mode is Mode.SMALL:
                return _end(state, Finish.ERROR, message.error)
            return _without(_with_peer(state, role, Peer(False, state.drafter.epoch)), role)


def fits(state: State, answer: Proposal | Verdict) -> bool:
    """Whether an answer is the one the session waits for."""
    role = DRAFTER if isinstance(answer, Proposal) else VERIFIER
    return (state.finish, state.asked, _peer(state, role).epoch, state.length) == (
        None,
        role,
        answer.epoch,
        answer.length,
    )


def drafts(state: State) -> bool:
    """Whether guesses are being made that are there soon: the drafter has no prompt to read first."""
    return state.asked == DRAFTER and state.length - (state.drafter.has or 0) <= SOON


def _ask(state: State) -> Step:
    """Asks whoever has the next word: the drafter where guesses may help, else the verifier."""
    if state.mode is Mode.SMALL and not state.drafter.there:
        return replace(state, asked=DRAFTER), []  # until one is gained: nobody else may speak
    if state.guesses or not (room := draft_room(state)):
        return _ask_verifier(state)
    state, actions = _opened(state, DRAFTER)
    until = state.policy if state.mode is Mode.ROUTED else state.until
    if state.mode is Mode.SMALL:
        until = None
    base = state.drafter.has or 0
    actions.append(AskDraft(state.drafter.epoch, base, room, until))
    return replace(state, asked=DRAFTER), actions


def draft_room(state: State) -> int:
    """How many guesses to ask for now; 0 where the large model speaks next by itself."""
    if state.mode is Mode.LARGE or not state.drafter.there:
        return 0
    left = state.limit - state.length
    # A verdict always adds a token of its own, so the last one needs no guess.
    return min(state.budget, left - 1 if state.mode is Mode.SPECULATIVE else left)


def _ask_verifier(state: State) -> Step:
    if not state.verifier.there:
        return replace(state, asked=VERIFIER), []  # until one is gained
    state, actions = _opened(state, VERIFIER)
    base = state.verifier.has or 0
    actions.append(AskVerdict(state.verifier.epoch, base, state.guesses, state.parents))
    return replace(state, asked=VERIFIER), actions


def _proposed(state: State, proposal: Proposal) -> Step:
    """KEEP or CONSULT: what the guesses may do without the large model."""
    guesses = tuple(proposal.tokens)
    counts = _counted(state.counts, drafted=len(guesses))
    state = replace(state, asked=None, counts=counts)
    if state.mode is Mode.SPECULATIVE:
        state = _with_peer(state, DRAFTER, replace(state.drafter, has=state.length))
        return _ask_verifier(replace(state, guesses=guesses, parents=tuple(proposal.parents)))
    keep = len(guesses)
    if state.mode is Mode.ROUTED and proposal.features is not None:
        keep = kept(state.policy, proposal.features, keep)
    state = _with_peer(state, DRAFTER, replace(state.drafter, has=state.length + keep))
    state, actions = _commit(state, guesses[:keep], (Speaker.SMALL_KEPT,) * keep)
    if state.finish is not None:
        return state, actions
    state, asks = _ask_verifier(state) if keep < len(guesses) or not guesses else _ask(state)
    return state, actions + asks


def _judged(state: State, verdict: Verdict) -> Step:
    """Commits the guesses that stay and the large model's own token."""
    stayed = tuple(state.guesses[node] for node in verdict.path)
    # A drafter that guessed a chain already holds the part of it that stays.
    chain = verdict.path == list(range(len(stayed))) and not state.parents
    if state.guesses and state.drafter.has is not None:
        has = state.length + (len(stayed) if chain else 0)
        state = _with_peer(state, DRAFTER, replace(state.drafter, has=has))
    counts = _counted(state.counts, consults=1)
    verifier = replace(state.verifier, has=state.length + len(stayed) + 1)
    state = replace(state, asked=None, guesses=(), parents=(), counts=counts, verifier=verifier)
    speakers = (Speaker.SMALL_ACCEPTED,) * len(stayed) + (Speaker.LARGE,)
    state, actions = _commit(state, (*stayed, verdict.token), speakers)
    if state.finish is not None:
        return state, actions
    state, asks = _ask(state)
    return state, actions + asks


def _commit(state: State, tokens: tuple[int, ...], speakers: tuple[Speaker, ...]) -> Step:
    """Adds tokens up to the first that ends the text, or the limit."""
    count = min(len(tokens), state.limit - state.length)
    stop = next((i for i, token in enumerate(tokens[:count]) if token in state.ends), None)
    count = count if stop is None else stop + 1
    tokens, speakers = tokens[:count], speakers[:count]
    counts = _counted(
        state.counts,
        kept=speakers.count(Speaker.SMALL_KEPT),
        accepted=speakers.count(Speaker.SMALL_ACCEPTED),
        large=speakers.count(Speaker.LARGE),
    )
    state = replace(state, length=state.length + count, counts=counts)
    actions: list[Action] = [Commit(tokens, speakers)] if count else []
    finish = Finish.STOP if stop is not None else Finish.LENGTH if state.length == state.limit else None
    if finish is None:
        return state, actions
    state, end = _end(state, finish)
    return state, actions + end


def _end(state: State, finish: Finish, error: str = "") -> Step:
    return replace(state, finish=finish, asked=None), [End(finish, error)]


def _without(state: State, role: str) -> Step:
    """Goes on after losing a role: the large model speaks for a drafter (not in mode small)."""
    if role not in state.counts.degraded:
        degraded = [*state.counts.degraded, role]
        state = replace(state, counts=_counted(state.counts, degraded=degraded))
    goes_on = role == DRAFTER or _peer(state, role).there
    return _ask(state) if state.asked == role and goes_on else (state, [])


def _opened(state: State, role: str) -> Step:
    peer = _peer(state, role)
    if peer.has is not None:
        return state, []
    peer = Peer(True, peer.epoch + 1, 0)
    return _with_peer(state, role, peer), [OpenPeer(role, peer.epoch)]


def _peer(state: State, role: str) -> Peer:
    return state.drafter if role == DRAFTER else state.verifier


def _with_peer(state: State, role: str, peer: Peer) -> State:
    return replace(state, drafter=peer) if role == DRAFTER else replace(state, verifier=peer)


def _counted(
    counts: Counts,
    *,
    drafted: int = 0,
    accepted: int = 0,
    consults: int = 0,
    kept: int = 0,
    large: int = 0,
    degraded: list[str] | None = None,
) -> Counts:
    """`counts` with these added, and `degraded` put in its place."""
    return Counts(
        counts.drafted + drafted,
        counts.accepted + accepted,
        counts.consults + consults,
        counts.kept + kept,
        counts.large + large,
        counts.degraded if degraded is None else degraded,
    )
