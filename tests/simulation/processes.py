"""Processes of a simulated world, and its routers: driven as `hosting.py` and `channel/` do it."""

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ringroad.actors.messages import Cancel, Chunk, Hello, Message, Submit
from ringroad.actors.router.config import RouterConfig
from ringroad.actors.router.router import Router
from tests.simulation.network import Connection, End

if TYPE_CHECKING:
    from tests.simulation.world import World

HEARTBEAT, SILENT, RECONNECT = 0.5, 1.5, 0.02  # seconds


class Process(End):
    """Something that may crash, and may do nothing for a while."""

    def __init__(self, world: "World", name: str, life: int) -> None:
        """`life`: how often it was started before."""
        self.world, self.name, self.life = world, name, life
        self.alive, self.stalled = True, False
        self.draw = random.Random(f"{world.schedule.seed} {name} {life}")
        self._deferred: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._frames: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    @property
    def now(self) -> float:
        return self.world.loop.time()

    def later(self, seconds: float, do: Callable[..., None], *args: Any) -> None:
        """Does something after a while, unless it is dead by then."""
        self.world.loop.call_later(seconds, self._run, do, *args)

    def arrived(self, connection: Connection, messages: Sequence[Message]) -> None:
        if self.stalled:
            self._frames.append((self.got, (connection, messages)))
        else:
            self._run(self.got, connection, messages)

    def broke(self, connection: Connection) -> None:
        self._run(self.left, connection)

    def stall(self) -> None:
        """Does nothing from now on."""
        self.stalled = True

    def wake(self) -> None:
        """Goes on with what has come up meanwhile: frames first, or timers."""
        self.stalled = False
        both = [self._frames, self._deferred]
        waiting = [each for part in (both if self.draw.random() < 0.5 else both[::-1]) for each in part]
        self._frames, self._deferred = [], []
        for do, args in waiting:
            self._run(do, *args)

    def crash(self) -> None:
        """Is gone with all it held."""
        self.alive = False
        for connection in self.connections():
            connection.cut(self)

    def connections(self) -> list[Connection]:
        """Those that it has now."""
        raise NotImplementedError

    def got(self, connection: Connection, messages: Sequence[Message]) -> None:
        """A frame to act upon."""
        raise NotImplementedError

    def left(self, connection: Connection) -> None:
        """The other end is gone."""
        raise NotImplementedError

    def _run(self, do: Callable[..., None], *args: Any) -> None:
        if not self.alive:
            return
        if self.stalled:
            self._deferred.append((do, args))
        else:
            do(*args)


class RouterProcess(Process):
    """A router, as `run_router` runs it."""

    def __init__(self, world: "World", name: str, life: int) -> None:
        super().__init__(world, name, life)
        ahead = world.schedule.ahead
        config = RouterConfig(lost_after_seconds=SILENT, heartbeat_seconds=HEARTBEAT, ahead=ahead)
        self.router = Router(config, self._send, f"{name}.{life}")
        self._connections: dict[bytes, Connection] = {}
        self._outgoing: dict[bytes, list[Message]] = {}
        self._committed: dict[str, list[int]] = {}  # of texts that are taken up, until they go on
        self.later(self.draw.random() * HEARTBEAT, self._tick)

    def connections(self) -> list[Connection]:
        return list(self._connections.values())

    def connected(self, connection: Connection) -> None:
        """Somebody has called."""
        self._connections[connection.identity] = connection

    def got(self, connection: Connection, messages: Sequence[Message]) -> None:
        if connection.identity not in self._connections:
            return  # as the hub does: it was given up with this on the way
        for message in messages:
            if isinstance(message, Submit):
                self._committed[message.session] = message.committed
        self.router.receive_all(connection.identity, messages, self.now)
        for message in messages:
            if isinstance(message, Cancel) and message.session in self.router._running:
                self.world.wrong(f"{self.name} goes on with {message.session} behind its cancel")
        self._flush()

    def left(self, connection: Connection) -> None:
        self._connections.pop(connection.identity, None)
        self.router.lose(connection.identity)
        self._no_orphans()
        self._flush()

    def _tick(self) -> None:
        silent = self.router.tick(self.now)
        self._flush()  # those that are given up included: they may live
        for address in silent:
            if (connection := self._connections.pop(address, None)) is not None:
                connection.hang_up()
        self._no_orphans()
        self.later(HEARTBEAT, self._tick)

    def _no_orphans(self) -> None:
        """Nothing is generated for a gateway that is gone: nobody would ever end it."""
        for name, running in self.router._running.items():
            if running.gateway not in self._connections:
                self.world.wrong(f"{self.name} goes on with {name}, whose gateway is gone")

    def _send(self, address: bytes, message: Message) -> None:
        if isinstance(message, Chunk):
            self._begun(message)
        self._outgoing.setdefault(address, []).append(message)

    def _begun(self, chunk: Chunk) -> None:
        """Whoever takes a text up begins with all that is committed of it."""
        committed = self._committed.pop(chunk.session, None)
        if committed and chunk.tokens[: len(committed)] != committed:
            self.world.wrong(f"{self.name} began {chunk.session} anew, which had {committed}")

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, {}
        for address, messages in outgoing.items():
            if address in self._connections:
                self._connections[address].down.send(messages)


class Link:
    """A way to a router that a process keeps up: to any, or to the one of a name."""

    def __init__(self, caller: "Caller", name: str = "") -> None:
        self.connection: Connection | None = None
        self._caller, self._name = caller, name
        self._heard = 0.0
        self.call_again()

    def call_again(self) -> None:
        """Looks for a router once more."""
        self._caller.later(RECONNECT, self._seek)

    def heard(self) -> None:
        """It has said something."""
        self._heard = self._caller.now

    def leave(self) -> None:
        """It is gone, or as good as that."""
        assert self.connection is not None
        parted, self.connection = self.connection, None
        parted.cut(self._caller)
        self._caller.parted(parted)
        if self._caller.calls_again():
            self.call_again()

    def _seek(self) -> None:
        caller = self._caller
        router = caller.world.router(caller.draw, self._name)
        if router is None:
            caller.later(HEARTBEAT, self._seek)
            return
        self.connection = Connection(caller.world, caller.new_name(), caller, router, caller.speaks)
        router.connected(self.connection)
        self.heard()
        self._greet(self.connection)

    def _greet(self, connection: Connection) -> None:
        if connection is not self.connection:
            return
        caller = self._caller
        if caller.now - self._heard >= SILENT:
            self.leave()
            return
        connection.up.send([caller.hello()])
        caller.later(HEARTBEAT, self._greet, connection)


class Caller(Process):
    """A process that keeps up its ways to routers: one to any, or one to each."""

    speaks = "role"

    def __init__(self, world: "World", name: str, life: int, routers: Sequence[str] = ("",)) -> None:
        super().__init__(world, name, life)
        self._calls = 0
        self.links = [Link(self, each) for each in routers]

    def hello(self) -> Hello:
        """Who this is."""
        raise NotImplementedError

    def new_name(self) -> str:
        """What this calls itself on one connection."""
        self._calls += 1
        return f"{self.name}.{self.life}.{self._calls}"

    def connections(self) -> list[Connection]:
        return [link.connection for link in self.links if link.connection is not None]

    def got(self, connection: Connection, messages: Sequence[Message]) -> None:
        for link in self._of(connection):
            link.heard()
            self.take(connection, messages)

    def take(self, connection: Connection, messages: Sequence[Message]) -> None:
        """What a router says."""
        raise NotImplementedError

    def parted(self, connection: Connection) -> None:
        """That router is gone."""

    def calls_again(self) -> bool:
        """Whether another is looked for at once."""
        return True

    def left(self, connection: Connection) -> None:
        for link in self._of(connection):
            link.leave()

    def _of(self, connection: Connection) -> list[Link]:
        """The link that a connection is; none where it was given up."""
        return [link for link in self.links if link.connection is connection]
