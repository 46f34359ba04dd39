"""Whom the hub knows: peers and running sessions."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ringroad.actors.messages import Hello, Open, Sampling
from ringroad.actors.router.costs import Meter
from ringroad.actors.router.foresight import Foresight
from ringroad.actors.router.pace import Pace
from ringroad.actors.router.state import DRAFTER, VERIFIER, State

log = logging.getLogger(__name__)

Address = bytes


@dataclass
class Peer:
    """A drafter or verifier, as its last hello said."""

    hello: Hello
    heard: float  # seconds on the caller's clock
    welcome: str  # what it is greeted with
    foresight: Foresight  # of a verifier's sessions
    sessions: set[str] = field(default_factory=set)
    meter: Meter = field(default_factory=Meter)

    def shares(self, other: "Peer") -> bool:
        """Whether both compute on the same cores or device, and so take turns."""
        return not set(self.hello.place).isdisjoint(other.hello.place)

    def leave(self, session: str, now: float) -> None:
        """A session is over."""
        self.sessions.discard(session)
        self.foresight.left(session, now)


@dataclass
class Running:
    """A session: its state, its text, and where its roles are."""

    state: State
    tokens: list[int]  # prompt and committed
    prompt: int
    gateway: Address
    sampling: Sampling
    at: dict[str, Address | None]
    pace: Pace | None = None  # where the budget is the router's to choose
    trace: str = ""  # where the spans of its roles belong; empty: nobody traces it
    asked: float = 0.0  # when a role was asked last, in seconds on the caller's clock
    successors: list[list[int]] = field(default_factory=list)  # of the last verdict, for the drafter
    salt: bytes = b""  # of the `Submit`

    def opening(self, name: str, epoch: int) -> Open:
        """What a role is told first."""
        return Open(name, epoch, self.sampling, self.state.limit, self.salt, self.trace)

    @property
    def begins(self) -> bool:
        """Whether nothing is committed yet."""
        return len(self.tokens) == self.prompt


class Peers(dict[Address, Peer]):
    """Those who are there."""

    def __init__(
        self, router: str, ways: tuple[int, ...], lost: Callable[[str], None] = lambda _: None
    ) -> None:
        """`router`: its name; `ways`: how many outcomes drafters may be asked to prepare for; `lost`: told
        the role of each that is lost."""
        super().__init__()
        self._router, self._ways, self._lost = router, ways, lost
        self._meetings = 0
        self._meters: dict[tuple[str, ...], Meter] = {}  # by role, model and place

    def meet(self, address: Address, hello: Hello, now: float) -> Peer:
        """Somebody is there that was not, or was taken for dead: then what it still holds has to be void, so
        every meeting has a name of its own."""
        log.info("met a %s (%s)", hello.role, hello.model or "no model")
        self._meetings += 1
        # Who comes back, or takes another's place, costs what is known already.
        meter = self._meters.setdefault((hello.role, hello.model, *hello.place), Meter())
        welcome = f"{self._router}.{self._meetings}"
        peer = self[address] = Peer(hello, now, welcome, Foresight(self._ways), meter=meter)
        return peer

    def lose(self, addresses: Sequence[Address]) -> list[tuple[str, str, Address]]:
        """Forgets those who are gone; their sessions, each with the role it lacks and who had it.

        All of them, before any of that is given to others: a session given to one that is gone as well
        would have lost two.
        """
        gone = [(address, self.pop(address)) for address in addresses if address in self]
        for _, peer in gone:
            log.warning("lost a %s with %d sessions", peer.hello.role, len(peer.sessions))
            self._lost(peer.hello.role)
        # Sorted: the same whatever hashes are.
        return [(name, peer.hello.role, address) for address, peer in gone for name in sorted(peer.sessions)]

    def least_busy(self, role: str) -> Address | None:
        """Of the peers in a role the one with the fewest sessions; one that leaves where nobody stays."""
        there = [
            (peer.hello.leaving, len(peer.sessions), address)
            for address, peer in self.items()
            if peer.hello.role == role
        ]
        return min(there)[2] if there else None

    def first(self, role: str, replica: int | None) -> Address | None:
        """Whom a session goes to: to that replica where it is there and stays, else to the least busy."""
        for address, peer in self.items():
            hello = peer.hello
            if (hello.role, hello.replica, hello.leaving) == (role, replica, False):
                return address
        return self.least_busy(role)

    def replicas(self, running: Running) -> dict[str, int]:
        """By role, those that have a session."""
        return {
            role: self[address].hello.replica
            for role, address in running.at.items()
            if address and address in self
        }

    def better(self, address: Address, other: Address) -> bool:
        """Whether the one stays and the other leaves."""
        return self[other].hello.leaving and not self[address].hello.leaving

    def give(self, session: str, address: Address | None) -> None:
        """A session is with a peer from now on."""
        if address is not None:
            self[address].sessions.add(session)

    def pair(self, running: Running) -> tuple[Peer | None, Peer | None]:
        """A session's drafter and verifier."""
        return self.get(running.at[DRAFTER] or b""), self.get(running.at[VERIFIER] or b"")
