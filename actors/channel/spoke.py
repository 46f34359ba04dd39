"""A computing role's end of the channel: a link to every router."""

import logging
import queue
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import psutil
import zmq

from ringroad.actors.channel import PULSE, Pulse
from ringroad.actors.channel.lifeline import dealer, hold, new_name
from ringroad.actors.messages import Hello, Message, ToDrafter, ToHead, ToVerifier

log = logging.getLogger(__name__)

FIND_SECONDS = 1.0  # between looks for routers that have come since

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[ToDrafter | ToVerifier | ToHead]).decode

Link = bytes  # its name: a router's, for as long as it can be reached
# A frame, or None when the link is lost, and with it all that was asked or begun on it.
Arrival = tuple[Link, Sequence[Message] | None]


@dataclass
class _Way:
    """A link, as the spoke's thread holds it."""

    name: Link
    address: str
    lifeline: socket.socket
    hub: "zmq.Socket[bytes]"
    missed: int = 0  # heartbeats since it was heard

    def close(self) -> None:
        self.lifeline.close()
        self.hub.close()


class Spoke:
    """A thread of its own keeps up the heartbeat while the role computes; another finds routers."""

    def __init__(
        self,
        locate: Callable[[], Sequence[str]],
        hello: Callable[[], Hello],
        place: Sequence[str] = (),
        pulse: Pulse = PULSE,
        replica: int = 0,
    ) -> None:
        """`locate`: the addresses of all hubs; it may take its time, and fail. `place`: the cores or devices
        that the role computes on. `replica`: which of its role's processes this is."""
        self.inbox: queue.SimpleQueue[Arrival] = queue.SimpleQueue()
        self._locate = locate
        self._hello = hello
        self._place = list(place)
        self._replica = replica
        self._pulse = pulse
        self._process = psutil.Process()
        self._leaving = False
        self._held: set[str] = set()  # addresses that there are links to
        self._found: deque[_Way] = deque()  # by one thread, for the other
        self._ways: dict[Link, _Way] = {}
        self._poller = zmq.Poller()
        self._stop, self._again = threading.Event(), threading.Event()
        bell = f"inproc://{new_name().hex()}"
        self._outgoing: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PAIR)
        self._outgoing.bind(bell)
        self._threads = [
            threading.Thread(target=self._carry, args=(bell,), name="spoke", daemon=True),
            threading.Thread(target=self._find, name="spoke finds", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def send(self, link: Link, messages: Sequence[Message]) -> None:
        """Sends as one frame, in order; to nobody where the link is lost. From one thread only."""
        self._outgoing.send_multipart((link, _encode(messages)))

    def leave(self) -> None:
        """Tells all routers, from the next heartbeat on, that this role is to stop."""
        self._leaving = True

    def close(self) -> None:
        """Ends all links."""
        self._stop.set()
        self._again.set()
        for thread in self._threads:
            thread.join()
        for way in self._found:
            way.close()
        self._outgoing.close(linger=0)

    def _find(self) -> None:
        """Keeps links to all hubs there are. Here, since a hub that cannot be reached takes time."""
        while not self._stop.is_set():
            self._again.clear()
            try:
                for address in self._locate():
                    if address not in self._held and not self._stop.is_set():
                        self._link(address)
            except Exception as error:  # noqa: BLE001 - the thread's edge: routers are looked for again
                log.warning("cannot look for routers: %r", error)
            self._again.wait(FIND_SECONDS if self._held else self._pulse.heartbeat_seconds)

    def _link(self, address: str) -> None:
        name = new_name()
        try:
            lifeline, messages = hold(address, name, self._pulse.lost_after_seconds)
        except OSError as error:
            log.info("no router at %s: %s", address, error)
            return
        hub = dealer(zmq.Context.instance(), name)
        hub.connect(messages)
        self._held.add(address)
        self._found.append(_Way(name, address, lifeline, hub))

    def _carry(self, where: str) -> None:
        """Carries messages both ways until told to stop."""
        bell: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PAIR)
        bell.connect(where)
        self._poller.register(bell, zmq.POLLIN)
        greet_at = 0.0
        while not self._stop.is_set():
            if (now := time.monotonic()) >= greet_at:
                greet_at = now + self._pulse.heartbeat_seconds
                self._beat()
            ready = dict(self._poller.poll(max(0, int((greet_at - time.monotonic()) * 1000))))
            if bell in ready:
                link, data = bell.recv_multipart()
                if link in self._ways:
                    self._ways[link].hub.send(data)
            for way in list(self._ways.values()):
                if way.lifeline.fileno() in ready:
                    self._lose(way, "it hung up")
                elif way.hub in ready:
                    self._hear(way)
        for way in self._ways.values():
            way.close()
        bell.close(linger=0)

    def _beat(self) -> None:
        """Takes in new links, gives silent ones up, and greets on all others."""
        while self._found:
            way = self._found.popleft()
            self._ways[way.name] = way
            self._poller.register(way.hub, zmq.POLLIN)
            self._poller.register(way.lifeline.fileno(), zmq.POLLIN)
        for way in list(self._ways.values()):
            if way.missed >= self._pulse.missed:
                self._lose(way, "it is silent")
        if not self._ways:
            return
        memory = self._process.memory_info().rss
        mine = {"place": self._place, "leaving": self._leaving, "replica": self._replica}
        hello = _encode([msgspec.structs.replace(self._hello(), memory_bytes=memory, **mine)])
        for way in self._ways.values():
            way.hub.send(hello)
            way.missed += 1

    def _hear(self, way: _Way) -> None:
        way.missed = 0
        data = way.hub.recv()
        try:
            self.inbox.put((way.name, _decode(data)))
        except msgspec.DecodeError as error:
            log.warning("dropped a frame that is none: %s", error)

    def _lose(self, way: _Way, why: str) -> None:
        log.warning("lost the router at %s: %s", way.address, why)
        del self._ways[way.name]
        self._poller.unregister(way.hub)
        self._poller.unregister(way.lifeline.fileno())
        way.close()
        self.inbox.put((way.name, None))
        self._held.discard(way.address)
        self._again.set()
