"""The router's end of the channel."""

import contextlib
import logging
from collections.abc import Iterator, Sequence

import msgspec
import zmq

from ringroad.actors.channel.lifeline import Lifelines
from ringroad.actors.messages import Message, ToRouter

log = logging.getLogger(__name__)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[ToRouter]).decode


class Hub:
    """Knows its peers by the name each chose, for as long as their lifelines hold."""

    def __init__(self, host: str) -> None:
        """Binds any two free ports of `host`."""
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, 0)  # a ROUTER drops what a full queue cannot take
        self._lifelines = Lifelines(host, self._socket.bind_to_random_port(f"tcp://{host}"))
        self.address = self._lifelines.address
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._lifelines.fileno(), zmq.POLLIN)
        self._outgoing: dict[bytes, list[Message]] = {}
        self._gone: list[bytes] = []

    def send(self, peer: bytes, message: Message) -> None:
        """Hands over what `flush` sends; a peer that is gone gets nothing, silently."""
        self._outgoing.setdefault(peer, []).append(message)

    def flush(self) -> None:
        """Sends each peer's messages as one frame, in their order."""
        outgoing, self._outgoing = self._outgoing, {}
        for peer, messages in outgoing.items():
            self._socket.send_multipart((peer, _encode(messages)))

    def receive(self, timeout_seconds: float) -> Iterator[tuple[bytes, Sequence[Message]]]:
        """Every frame that has arrived; waits up to the timeout for the first, or for a peer to go."""
        ready = dict(self._poller.poll(int(timeout_seconds * 1000)))
        if self._lifelines.fileno() in ready:
            self._gone += self._lifelines.look()
        if self._socket not in ready:
            return
        with contextlib.suppress(zmq.Again):
            while True:
                peer, data = self._socket.recv_multipart(zmq.NOBLOCK)
                if peer not in self._lifelines:
                    continue  # it died, or was given up, with this on the way
                try:
                    yield peer, _decode(data)
                except msgspec.DecodeError as error:
                    log.warning("dropped a frame that is none: %s", error)

    def gone(self) -> Sequence[bytes]:
        """Peers whose death `receive` has noticed since the last call."""
        gone, self._gone = self._gone, []
        return gone

    def cut(self, peer: bytes) -> None:
        """Gives a peer up: it will notice, should it live, and nothing that it sent is heard any more."""
        self._lifelines.cut(peer)

    def close(self) -> None:
        """Frees the ports."""
        self._lifelines.close()
        self._socket.close()
