"""All roles in one process, without Ray or sockets: for tests, and for one GPU."""

from collections import deque

from msgspec import structs

from ringroad.actors.messages import Chunk, Message, Submit
from ringroad.actors.role import Role
from ringroad.actors.router.config import RouterConfig
from ringroad.actors.router.router import Router

GATEWAY = b"gateway"


class Colocated:
    """A router with its drafters and verifiers; messages are handed over in the order they were sent."""

    def __init__(self, config: RouterConfig, *roles: Role) -> None:
        self._router = Router(config, self._deliver)
        self._roles = {f"{role.hello().role}-{i}".encode(): role for i, role in enumerate(roles)}
        self._chunks: deque[Chunk] = deque()
        for address, role in self._roles.items():
            self._router.receive(address, structs.replace(role.hello(), place=["here"]), now=0.0)

    def generate(self, *submits: Submit) -> dict[str, list[Chunk]]:
        """Runs requests together to their ends; each one's chunks, in order."""
        for submit in submits:
            self._router.receive(GATEWAY, submit, now=0.0)
        chunks: dict[str, list[Chunk]] = {submit.session: [] for submit in submits}
        while self._step():
            pass
        while self._chunks:
            chunk = self._chunks.popleft()
            chunks[chunk.session].append(chunk)
        return chunks

    def _step(self) -> bool:
        """Lets every busy role work once; False when none is."""
        busy = [(address, role) for address, role in self._roles.items() if role.busy]
        for address, role in busy:
            self._router.receive_all(address, role.step(), now=0.0)
        return bool(busy)

    def _deliver(self, address: bytes, message: Message) -> None:
        if isinstance(message, Chunk):
            self._chunks.append(message)
        elif address in self._roles:
            self._roles[address].receive(message)
