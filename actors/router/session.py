"""A session's life as a pure function: `advance(state, event) -> (state, actions)`.

No clock, no socket, no randomness: the same events give the same actions, which is what lets the
simulation and a replay after a failure trust it. Modes differ in two places only, `_ask` (who is
asked next) and `_proposed` (what a proposal may do without a consult).
"""

from msgspec.structs import replace

from ringroad.actors.messages import (
    Cancel,
    Finish,
    Forgotten,
    Logprob,
    Mode,
    Proposal,
    Speaker,
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
from ringroad.actors.router.policies import Scope, doubtful, kept, lacks
from ringroad.actors.router.state import DRAFTER, HEAD, VERIFIER, Peer, State

PIECE = 16  # guesses of a dropped draft that are judged together

Step = tuple[State, list[Action]]


def advance(state: State, event: Event) -> Step:
    """What a session does about an event. An event that no longer fits changes nothing."""
    if state.finish is not None:
        return state, []
    match event:
        case Begin(committed=committed, speakers=speakers):
            return _begun(state, committed, speakers) if state.asked is None else (state, [])
        case Allowed(budget=budget):
            return replace(state, budget=budget), []
        case Proposal():
            return _proposed(state, event) if fits(state, event) else (state, [])
        case Verdict():
            return _judged(state, event) if fits(state, event) else (state, [])
        case Cancel(reason=reason):
            return _end(state, reason)
        case Gained(role=role):
            state = state.with_peer(role, replace(state.peer(role), there=True))
            idle = not state.verifier.there and not state.guesses and state.asked == VERIFIER
            return _ask(state) if state.asked == role or idle else (state, [])
        case Lost():
            return _lost(state, event)
        case From(role=role, message=message):
            if message.epoch != state.peer(role).epoch:
                return state, []
            if isinstance(message, Forgotten):
                state = state.with_peer(role, replace(state.peer(role), has=None))
                return _ask(state) if state.asked == role else (state, [])
            if role == VERIFIER or state.mode is Mode.SMALL:
                return _end(state, Finish.ERROR, message.error)
            return _without(state.with_peer(role, Peer(False, state.drafter.epoch)), role)


def _begun(state: State, committed: tuple[int, ...], speakers: tuple[Speaker, ...]) -> Step:
    """Goes on from what another router committed: all that matters follows from it."""
    state, actions = _commit(state, committed, speakers)
    if state.finish is not None:
        return state, actions
    state, asks = _ask(state)
    return state, actions + asks


def fits(state: State, answer: Proposal | Verdict) -> bool:
    """Whether an answer is the one the session waits for.

    Of one connection in order the length would tell: committed tokens never change. The epoch counts where
    old questions come again between an opening and its first question, and build a text that is none.
    """
    role = DRAFTER if isinstance(answer, Proposal) else VERIFIER
    waits = (state.finish, state.asked, state.peer(role).epoch, state.length)
    return waits == (None, role, answer.epoch, answer.length)


def _ask(state: State) -> Step:
    """Asks whoever has the next word: the drafter where guesses may help, else the verifier."""
    if state.mode is Mode.SMALL and not state.drafter.there:
        return replace(state, asked=DRAFTER), []  # until one is gained: nobody else may speak
    if state.dropped and not state.guesses:
        # A verdict always adds a token of its own, so the last one needs no guess.
        piece = state.dropped[: min(PIECE, state.limit - state.length - 1)]
        state = replace(state, guesses=piece, held=len(piece))
    if state.guesses or not (room := state.room):
        return _ask_verifier(state)
    state, actions = _opened(state, DRAFTER)
    until = None if state.mode is Mode.SMALL else state.until if state.judged else state.rule
    base = state.drafter.has or 0
    actions.append(AskDraft(state.drafter.epoch, base, room, until))
    return replace(state, asked=DRAFTER), actions


def _ask_verifier(state: State) -> Step:
    if not state.verifier.there:
        return replace(state, asked=VERIFIER), []  # until one is gained
    state, actions = _opened(state, VERIFIER)
    base = state.verifier.has or 0
    actions.append(AskVerdict(state.verifier.epoch, base, state.guesses, state.parents, state.trusted))
    return replace(state, asked=VERIFIER), actions


def _proposed(state: State, proposal: Proposal) -> Step:
    """KEEP or CONSULT: what the guesses may do without the large model."""
    guesses = tuple(proposal.tokens)
    state = replace(state, asked=None).counted(drafted=len(guesses))
    if state.judged:
        state = state.with_peer(DRAFTER, replace(state.drafter, has=state.length))
        told = {"guesses": guesses, "parents": tuple(proposal.parents), "held": proposal.held}
        return _ask_verifier(replace(state, **told))
    guesses = guesses[: _through(guesses, state.stops)]
    keep = len(guesses)
    doubted: list[int] = []
    if state.mode is Mode.ROUTED:
        keep = kept(state.rule, proposal.features, keep)
        state = _fallen_back(state, proposal, len(guesses))
        if proposal.features is not None and state.scope is Scope.TOKEN:
            doubted = doubtful(state.rule, proposal.features, len(guesses))
    state = state.with_peer(DRAFTER, replace(state.drafter, has=state.length + keep))
    known = tuple(proposal.logprobs)
    state, actions = _commit(state, guesses[:keep], (Speaker.SMALL_KEPT,) * keep, known[:keep])
    if state.finish is not None:
        return state, actions
    if 0 < len(guesses) == keep:
        state, asks = _ask(state)
    elif state.scope is Scope.TOKEN:
        state = replace(state, logprobs=known[keep:])
        state, asks = _ask_verifier(_doubted(state, guesses[keep:], [i - keep for i in doubted]))
    else:
        state, asks = _ask(replace(state, handed=True, dropped=guesses))
    return state, actions + asks


def _doubted(state: State, guesses: tuple[int, ...], doubted: list[int]) -> State:
    """Has the large model say what it would at every doubt of a draft that begins with one, in one consult.

    What was drafted behind a doubt is of use where the large model says the same; and it is the small
    model's to say, so it stays then. The last word is the large model's where the last guess is a doubt.
    """
    if not guesses or not doubted:
        return state
    spoken_for = doubted[-1] == len(guesses) - 1
    guesses = guesses[:-1] if spoken_for else guesses
    trusted = tuple(i for i in range(len(guesses)) if i not in doubted)
    return replace(state, guesses=guesses, held=len(guesses), trusted=trusted, silent=not spoken_for)


def _fallen_back(state: State, proposal: Proposal, count: int) -> State:
    """Counts guesses that another rule had to judge, and names the head where it should have judged."""
    if not count or not lacks(state.policy, proposal.features, count):
        return state
    state = state.counted(fallbacks=count)
    return state.degraded(HEAD) if state.head else state


def _judged(state: State, verdict: Verdict) -> Step:
    """Commits the guesses that stay and the large model's own token."""
    stayed = tuple(state.guesses[node] for node in verdict.path)
    # Whoever was asked about a doubt has spoken, whatever was guessed there.
    same = Speaker.SMALL_ACCEPTED if state.judged else Speaker.LARGE
    whose = (Speaker.SMALL_KEPT if node in state.trusted else same for node in verdict.path)
    spoken, speakers = (*stayed, verdict.token), (*whose, Speaker.LARGE)
    logprobs = _spoken_logprobs(state, verdict)
    if state.silent and len(stayed) == len(state.guesses):
        spoken = stayed
    if state.scope is Scope.STEP:  # what comes after it is the small model's to say first
        spoken = spoken[: _through(spoken, state.stops)]
    count = len(spoken)
    # A drafter may already hold a part of what stays.
    chain = verdict.path == list(range(len(stayed))) and not state.parents
    if state.guesses and state.drafter.has is not None:
        has = state.length + (min(count, len(stayed), state.held) if chain else 0)
        state = state.with_peer(DRAFTER, replace(state.drafter, has=has))
    state = replace(
        state,
        asked=None,
        losses=0,
        guesses=(),
        parents=(),
        trusted=(),
        logprobs=(),
        held=0,
        silent=False,
        dropped=state.dropped[count:] if state.dropped[:count] == spoken else (),
        verifier=replace(state.verifier, has=state.length + count),
    ).counted(consults=1)
    state, actions = _commit(state, spoken, speakers[:count], logprobs[:count])
    if state.finish is not None:
        return state, actions
    state, asks = _ask(state)
    return state, actions + asks


def _spoken_logprobs(state: State, verdict: Verdict) -> tuple[Logprob, ...]:
    """Of what a verdict commits, each by the model that speaks it."""
    if not verdict.logprobs or not state.trusted:
        return tuple(verdict.logprobs)
    trusted = {node: state.logprobs[node] for node in state.trusted if node < len(state.logprobs)}
    nodes = (*verdict.path, -1)
    return tuple(trusted.get(node, said) for node, said in zip(nodes, verdict.logprobs, strict=True))


def _commit(
    state: State,
    tokens: tuple[int, ...],
    speakers: tuple[Speaker, ...],
    logprobs: tuple[Logprob, ...] = (),
) -> Step:
    """Adds tokens up to the first that ends the text, or the limit."""
    count = _through(tokens[: state.limit - state.length], state.ends)
    tokens, speakers = tokens[:count], speakers[:count]
    if count:  # a step or text that the large model has begun it also ends
        large = state.scope is not Scope.TOKEN and speakers[-1] is not Speaker.SMALL_KEPT
        state = replace(state, handed=large and tokens[-1] not in state.stops)
    state = replace(state, length=state.length + count).counted(
        kept=speakers.count(Speaker.SMALL_KEPT),
        accepted=speakers.count(Speaker.SMALL_ACCEPTED),
        large=speakers.count(Speaker.LARGE),
    )
    actions: list[Action] = [Commit(tokens, speakers, logprobs[:count])] if count else []
    stopped = bool(tokens) and tokens[-1] in state.ends
    finish = Finish.STOP if stopped else Finish.LENGTH if state.length == state.limit else None
    if finish is None:
        return state, actions
    state, end = _end(state, finish)
    return state, actions + end


def _through(tokens: tuple[int, ...], stops: frozenset[int]) -> int:
    """How many tokens there are up to the first of `stops`, itself included."""
    return next((i + 1 for i, token in enumerate(tokens) if token in stops), len(tokens))


def _end(state: State, finish: Finish, error: str = "") -> Step:
    return replace(state, finish=finish, asked=None), [End(finish, error)]


def _lost(state: State, lost: Lost) -> Step:
    """Goes on with another, or waits for one; unless the session may well be what they die of."""
    role = lost.role
    if role == VERIFIER and state.asked == VERIFIER and state.verifier.there and not lost.idle:
        state = replace(state, losses=state.losses + 1)
        if state.losses >= state.most_losses:
            error = f"given up: {state.losses} verifiers were lost one after another at work on this request"
            return _end(state.degraded(role), Finish.ERROR, error)
    state = state.with_peer(role, Peer(lost.another, state.peer(role).epoch))
    return _without(state, role)


def _without(state: State, role: str) -> Step:
    """Goes on after losing a role: the large model speaks for a drafter (not in mode small)."""
    state = state.degraded(role)
    goes_on = role == DRAFTER or state.peer(role).there
    return _ask(state) if state.asked == role and goes_on else (state, [])


def _opened(state: State, role: str) -> Step:
    peer = state.peer(role)
    if peer.has is not None:
        return state, []
    peer = Peer(True, peer.epoch + 1, 0)
    return state.with_peer(role, peer), [OpenPeer(role, peer.epoch)]
