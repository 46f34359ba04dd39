"""A ledger in memory, as several gateways see it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from ringroad.actors.ledger.ledger import Ending, Entry, LedgerAway, Part, Record
from ringroad.actors.messages import Speaker


@dataclass
class Row:
    record: Record
    owner: str | None
    tokens: list[int] = field(default_factory=list)
    speakers: list[Speaker] = field(default_factory=list)
    ending: Ending | None = None


class Store:
    """What all gateways share. Whoever changes it calls `changed`."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.aborts: dict[str, asyncio.Queue[str]] = {}
        self.spent: Counter[str] = Counter()  # by tenant; no minute ever ends here
        self.streams: dict[str, dict[str, int]] = {}  # by tenant and gateway
        self._change = asyncio.Event()

    def changed(self) -> None:
        self._change.set()
        self._change = asyncio.Event()

    async def change(self) -> None:
        await self._change.wait()

    async def until_owned(self, request_id: str, owner: str | None) -> None:
        async with asyncio.timeout(10):
            while request_id not in self.rows or self.rows[request_id].owner != owner:
                await self.change()


class MemoryLedger:
    """One gateway's view. `away`: it does not answer; `slow`: it never does."""

    def __init__(self, store: Store, name: str) -> None:
        self.away = False
        self.slow = False
        self.looks = 0
        self._told: dict[str, int] = {}  # tokens of each that this gateway has begun
        self.crowd: asyncio.Barrier | None = None  # of finds, which are all answered at once
        self._store = store
        self._name = name
        self._aborts = store.aborts.setdefault(name, asyncio.Queue())

    @property
    def there(self) -> bool:
        return not self.away

    waiting = given_up = 0

    def begin(self, record: Record) -> None:
        row = self._store.rows.setdefault(record.submit.session, Row(record, None))
        row.owner = self._name
        self._told[record.submit.session] = 0
        self._store.changed()

    def commit(
        self, request_id: str, offset: int, tokens: Sequence[int], speakers: Sequence[Speaker]
    ) -> None:
        row = self._store.rows[request_id]
        known = len(row.tokens) - offset
        assert row.owner == self._name
        assert known >= 0, "a gap"
        assert offset == self._told[request_id], "who takes a request up tells all of it again"
        self._told[request_id] += len(tokens)
        assert row.ending is None
        row.tokens += tokens[known:]
        row.speakers += speakers[known:]
        self._store.changed()

    def end(self, request_id: str, ending: Ending) -> None:
        row = self._store.rows[request_id]
        assert row.ending is None
        if row.owner == self._name:
            row.owner, row.ending = None, ending
        self._store.changed()

    def drop(self, request_id: str) -> None:
        row = self._store.rows[request_id]
        if row.owner == self._name:
            row.owner = None
        self._store.changed()

    async def find(self, request_id: str) -> Entry | None:
        self.looks += 1
        await self._answers()
        row = self._store.rows.get(request_id)
        if row is None:
            return None
        entry = Entry(row.record, Part(0, list(row.tokens), list(row.speakers), row.ending), row.owner)
        if self.crowd is not None:
            await self.crowd.wait()
        return entry

    async def claim(self, request_id: str) -> bool:
        await self._answers()
        row = self._store.rows.get(request_id)
        if row is None or row.ending is not None or row.owner is not None:
            return False
        row.owner = self._name
        self._store.changed()
        return True

    async def follow(self, request_id: str, offset: int) -> AsyncIterator[Part]:
        while True:
            await self._answers()
            row = self._store.rows.get(request_id)
            if row is None:
                return
            if row.tokens[offset:] or row.ending:
                yield Part(offset, row.tokens[offset:], row.speakers[offset:], row.ending)
                offset = len(row.tokens)
            if row.ending is not None or row.owner is None:
                return
            await self._store.change()

    async def abort(self, request_id: str) -> bool:
        await self._answers()
        row = self._store.rows.get(request_id)
        if row is None or row.owner is None:
            return False
        self._store.aborts[row.owner].put_nowait(request_id)
        return True

    async def aborted(self) -> str:
        return await self._aborts.get()

    async def draw(self, tenant: str, tokens: int, a_minute: int) -> float:
        await self._answers()
        if self._store.spent[tenant] + tokens > a_minute:
            return 60.0
        self._store.spent[tenant] += tokens
        return 0.0

    def spend(self, tenant: str, tokens: int, a_minute: int) -> None:
        self._store.spent[tenant] += tokens

    async def enter(self, tenant: str, streams: int, most: int) -> bool:
        await self._answers()
        mine = self._store.streams.setdefault(tenant, {})
        if streams + sum(count for name, count in mine.items() if name != self._name) > most:
            return False
        mine[self._name] = streams
        return True

    def streams(self, tenant: str, streams: int) -> None:
        self._store.streams.setdefault(tenant, {})[self._name] = streams

    async def _answers(self) -> None:
        if self.slow:
            await asyncio.get_running_loop().create_future()
        if self.away:
            raise LedgerAway("away")
