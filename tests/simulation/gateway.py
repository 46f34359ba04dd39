"""What a gateway does for a client, as far as routers see it: who loses its router asks the next one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from msgspec import structs

from ringroad.actors.messages import Cancel, Chunk, Finish, Hello, Message, Speaker
from tests.simulation.processes import Caller
from tests.simulation.schedule import Ask

if TYPE_CHECKING:
    from tests.simulation.world import World

SETTLE = 1.0  # seconds for the router's last word on a cancelled session


@dataclass
class Reader:
    """What a client has read of its text."""

    ask: Ask
    tokens: list[int] = field(default_factory=list)
    speakers: list[Speaker] = field(default_factory=list)
    last: list[Chunk] = field(default_factory=list)  # terminal messages
    degraded: set[str] = field(default_factory=set)
    lost: bool = False  # with the gateway
    left: bool = False  # the client wants no more of it

    @property
    def over(self) -> bool:
        """Nothing more is to come."""
        return bool(self.last) or self.lost


class GatewayProcess(Caller):
    """Its texts, each under the name that the router of the day knows it by."""

    speaks = "gateway"

    def __init__(self, world: "World", name: str, life: int) -> None:
        super().__init__(world, name, life)
        self.running: dict[str, Reader] = {}  # by request
        self.routed: dict[str, Reader] = {}  # by the name at the router
        self.heard: dict[str, int] = {}  # tokens, by the name at the router
        self._serial = count()

    def hello(self) -> Hello:
        return Hello(role="gateway")

    def ask(self, reader: Reader) -> None:
        """A client asks."""
        self.running[reader.ask.name] = reader
        if self.connection is not None:
            self._submit(reader)
        if reader.ask.cancelled is not None:
            self.later(reader.ask.cancelled, self._cancel, reader)

    def crash(self) -> None:
        super().crash()
        self._forget()
        for reader in self.running.values():
            reader.lost = True

    def met(self) -> None:
        for reader in list(self.running.values()):
            self._submit(reader)

    def parted(self) -> None:
        self._forget()

    def _forget(self) -> None:
        """What was asked of the router of the day."""
        for name, reader in self.routed.items():
            reader.degraded |= self.world.degraded(name)
        self.routed.clear()

    def take(self, messages: Sequence[Message]) -> None:
        for message in messages:
            reader = self.routed.get(message.session) if isinstance(message, Chunk) else None
            if isinstance(message, Chunk) and reader is not None:
                self._read(reader, message)

    def _submit(self, reader: Reader) -> None:
        name = f"{reader.ask.name}~{self.name}.{self.life}.{next(self._serial)}"
        self.routed[name], self.heard[name] = reader, 0
        self.tell(
            [
                structs.replace(
                    reader.ask.submit(),
                    session=name,
                    committed=list(reader.tokens),
                    speakers=list(reader.speakers),
                )
            ]
        )

    def _read(self, reader: Reader, chunk: Chunk) -> None:
        """Routers say all that is committed from the text's beginning on; the client has read some of it."""
        heard = self.heard[chunk.session]
        if chunk.offset != heard:
            self.world.wrong(f"{reader.ask.name}: token {chunk.offset} came after {heard}")
            return
        self.heard[chunk.session] = heard + len(chunk.tokens)
        known = len(reader.tokens) - chunk.offset
        if chunk.tokens[:known] != reader.tokens[chunk.offset :][: len(chunk.tokens)]:
            self.world.wrong(f"{reader.ask.name}: what was committed has changed")
        reader.tokens += chunk.tokens[known:]
        reader.speakers += chunk.speakers[known:]
        if chunk.finish is Finish.CANCELLED and not reader.left:  # the router took this gateway for dead
            reader.degraded |= self.world.degraded(chunk.session)
            del self.routed[chunk.session]
            self._submit(reader)
        elif chunk.finish is not None:
            self._end(reader, chunk)

    def _cancel(self, reader: Reader) -> None:
        if reader.over:
            return
        reader.left = True
        names = [name for name, each in self.routed.items() if each is reader]
        self.tell([Cancel(name) for name in names])
        self.later(SETTLE, self._give_up, reader)

    def _give_up(self, reader: Reader) -> None:
        if not reader.over:
            self._end(reader, Chunk(reader.ask.name, len(reader.tokens), [], [], Finish.CANCELLED))

    def _end(self, reader: Reader, last: Chunk) -> None:
        reader.last.append(last)
        reader.degraded |= set(last.counts.degraded) if last.counts else set()
        self.running.pop(reader.ask.name, None)
        for name in [name for name, each in self.routed.items() if each is reader]:
            reader.degraded |= self.world.degraded(name)
            del self.routed[name]
