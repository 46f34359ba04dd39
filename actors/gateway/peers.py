"""Which roles the router can reach, as its latest roster says."""

from typing import NamedTuple

from ringroad.actors.errors import Unavailable
from ringroad.actors.figures import RouterFigures
from ringroad.actors.messages import Hello, Mode, Roster


class Bound(NamedTuple):
    """How long a text may be."""

    tokens: int  # of a prompt and its answer together
    what: str  # holds so many


class Peers:
    """Empty until the first roster, and again when the router is lost."""

    def __init__(self) -> None:
        self.roster: list[Hello] = []
        self.router: RouterFigures | None = None  # None: there is none

    def told(self, roster: Roster) -> None:
        """By the router."""
        self.roster = roster.peers
        self.router = roster.figures or RouterFigures()

    def lost(self) -> None:
        """There is no router."""
        self.roster = []
        self.router = None

    @property
    def ready(self) -> bool:
        """Whether a verifier is there: every mode but `small` needs one."""
        return any(peer.role == "verifier" for peer in self.roster)

    @property
    def kv_share(self) -> float:
        """Of the verifier whose cache is fullest, how full: 0 to 1."""
        judges = [peer.figures for peer in self.roster if peer.role == "verifier" and peer.figures]
        return max((each.kv_held / each.kv_room for each in judges if each.kv_room), default=0.0)

    def caches(self, mode: Mode) -> list[Bound]:
        """What the caches of those hold who must speak in this mode: whichever of them gets a request."""
        roles = {Mode.SMALL: ("drafter",), Mode.ROUTED: ("drafter", "verifier")}.get(mode, ("verifier",))
        return [
            Bound(peer.longest, f"the {peer.role}'s cache")
            for peer in self.roster
            if peer.role in roles and peer.longest
        ]

    def serve(self, mode: Mode) -> bool:
        """Whether those who must speak in this mode are there."""
        try:
            self.check(mode)
        except Unavailable:
            return False
        return True

    def check(self, mode: Mode) -> None:
        """Raises Unavailable when nobody can speak in this mode now."""
        small_speaks = mode in (Mode.SMALL, Mode.ROUTED)
        if small_speaks and not any(peer.role == "drafter" and peer.model for peer in self.roster):
            raise Unavailable("no drafter with a model is known")
        if mode is not Mode.SMALL and not self.ready:
            raise Unavailable("no verifier is known")
