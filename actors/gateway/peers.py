"""Which roles the router can reach, as its latest roster says."""

from ringroad.actors.errors import Unavailable
from ringroad.actors.messages import Hello, Mode


class Peers:
    """Empty until the first roster, and again when the router is lost."""

    def __init__(self) -> None:
        self.roster: list[Hello] = []

    @property
    def ready(self) -> bool:
        """Whether a verifier is there: every mode but `small` needs one."""
        return any(peer.role == "verifier" for peer in self.roster)

    def check(self, mode: Mode) -> None:
        """Raises Unavailable when nobody can speak in this mode now."""
        small_speaks = mode in (Mode.SMALL, Mode.ROUTED)
        if small_speaks and not any(peer.role == "drafter" and peer.model for peer in self.roster):
            raise Unavailable("no drafter with a model is known")
        if mode is not Mode.SMALL and not self.ready:
            raise Unavailable("no verifier is known")
