"""Who is judged together.

Where drafter and verifier compute on the same cores or device, a consult that goes ahead slows the
drafts of others down, and theirs need a pass of their own later, which costs little less than one for
all. So sessions there wait for each other: each for one draft of every other at most.
"""

from collections.abc import Iterable, Mapping

from ringroad.actors.messages import Mode
from ringroad.actors.router.members import Address, Peer, Running
from ringroad.actors.router.session import DRAFTER, VERIFIER, drafts

Peers = Mapping[Address, Peer]


def ready(waiting: Iterable[str], running: Mapping[str, Running], peers: Peers) -> list[str]:
    """Of sessions whose consults wait, those of whose company nobody drafts any more."""
    names = list(waiting)
    if not names:
        return []
    drafting = {_company(each, peers) for each in running.values() if drafts(each.state)} - {None}
    return [name for name in names if _company(running[name], peers) not in drafting]


def _company(running: Running, peers: Peers) -> tuple[Address, Address] | None:
    """The drafter and the verifier of a session that speculates, if these take turns in one place."""
    drafter, verifier = running.at[DRAFTER], running.at[VERIFIER]
    if running.state.mode is not Mode.SPECULATIVE or drafter is None or verifier is None:
        return None
    return (drafter, verifier) if peers[drafter].shares(peers[verifier]) else None
