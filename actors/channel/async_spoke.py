"""A gateway's end of the channel: a link to one router, and to another when that is lost."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec
import zmq
import zmq.asyncio

from ringroad.actors.channel import PULSE, Pulse
from ringroad.actors.channel.lifeline import PORT, dealer, new_name, split
from ringroad.actors.gateway.link import LinkLost
from ringroad.actors.messages import Hello, Roster, ToGateway, ToRouter

log = logging.getLogger(__name__)

LOCATE_SECONDS = 2.0  # for whoever locates routers

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[ToGateway]).decode


@dataclass
class _Way:
    """A link to a router."""

    address: str
    ends: asyncio.StreamReader
    lifeline: asyncio.StreamWriter
    hub: zmq.asyncio.Socket
    missed: int = 0  # heartbeats since it was heard

    def close(self) -> None:
        self.lifeline.close()
        self.hub.close(linger=0)


class AsyncSpoke:
    """Satisfies `gateway.link.RouterLink`. For one task that receives and any number that send."""

    def __init__(self, locate: Callable[[], Awaitable[Sequence[str]]], pulse: Pulse = PULSE) -> None:
        """`locate`: the addresses of all routers, the one to be taken first in front."""
        self._locate = locate
        self._pulse = pulse
        self._known: list[str] = []  # as last located
        self._way: _Way | None = None
        self._next: _Way | None = None  # when the router that is leaving is left
        self._last = ""  # the address of the router that was lost
        self._lost = ""  # why; told by `receive` once
        self._arrived: deque[ToGateway] = deque()
        self._tasks: list[asyncio.Task[None]] = []  # of this link
        self._move: asyncio.Task[None] | None = None

    async def send(self, message: ToRouter) -> None:
        """Sends to the router, in order. Raises LinkLost while it is gone."""
        if self._way is None:
            raise LinkLost("the router is gone")
        await self._way.hub.send(_encode([message]))

    async def receive(self) -> ToGateway:
        """Waits for the router's next message. Raises LinkLost once when it is gone; then it is another's."""
        while not self._arrived:
            if self._lost:
                why, self._lost = self._lost, ""
                raise LinkLost(why)
            if self._way is None:
                self._take(await self._following())
            way = self._way
            assert way is not None
            try:
                data = await way.hub.recv()
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if not self._lost or (task is not None and task.cancelling()):
                    raise
                continue  # the socket was closed under it
            if way is self._way:  # else it was given up while this came
                self._hear(way, data)
        return self._arrived.popleft()

    def close(self) -> None:
        """Leaves the router."""
        if self._move is not None:
            self._move.cancel()
        if self._next is not None:
            self._next.close()
        self._leave()
        self._move = self._next = None

    def _hear(self, way: _Way, data: bytes) -> None:
        way.missed = 0
        messages = _decode(data)
        self._arrived.extend(messages)
        leaving = any(isinstance(each, Roster) and each.leaving for each in messages)
        if leaving and (self._move is None or self._move.done()):
            self._move = asyncio.create_task(self._change(way))

    def _take(self, way: _Way) -> None:
        self._way = way
        self._tasks = [asyncio.create_task(task) for task in (self._greet(way), self._watch(way))]

    def _leave(self) -> None:
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        if self._way is not None:
            self._way.close()
        self._way, self._tasks = None, []

    def _lose(self, why: str) -> None:
        if self._way is not None:
            log.warning("lost the router at %s: %s", self._way.address, why)
            self._last = self._way.address
        self._lost = why
        self._leave()

    async def _greet(self, way: _Way) -> None:
        while way.missed < self._pulse.missed:
            await way.hub.send(_encode([Hello(role="gateway")]))
            way.missed += 1
            await asyncio.sleep(self._pulse.heartbeat_seconds)
        self._lose("the router is silent")

    async def _watch(self, way: _Way) -> None:
        with suppress(OSError):
            await way.ends.read(1)
        self._lose("the router is gone")

    async def _change(self, way: _Way) -> None:
        """From a router that is leaving to another, if there is one; what it ran is lost as by its death."""
        with suppress(LinkLost):
            other = await self._find(way.address)
            if self._way is not way:
                other.close()
                return
            self._next = other
            self._lose("the router is leaving")

    async def _following(self) -> _Way:
        following, self._next = self._next, None
        return following or await self._find()

    async def _find(self, besides: str = "") -> _Way:
        """A link to a router that is known already, or else to one that is located. Raises LinkLost."""
        for address in self._known:
            if address not in (besides, self._last) and (way := await self._hold(address)):
                return way
        try:
            self._known = list(await asyncio.wait_for(self._locate(), LOCATE_SECONDS))
        except Exception as error:  # whoever locates may fail in any way; to callers it is one
            raise LinkLost(f"no router can be found: {error}") from error
        for address in sorted(self._known, key=self._last.__eq__):  # the one that was just lost is tried last
            if address != besides and (way := await self._hold(address)):
                return way
        raise LinkLost("no router can be reached")

    async def _hold(self, address: str) -> _Way | None:
        (host, port), name = split(address), new_name()
        try:
            async with asyncio.timeout(self._pulse.lost_after_seconds):
                ends, lifeline = await asyncio.open_connection(host, port)
                try:
                    lifeline.write(name)
                    messages = PORT.unpack(await ends.readexactly(PORT.size))[0]
                except BaseException:
                    lifeline.close()
                    raise
        except (OSError, EOFError) as error:  # a TimeoutError is an OSError
            log.info("no router at %s: %r", address, error)
            return None
        hub = dealer(zmq.asyncio.Context(zmq.Context.instance()), name)
        hub.connect(f"tcp://{host}:{messages}")
        return _Way(address, ends, lifeline, hub)
