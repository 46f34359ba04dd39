"""Who is judged together.

Where drafter and verifier compute on the same cores or device, a consult that goes ahead slows the
drafts of others down, and theirs need a pass of their own later, which costs little less than one for
all. So sessions there wait for each other: each for one draft of every other at most, and not for one
that takes unusually long.

A session that verifiers may die of is judged alone: nobody is blamed for another.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from ringroad.actors.messages import Mode
from ringroad.actors.router.members import Address, Peer, Running
from ringroad.actors.router.state import DRAFTER, VERIFIER

Peers = Mapping[Address, Peer]
PATIENCE = 1.0  # seconds; a draft takes less, unless its drafter hangs


def sendable(waiting: Collection[str], running: Mapping[str, Running], peers: Peers, now: float) -> list[str]:
    """Of sessions whose consults wait, those that need wait for nobody; `now` in seconds."""
    if not waiting:
        return []
    inside = [each for name, each in running.items() if each.state.asked == VERIFIER and name not in waiting]
    return _apart(_drafted(waiting, running, peers, now), inside, running)


def _drafted(names: Iterable[str], running: Mapping[str, Running], peers: Peers, now: float) -> list[str]:
    """Those of whose company nobody drafts any more."""
    young = (each for each in running.values() if each.state.drafts and now - each.drafted < PATIENCE)
    drafting = {_company(each, peers) for each in young} - {None}
    return [name for name in names if _company(running[name], peers) not in drafting]


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


def _company(running: Running, peers: Peers) -> tuple[Address, Address] | None:
    """The drafter and the verifier of a session that speculates, if these take turns in one place."""
    drafter, verifier = running.at[DRAFTER], running.at[VERIFIER]
    if running.state.mode is not Mode.SPECULATIVE or drafter is None or verifier is None:
        return None
    return (drafter, verifier) if peers[drafter].shares(peers[verifier]) else None
