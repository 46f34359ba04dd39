"""A hub whose peers are played: what tests of the router share."""

from collections import deque
from dataclasses import dataclass, field

from msgspec.structs import replace

from ringroad.actors.messages import (
    Chunk,
    Consult,
    Hello,
    Message,
    Mode,
    Roster,
    Sampling,
    Submit,
    Verdict,
    Welcome,
)
from ringroad.actors.router.config import RouterConfig
from ringroad.actors.router.router import Router

GATE, DRAFT, JUDGE = b"gate", b"draft", b"judge"
WARM = Sampling(seed=9, temperature=1.0)


def large(position: int) -> int:
    return position * 7 % 11


@dataclass
class Hub:
    """A router and all it has sent."""

    config: RouterConfig = field(default_factory=lambda: RouterConfig(until=None))
    sent: dict[bytes, deque[Message]] = field(default_factory=dict)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.router = Router(
            self.config, lambda to, message: self.sent.setdefault(to, deque()).append(message)
        )

    def hears(self, sender: bytes, message: Message) -> None:
        self.router.receive(sender, message, self.now)

    def greet(self, *addresses: bytes) -> None:
        for address in addresses:
            role = "drafter" if address.startswith(DRAFT) else "verifier"
            self.hears(address, Hello(role))
            assert isinstance(self.take(address)[0], Welcome)

    def take(self, address: bytes) -> list[Message]:
        """What was sent there since."""
        return [*self.sent.pop(address, ())]

    def rosters(self) -> list[Message]:
        """Likewise what the gateway was sent, without the figures in it."""
        return [replace(m, figures=None) if isinstance(m, Roster) else m for m in self.take(GATE)]

    def submit(self, name: str = "s", mode: Mode = Mode.LARGE, max_tokens: int = 4, **more: object) -> None:
        self.hears(GATE, Submit(name, [1, 2, 3], max_tokens, mode, WARM, **more))  # type: ignore[arg-type]

    def chunks(self) -> list[Chunk]:
        return [message for message in self.take(GATE) if isinstance(message, Chunk)]

    def judge(self, address: bytes, consult: Message) -> None:
        assert isinstance(consult, Consult)
        length = consult.base + len(consult.tokens)
        self.hears(address, Verdict(consult.session, consult.epoch, length, [], large(length)))
