"""Who is judged together.

Where drafter and verifier compute on the same cores or device, a consult that goes ahead slows the
drafts of others down, and theirs need a pass of their own later, which costs little less than one for
all. So sessions there wait for each other: each for one draft of every other at most, and not for one
that takes unusually long.
"""

from collections.abc import Iterable, Mapping

from ringroad.actors.messages import Mode
from ringroad.actors.router.members import Address, Peer, Running
from ringroad.actors.router.session import drafts
from ringroad.actors.router.state import DRAFTER, VERIFIER

Peers = Mapping[Address, Peer]
PATIENCE = 1.0  # seconds; a draft takes less, unless its drafter hangs


def ready(waiting: Iterable[str], running: Mapping[str, Running], peers: Peers, now: float) -> list[str]:
    """Of sessions whose consults wait, those of whose company nobody drafts any more; `now` in seconds."""
    names = list(waiting)
    if not names:
        return []
    young = (each for each in running.values() if drafts(each.state) and now - each.drafted < PATIENCE)
    drafting = {_company(each, peers) for each in young} - {None}
    return [name for name in names if _company(running[name], peers) not in drafting]


def _company(running: Running, peers: Peers) -> tuple[Address, Address] | None:
    """The drafter and the verifier of a session that speculates, if these take turns in one place."""
    drafter, verifier = running.at[DRAFTER], running.at[VERIFIER]
    if running.state.mode is not Mode.SPECULATIVE or drafter is None or verifier is None:
        return None
    return (drafter, verifier) if peers[drafter].shares(peers[verifier]) else None
