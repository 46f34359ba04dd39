"""Who asks for a text, whatever they speak: the gateway's doors each have a caller of their own."""

from abc import ABC, abstractmethod

from ringroad.actors.gateway.tenants import ANYBODY, Tenant
from ringroad.v1 import inference_pb2

_EXPIRED_SECONDS = 0.1


class Caller(ABC):
    """One who asked, and reads. Who leaves cancels the task that answers."""

    tenant: Tenant = ANYBODY

    @abstractmethod
    def patience(self) -> float | None:
        """Seconds to its deadline; None for no deadline."""

    @abstractmethod
    async def named(self, request_id: str) -> None:
        """Tells the request's name, once, before anything of its text."""

    @abstractmethod
    async def write(self, answer: inference_pb2.GenerateResponse) -> None:
        """Hands on a piece; returns when there is room for the next."""

    def expired(self) -> bool:
        """Whether a stream that was cut was cut by its deadline: the client may be a little ahead of us."""
        remaining = self.patience()
        return remaining is not None and remaining < _EXPIRED_SECONDS
