"""A ledger in memory: what the real one promises; it can be away, and the lease of a dead gateway ends."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ringroad.actors.ledger.ledger import Ending, Entry, LedgerAway, Part, Record
from ringroad.actors.messages import Speaker

if TYPE_CHECKING:
    from tests.simulation.gateway import GatewayProcess
    from tests.simulation.world import World

WRITES, ANSWERS, LEASE = 0.004, 0.002, 0.8  # seconds
LOOKS = 0.1  # how often a follower looks


@dataclass
class Known:
    """A request as the ledger has it."""

    record: Record
    owner: "GatewayProcess | None"
    tokens: list[int] = field(default_factory=list)
    speakers: list[Speaker] = field(default_factory=list)
    ending: Ending | None = None


class Memory:
    """What outlives all gateways."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.away = False
        self.known: dict[str, Known] = {}
        self.died: dict[str, float] = {}  # gateways by name and life: when

    def owner(self, known: Known) -> "GatewayProcess | None":
        """Who generates it; a lease is kept for a while by who cannot renew it."""
        owner = known.owner
        if known.ending is not None or owner is None:
            return None
        since = owner.silent_since
        return None if since is not None and self.world.loop.time() - since > LEASE else owner


class Handle:
    """A gateway's `Ledger`."""

    def __init__(self, memory: Memory, gateway: "GatewayProcess") -> None:
        self._memory, self._gateway = memory, gateway
        self._unwritten: list[tuple[Any, ...]] = []
        self._aborts: asyncio.Queue[str] = asyncio.Queue()

    @property
    def there(self) -> bool:
        return not self._memory.away

    def begin(self, record: Record) -> None:
        self._write(self._begun, record)

    def commit(
        self, request_id: str, offset: int, tokens: Sequence[int], speakers: Sequence[Speaker]
    ) -> None:
        self._write(self._committed, request_id, offset, list(tokens), list(speakers))

    def end(self, request_id: str, ending: Ending) -> None:
        self._write(self._ended, request_id, ending)

    def drop(self, request_id: str) -> None:
        self._write(self._dropped, request_id)

    async def find(self, request_id: str) -> Entry | None:
        await self._answer()
        known = self._memory.known.get(request_id)
        if known is None:
            return None
        owner = self._memory.owner(known)
        part = Part(0, list(known.tokens), list(known.speakers), known.ending)
        return Entry(known.record, part, None if owner is None else owner.name)

    async def claim(self, request_id: str) -> bool:
        await self._answer()
        known = self._memory.known.get(request_id)
        if known is None or known.ending is not None or self._memory.owner(known) is not None:
            return False
        known.owner = self._gateway
        return True

    async def follow(self, request_id: str, offset: int) -> AsyncIterator[Part]:
        while True:
            await self._answer()
            known = self._memory.known.get(request_id)
            if known is None:
                return
            if known.tokens[offset:] or known.ending is not None:
                yield Part(offset, known.tokens[offset:], known.speakers[offset:], known.ending)
                offset = len(known.tokens)
            if known.ending is not None or self._memory.owner(known) is None:
                return
            await asyncio.sleep(LOOKS)

    async def abort(self, request_id: str) -> bool:
        await self._answer()
        known = self._memory.known.get(request_id)
        owner = None if known is None else self._memory.owner(known)
        if owner is None:
            return False
        owner.handle._aborts.put_nowait(request_id)
        return True

    async def aborted(self) -> str:
        return await self._aborts.get()

    async def draw(self, tenant: str, tokens: int, a_minute: int) -> float:
        raise AssertionError("nobody has a quota here")

    async def enter(self, tenant: str, streams: int, most: int) -> bool:
        raise AssertionError("nobody has a quota here")

    def spend(self, tenant: str, tokens: int, a_minute: int) -> None:
        raise AssertionError("nobody has a quota here")

    def streams(self, tenant: str, streams: int) -> None:
        raise AssertionError("nobody has a quota here")

    async def _answer(self) -> None:
        await asyncio.sleep(ANSWERS)
        if self._memory.away:
            raise LedgerAway("simulated")

    def _write(self, *what: Any) -> None:
        self._unwritten.append(what)
        self._gateway.later(WRITES, self.flush)

    def flush(self) -> None:
        """Writes what there is to be written, unless the ledger is away."""
        if self._memory.away:
            return
        unwritten, self._unwritten = self._unwritten, []
        for do, *args in unwritten:
            do(*args)

    def _begun(self, record: Record) -> None:
        known = self._memory.known.setdefault(record.submit.session, Known(record, self._gateway))
        if known.ending is None and self._memory.owner(known) is None:
            known.owner = self._gateway

    def _committed(self, request_id: str, offset: int, tokens: list[int], speakers: list[Speaker]) -> None:
        known = self._memory.known.get(request_id)
        if known is None or known.ending is not None or offset > len(known.tokens):
            return
        have = len(known.tokens) - offset
        known.tokens += tokens[have:]
        known.speakers += speakers[have:]

    def _ended(self, request_id: str, ending: Ending) -> None:
        known = self._memory.known.get(request_id)
        if known is not None and known.owner is self._gateway and known.ending is None:
            known.ending = ending

    def _dropped(self, request_id: str) -> None:
        known = self._memory.known.get(request_id)
        if known is not None and known.owner is self._gateway:
            known.owner = None
