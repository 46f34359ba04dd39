"""Who is asked together.

Where drafter and verifier compute on the same cores or device, a consult that goes ahead slows the
drafts of others down, and theirs need a pass of their own later, which costs little less than one for
all. So sessions there wait for each other: each for one draft of every other at most, and not for one
that takes unusually long. In mode `routed` a draft that stands is followed by another; that one waits in turn
while others of its company are judged, since they would find nobody to draft with when they come back.

A session that verifiers may die of is judged alone: nobody is blamed for another.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from ringroad.actors.messages import Mode
from ringroad.actors.router.members import Address, Peer, Running
from ringroad.actors.router.policies import Scope
from ringroad.actors.router.state import DRAFTER, VERIFIER

Peers = Mapping[Address, Peer]
Company = tuple[Address, Address]
PATIENCE = 1.0  # seconds; an answer takes less, unless a role hangs


def sendable(waiting: Collection[str], running: Mapping[str, Running], peers: Peers, now: float) -> list[str]:
    """Of sessions whose questions wait, those that need wait for nobody; `now` in seconds."""
    if not waiting:
        return []
    asked = {name: each.state.asked for name, each in running.items()}
    sent = [name for name in running if name not in waiting]
    under_way = [name for name in sent if now - running[name].asked < PATIENCE]

    def companies(names: Iterable[str], role: str) -> set[Company]:
        """Of those who soon have an answer of a role."""
        soon = [running[name] for name in names if asked[name] == role and running[name].state.soon]
        return {each for one in soon if (each := _company(one, peers)) is not None}

    drafts, consults = ([name for name in waiting if asked[name] == role] for role in (DRAFTER, VERIFIER))
    at_once = [name for name in drafts if running[name].state.mode is not Mode.ROUTED]
    drafting = companies([*under_way, *at_once], DRAFTER)
    drafted = [name for name in consults if _company(running[name], peers) not in drafting]
    judged = _apart(drafted, [running[name] for name in sent if asked[name] == VERIFIER], running)
    held = {_company(running[name], peers) for name in consults if name not in judged}
    judging = companies([*under_way, *judged], VERIFIER) | (held - {None})
    in_turn = [name for name in drafts if _company(running[name], peers) not in judging]
    return [*at_once, *judged, *(name for name in in_turn if name not in at_once)]


def _apart(names: Sequence[str], inside: Iterable[Running], running: Mapping[str, Running]) -> list[str]:
    """A suspect alone, once those `inside` its verifier have left; others while no suspect is or would be."""
    busy = {each.at[VERIFIER]: each.state.suspect for each in inside}
    suspects = {running[name].at[VERIFIER]: name for name in reversed(names) if running[name].state.suspect}

    def free(name: str) -> bool:
        verifier = running[name].at[VERIFIER]
        if verifier in suspects:
            return name == suspects[verifier] and verifier not in busy
        return not busy.get(verifier)

    return [name for name in names if free(name)]


def _company(running: Running, peers: Peers) -> Company | None:
    """The drafter and the verifier of a session that needs both token by token, if these take turns in one
    place."""
    drafter, verifier, state = running.at[DRAFTER], running.at[VERIFIER], running.state
    both = state.mode in (Mode.SPECULATIVE, Mode.ROUTED) and state.scope is Scope.TOKEN
    if not both or drafter is None or verifier is None:
        return None
    return (drafter, verifier) if peers[drafter].shares(peers[verifier]) else None
