"""Where a session starts: what its request asks for, and the router's defaults where it asks for nothing."""

from collections.abc import Mapping

from msgspec.structs import replace

from ringroad.actors.messages import Counts, Mode, Policy, Submit
from ringroad.actors.router.policies import LEARNED, always, never, wants_head
from ringroad.actors.router.state import DRAFTER, NOTHING, VERIFIER, Peer, State

Quantiles = Mapping[str, list[float]]


def begin(
    submit: Submit,
    budget: int,
    policy: Policy,
    until: Policy | None,
    peers: set[str],
    quantiles: Quantiles | None = None,
    most_losses: int = 3,
) -> State:
    """The state of a request before its first event; request and router defaults meet here.

    quantiles: of the doubt of each rule, where they are known; those of the learned one where a head judges.
    most_losses: of verifiers, one after another, that the session outlives all but the last of.
    """
    known = quantiles or {}
    policy = submit.policy or policy
    if policy.share is not None:
        policy = replace(policy, quantiles=known.get(policy.name, []))
    mode, length = _settled(submit.mode, policy), len(submit.prompt)
    if submit.draft_tokens is not None:
        budget = submit.draft_tokens
    if mode in (Mode.SMALL, Mode.ROUTED):
        budget = max(1, budget)  # here a proposal is who speaks, not a way to be fast
    wanted = mode in (Mode.SPECULATIVE, Mode.ROUTED) and DRAFTER not in peers
    return State(
        mode=mode,
        length=length,
        limit=length + submit.max_tokens,
        ends=frozenset(submit.ends),
        budget=budget,
        policy=policy,
        until=until,
        drafter=Peer(there=DRAFTER in peers),
        verifier=Peer(there=VERIFIER in peers),
        breaks=frozenset(submit.breaks),
        head=policy.name == LEARNED or (wants_head(policy) and LEARNED in known),
        most_losses=most_losses,
        counts=Counts(degraded=[DRAFTER]) if wanted else NOTHING,
    )


def _settled(mode: Mode, policy: Policy) -> Mode:
    """At the two ends of its dial a routed session is one of either model alone."""
    if mode is not Mode.ROUTED:
        return mode
    return Mode.LARGE if always(policy) else Mode.SMALL if never(policy) else mode
