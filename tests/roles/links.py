"""Both ends of a link, and what is awaited at them: what tests of the channel share."""

from collections.abc import Callable, Iterator, Sequence

from ringroad.actors.channel import Pulse
from ringroad.actors.channel.hub import Hub
from ringroad.actors.channel.spoke import Spoke
from ringroad.actors.messages import Hello, Message

HOST = "127.0.0.1"
PATIENT = Pulse(0.05, 60.0)  # under which nobody is lost by silence within a test
HASTY = Pulse(0.05, 0.3)

Locate = Callable[[], Sequence[str]]
MakeSpoke = Callable[[Locate, Pulse], Spoke]


def frames(hub: Hub) -> Iterator[tuple[bytes, Sequence[Message]]]:
    """What arrives; ends after some seconds."""
    for _ in range(100):
        yield from hub.receive(0.1)


def first(hub: Hub, wanted: type[Message] = Hello, besides: Sequence[bytes] = ()) -> tuple[bytes, Message]:
    """The next message of a kind; fails after some seconds."""
    for sender, messages in frames(hub):
        for message in messages:
            if isinstance(message, wanted) and sender not in besides:
                return sender, message
    raise AssertionError(f"no {wanted.__name__}")


def gone(hub: Hub) -> list[bytes]:
    """Whose death is noticed; fails after some seconds."""
    for _ in range(100):
        for _ in hub.receive(0.1):
            pass
        if found := list(hub.gone()):
            return found
    raise AssertionError("nobody's death was noticed")


def until(spoke: Spoke, wanted: object) -> bytes:
    """The link on which a frame, or None for its end, comes next; fails after some seconds."""
    while True:
        link, frame = spoke.inbox.get(timeout=10)
        if frame == wanted:
            return link
