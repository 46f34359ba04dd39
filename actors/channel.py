"""How roles reach the router: msgspec messages over ZeroMQ, 25 microseconds a hop.

What belongs together travels together: a frame is a list of messages. The answers of one step
arrive as one, and so do the questions that they lead to, which the next step can then take in at once.

The router is a `Hub`, everybody else a `Spoke` (for roles that compute) or an `AsyncSpoke` (for the
gateway). A spoke greets the hub in a heartbeat; when the hub has been silent for too long it asks
`locate` where the hub is now and connects anew.
"""

import asyncio
import contextlib
import logging
import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeVar

import msgspec
import psutil
import zmq
import zmq.asyncio

from ringroad.actors.gateway.link import LinkLost
from ringroad.actors.messages import (
    Hello,
    Message,
    ToDrafter,
    ToGateway,
    ToHead,
    ToRouter,
    ToVerifier,
)

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 0.5
SILENT_SECONDS = 3.0  # after which a hub is taken for gone

_encode = msgspec.msgpack.Encoder().encode
_decode_router = msgspec.msgpack.Decoder(list[ToRouter]).decode
_decode_gateway = msgspec.msgpack.Decoder(list[ToGateway]).decode
_decode_role = msgspec.msgpack.Decoder(list[ToDrafter | ToVerifier | ToHead]).decode


Socket = zmq.Socket[bytes]
_Socket = TypeVar("_Socket", Socket, zmq.asyncio.Socket)


def _dealer(context: "zmq.Context[_Socket]", identity: bytes) -> _Socket:
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.IDENTITY, identity)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, 0)
    return socket


class Hub:
    """The router's end: knows its peers by the identity each chose."""

    def __init__(self, host: str) -> None:
        """Binds any free port of `host`."""
        self._socket: Socket = zmq.Context.instance().socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, 0)  # a ROUTER drops what a full queue cannot take
        self._socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        port: int = self._socket.bind_to_random_port(f"tcp://{host}")
        self.address = f"tcp://{host}:{port}"
        self._outgoing: dict[bytes, list[Message]] = {}

    def send(self, peer: bytes, message: Message) -> None:
        """Hands over what `flush` sends; a peer that is gone gets nothing, silently."""
        self._outgoing.setdefault(peer, []).append(message)

    def flush(self) -> None:
        """Sends each peer's messages as one frame, in their order."""
        outgoing, self._outgoing = self._outgoing, {}
        for peer, messages in outgoing.items():
            self._socket.send_multipart((peer, _encode(messages)))

    def receive(self, timeout_seconds: float) -> Iterator[tuple[bytes, Sequence[Message]]]:
        """Every frame that has arrived; waits up to the timeout for the first."""
        if not self._socket.poll(int(timeout_seconds * 1000)):
            return
        with contextlib.suppress(zmq.Again):
            while True:
                peer, data = self._socket.recv_multipart(zmq.NOBLOCK)
                try:
                    yield peer, _decode_router(data)
                except msgspec.DecodeError as error:
                    log.warning("dropped a frame that is none: %s", error)

    def close(self) -> None:
        """Frees the port."""
        self._socket.close()


class Spoke:
    """A computing role's end: a thread of its own keeps up the heartbeat while the role computes."""

    def __init__(
        self, locate: Callable[[], str], hello: Callable[[], Hello], place: Sequence[str] = ()
    ) -> None:
        """`place`: the cores or devices that the role computes on."""
        self.inbox: queue.SimpleQueue[Sequence[Message]] = queue.SimpleQueue()  # frames
        self._locate = locate
        self._hello = hello
        self._place = list(place)
        self._process = psutil.Process()
        self._identity = uuid.uuid4().bytes
        self._bell = f"inproc://{self._identity.hex()}"
        self._outgoing: Socket = zmq.Context.instance().socket(zmq.PAIR)
        self._outgoing.bind(self._bell)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spoke", daemon=True)
        self._thread.start()

    def send(self, messages: Sequence[Message]) -> None:
        """Sends to the router as one frame, in order. From one thread only."""
        self._outgoing.send(_encode(messages))

    def close(self) -> None:
        """Ends the heartbeat."""
        self._stop.set()
        self._thread.join()
        self._outgoing.close(linger=0)

    def _run(self) -> None:
        bell: Socket = zmq.Context.instance().socket(zmq.PAIR)
        bell.connect(self._bell)
        while not self._stop.is_set():
            try:
                with contextlib.closing(_dealer(zmq.Context.instance(), self._identity)) as hub:
                    hub.connect(self._locate())
                    self._exchange(hub, bell)
            except Exception:  # the thread's outer edge: whatever it was, the way to the hub is tried again
                log.exception("lost the way to the router")
                self._stop.wait(HEARTBEAT_SECONDS)
        bell.close(linger=0)

    def _exchange(self, hub: Socket, bell: Socket) -> None:
        """Carries messages both ways until told to stop, or until the hub has fallen silent."""
        poller = zmq.Poller()
        poller.register(hub, zmq.POLLIN)
        poller.register(bell, zmq.POLLIN)
        heard = time.monotonic()
        greet_at = 0.0
        while not self._stop.is_set() and time.monotonic() - heard < SILENT_SECONDS:
            if time.monotonic() >= greet_at:
                memory = self._process.memory_info().rss
                hello = msgspec.structs.replace(self._hello(), memory_bytes=memory, place=self._place)
                hub.send(_encode([hello]))
                greet_at = time.monotonic() + HEARTBEAT_SECONDS
            ready = dict(poller.poll(int(HEARTBEAT_SECONDS * 1000)))
            if bell in ready:
                hub.send(bell.recv())
            if hub in ready:
                heard = time.monotonic()
                data = hub.recv()
                try:
                    self.inbox.put(_decode_role(data))
                except msgspec.DecodeError as error:
                    log.warning("dropped a frame that is none: %s", error)


class AsyncSpoke:
    """The gateway's end; satisfies `gateway.link.RouterLink`."""

    def __init__(self, locate: Callable[[], Awaitable[str]]) -> None:
        self._locate = locate
        self._hub: zmq.asyncio.Socket | None = None
        self._heartbeat: asyncio.Task[None] | None = None
        self._arrived: deque[ToGateway] = deque()

    async def send(self, message: ToRouter) -> None:
        """Sends to the router, in order. Raises LinkLost while it is gone."""
        if self._hub is None:
            raise LinkLost("the router is gone")
        await self._hub.send(_encode([message]))

    async def receive(self) -> ToGateway:
        """Waits for the router's next message. Raises LinkLost when it has fallen silent."""
        while not self._arrived:
            if self._hub is None:
                await self._connect()
            assert self._hub is not None
            try:
                data = await asyncio.wait_for(self._hub.recv(), SILENT_SECONDS)
            except TimeoutError as error:
                self.close()
                raise LinkLost("the router is silent") from error
            self._arrived.extend(_decode_gateway(data))
        return self._arrived.popleft()

    def close(self) -> None:
        """Leaves the router."""
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        if self._hub is not None:
            self._hub.close(linger=0)
        self._hub = self._heartbeat = None

    async def _connect(self) -> None:
        try:
            address = await asyncio.wait_for(self._locate(), SILENT_SECONDS)
        except Exception as error:  # whoever locates may fail in any way; to callers it is one
            raise LinkLost(f"the router cannot be found: {error}") from error
        # A new name each time: under the old one the router may still run what was given up here.
        hub = _dealer(zmq.asyncio.Context.instance(), uuid.uuid4().bytes)
        hub.connect(address)
        self._hub = hub
        self._heartbeat = asyncio.create_task(self._greet())

    async def _greet(self) -> None:
        while self._hub is not None:
            await self._hub.send(_encode([Hello(role="gateway")]))
            await asyncio.sleep(HEARTBEAT_SECONDS)
