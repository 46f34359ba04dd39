"""What drafters and verifiers have in common, whoever drives them."""

from typing import Protocol

from ringroad.actors.messages import Hello, Message


class Role(Protocol):
    """A plain role, without Ray, sockets or threads: messages in, work, messages out."""

    @property
    def busy(self) -> bool:
        """Whether `step` has anything to do."""

    @property
    def asked(self) -> bool:
        """Whether somebody waits for that."""

    def hello(self) -> Hello:
        """Who this is, and how full."""

    def receive(self, message: Message) -> None:
        """Takes in one message from the router."""

    def step(self) -> list[Message]:
        """Does a piece of work; the answers it completed."""

    def rescue(self) -> list[Message]:
        """After a step that raised: finishes what can be, and says for each session what cannot."""
