"""The ways between processes: what TCP and ZeroMQ give, and less where a schedule is harsh.

Frames of one connection arrive in order. Where it breaks, those on their way are lost, in both directions,
and whoever called connects anew under a new name. While two processes are apart, frames wait.
"""

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from ringroad.actors.messages import Message, ToDrafter, ToGateway, ToHead, ToRouter, ToVerifier

if TYPE_CHECKING:
    from tests.simulation.world import World

_encode = msgspec.msgpack.Encoder().encode
UP = msgspec.msgpack.Decoder(list[ToRouter]).decode
DOWN = {
    "gateway": msgspec.msgpack.Decoder(list[ToGateway]).decode,
    "role": msgspec.msgpack.Decoder(list[ToDrafter | ToVerifier | ToHead]).decode,
}
Frame = tuple[int, bytes]  # numbered as they were sent
NOTICED = 0.003  # seconds until an end knows that the other is gone, where the connection tells


class Way:
    """One direction of a connection."""

    def __init__(
        self,
        world: "World",
        name: str,
        arrive: Callable[[Sequence[Message]], None],
        decode: Callable[[bytes], list],
        harsh: bool,
    ) -> None:
        self.held = False  # the ends are apart
        self.broken = False
        self._world = world
        self._name = name
        self._arrive = arrive
        self._decode = decode
        self._harsh = harsh
        self._draw = random.Random(f"{world.schedule.seed} {name}")
        self._last = 0.0  # when the last frame arrives
        self._waiting: list[Frame] = []
        self._sent = 0

    def send(self, messages: Sequence[Message]) -> None:
        """On its way as one frame, or in the harsh mode each by itself and some twice."""
        if self.broken:
            return
        if not self._harsh:
            self._carry(self._frame(messages))
            return
        for message in messages:
            for _ in range(1 + (self._draw.random() < self._world.schedule.repeats)):
                self._carry(self._frame([message]))

    def release(self) -> None:
        """The ends are together again."""
        self.held = False
        waiting, self._waiting = self._waiting, []
        for frame in sorted(waiting):  # some were on their way before others were sent
            self._carry(frame)

    def _frame(self, messages: Sequence[Message]) -> Frame:
        self._sent += 1
        return self._sent, _encode(messages)

    def _carry(self, frame: Frame) -> None:
        if self.held:
            self._waiting.append(frame)
            return
        at = self._world.loop.time() + self._delay()
        if not self._harsh:
            at = self._last = max(self._last + 1e-6, at)  # the loop keeps no order of equals
        self._world.loop.call_at(at, self._arrived, frame)

    def _arrived(self, frame: Frame) -> None:
        if self.broken:
            return
        if self.held:
            self._waiting.append(frame)
            return
        messages = self._decode(frame[1])
        if self._world.tracing:
            for message in messages:
                self._world.say(f"{self._name}: {message}")
        self._arrive(messages)

    def _delay(self) -> float:
        chance = self._draw.random()
        if not self._world.schedule.wild:
            return 0.0005 + 0.002 * chance
        return 0.0005 + (0.4 * self._draw.random() if chance < 0.1 else 0.01 * chance)


class Connection:
    """Between a process that called and a router."""

    def __init__(self, world: "World", name: str, spoke: "End", router: "End", decode: str) -> None:
        harsh = world.schedule.harsh and decode == "role"
        self.identity = name.encode()
        self.spoke, self.router = spoke, router
        self.broken = False
        self._world = world
        self.up = Way(world, f"{name} -> {router.name}", self._to_router, UP, harsh)
        self.down = Way(world, f"{router.name} -> {name}", self._to_spoke, DOWN[decode], harsh)
        if world.apart(spoke.name, router.name):
            self.hold()

    def hold(self) -> None:
        """The ends are apart: frames wait."""
        self.up.held = self.down.held = True

    def release(self) -> None:
        """And together again."""
        self.up.release()
        self.down.release()

    def cut(self, by: "End | None" = None) -> None:
        """It breaks. The ends are told, where connections tell at all; whoever broke it knows."""
        if self.broken:
            return
        self.broken = self.up.broken = self.down.broken = True
        self._tell(by)

    def hang_up(self) -> None:
        """Its router gives it up: it hears nothing more, and what it has said still arrives."""
        self.up.broken = True
        self._tell(self.router)

    def _tell(self, by: "End | None") -> None:
        for end in (self.spoke, self.router):
            if end is not by and (self._world.schedule.noticed and not self.up.held):
                self._world.loop.call_later(NOTICED, end.broke, self)

    def _to_router(self, messages: Sequence[Message]) -> None:
        self.router.arrived(self, messages)

    def _to_spoke(self, messages: Sequence[Message]) -> None:
        self.spoke.arrived(self, messages)


class End:
    """A process as its connections know it."""

    name: str

    def arrived(self, connection: Connection, messages: Sequence[Message]) -> None:
        """A frame has come."""
        raise NotImplementedError

    def broke(self, connection: Connection) -> None:
        """The connection says that the other end is gone."""
        raise NotImplementedError
