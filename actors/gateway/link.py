"""What a gateway needs of the way to its router."""

from typing import Protocol

from ringroad.actors.messages import ToGateway, ToRouter


class LinkLost(ConnectionError):
    """The router is gone; what was sent to it and not answered is lost."""


class RouterLink(Protocol):
    """A two-way channel to the router, in order. Both methods raise LinkLost while it is gone."""

    async def send(self, message: ToRouter) -> None:
        """Hands a message over; returns before it is answered."""

    async def receive(self) -> ToGateway:
        """Waits for the next message. After LinkLost a further call tries the router again."""
