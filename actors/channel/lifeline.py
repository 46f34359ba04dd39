"""Lifelines: TCP connections that carry nothing, and that the kernel closes when either process ends.

ZeroMQ tells nobody whose connection it was that ended; so every spoke holds a lifeline to its hub beside
the connection of its messages. The spoke says its name on it, once, and the hub answers with the port that
takes messages. From then on the line is silent until its end.
"""

import select
import socket
import struct
import uuid
from typing import TypeVar

import zmq
import zmq.asyncio

NAME_BYTES = 16
PORT = struct.Struct("!H")

_Socket = TypeVar("_Socket", "zmq.Socket[bytes]", zmq.asyncio.Socket)


def new_name() -> bytes:
    """What a spoke calls itself on one link; no other ever has the same."""
    return uuid.uuid4().bytes


def split(address: str) -> tuple[str, int]:
    """Host and port of a hub's address."""
    host, _, port = address.rpartition(":")
    return host, int(port)


def hold(address: str, name: bytes, timeout_seconds: float) -> tuple[socket.socket, str]:
    """A lifeline to the hub at an address, and the endpoint of its messages. Raises OSError."""
    host, port = split(address)
    line = socket.create_connection((host, port), timeout_seconds)
    try:
        line.sendall(name)
        answer = line.recv(PORT.size, socket.MSG_WAITALL)
        if len(answer) != PORT.size:
            raise ConnectionError(f"{address} hung up")
    except OSError:
        line.close()
        raise
    line.setblocking(False)
    return line, f"tcp://{host}:{PORT.unpack(answer)[0]}"


def dealer(context: "zmq.Context[_Socket]", name: bytes) -> _Socket:
    """A socket for the messages of a link, not connected yet."""
    made = context.socket(zmq.DEALER)
    made.setsockopt(zmq.IDENTITY, name)
    made.setsockopt(zmq.LINGER, 0)
    made.setsockopt(zmq.SNDHWM, 0)
    made.setsockopt(zmq.RECONNECT_IVL, -1)  # messages would be missing after it
    return made


class Lifelines:
    """A hub's ends of all lifelines. Not for several threads."""

    def __init__(self, host: str, messages: int) -> None:
        """`messages`: the port that is told to those who come."""
        self._messages = PORT.pack(messages)
        self._listener = socket.create_server((host, 0), backlog=128)
        self._listener.setblocking(False)
        self.address = f"{host}:{self._listener.getsockname()[1]}"
        self._lines: dict[int, socket.socket] = {}
        self._names: dict[int, bytes] = {}  # of those that have said it
        self._numbers: dict[bytes, int] = {}
        self._epoll = select.epoll()
        self._epoll.register(self._listener, select.EPOLLIN)

    def __contains__(self, name: bytes) -> bool:
        """Whether a spoke of that name is there."""
        return name in self._numbers

    def __len__(self) -> int:
        return len(self._lines)

    def fileno(self) -> int:
        """Readable when `look` has something to see."""
        return self._epoll.fileno()

    def look(self) -> list[bytes]:
        """Takes in who comes; the names of those who have gone."""
        gone = [self._hear(number) for number, _ in self._epoll.poll(0)]
        return [name for name in gone if name is not None]

    def cut(self, name: bytes) -> None:
        """Ends a spoke's lifeline from here, if there is one."""
        if (number := self._numbers.get(name)) is not None:
            self._end(number)

    def close(self) -> None:
        """Ends all."""
        for number in list(self._lines):
            self._end(number)
        self._epoll.close()
        self._listener.close()

    def _hear(self, number: int) -> bytes | None:
        """The name of a spoke that has gone by this."""
        if number == self._listener.fileno():
            self._accept()
            return None
        if (line := self._lines.get(number)) is None:  # ended a moment ago
            return None
        try:
            said = line.recv(NAME_BYTES)
            if len(said) == NAME_BYTES and number not in self._names and said not in self._numbers:
                line.sendall(self._messages)
                self._names[number], self._numbers[said] = said, number
                return None
        except OSError:
            pass
        return self._end(number)

    def _accept(self) -> None:
        try:
            line, _ = self._listener.accept()
        except OSError:  # it has left again
            return
        line.setblocking(False)
        self._lines[line.fileno()] = line
        self._epoll.register(line, select.EPOLLIN | select.EPOLLRDHUP)

    def _end(self, number: int) -> bytes | None:
        name = self._names.pop(number, None)
        if name is not None:
            del self._numbers[name]
        self._lines.pop(number).close()  # which takes it out of the epoll, too
        return name
