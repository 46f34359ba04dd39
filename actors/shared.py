"""A role that several routers share: each has sessions of its own there, and gets the answers about them."""

from collections.abc import Mapping, Sequence

from ringroad.actors.messages import (
    Close,
    Consult,
    Draft,
    Failed,
    Forgotten,
    Message,
    Open,
    Proposal,
    Ruling,
    Seen,
    Verdict,
    Welcome,
)
from ringroad.actors.role import Role

Answer = Proposal | Seen | Verdict | Ruling | Forgotten | Failed
Answers = Mapping[bytes, list[Message]]  # by the router that asked


class Shared:
    """A `Role` with an address beside every message; a router's is another whenever it is met again."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self._owners: dict[str, bytes] = {}  # of each session the router that works on it
        self._aware: dict[bytes, bool] = {}  # of each router whether it knows that this role is to stop

    @property
    def released(self) -> bool:
        """Whether every router knows that this role is to stop, and none has a session here."""
        return not self._owners and all(self._aware.values())

    def receive(self, router: bytes, messages: Sequence[Message]) -> None:
        """Takes in a frame from a router."""
        for message in messages:
            match message:
                case Welcome(leaving=leaving):
                    # Never for the role itself: it would void what other routers have begun.
                    self._aware[router] = leaving
                    continue
                case Open() | Draft() | Consult() | Seen():  # whoever asks is answered, if only "forgotten"
                    self._owners[message.session] = router
                case Close(session=session):
                    self._owners.pop(session, None)
            self.role.receive(message)

    def lost(self, router: bytes) -> None:
        """A router is gone: whatever it began here ends."""
        self._aware.pop(router, None)
        for session in [name for name, owner in self._owners.items() if owner == router]:
            del self._owners[session]
            self.role.receive(Close(session))

    def step(self) -> Answers:
        """Does a piece of the role's work."""
        return self._sorted(self.role.step())

    def rescue(self) -> Answers:
        """After a step that raised."""
        return self._sorted(self.role.rescue())

    def _sorted(self, answers: Sequence[Message]) -> Answers:
        told: dict[bytes, list[Message]] = {}
        for answer in answers:
            assert isinstance(answer, Answer)
            if (owner := self._owners.get(answer.session)) is not None:
                told.setdefault(owner, []).append(answer)
        for answer in answers:
            if isinstance(answer, Ruling):  # the head holds nothing of a session, and nobody closes it there
                self._owners.pop(answer.session, None)
        return told
