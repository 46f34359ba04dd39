"""A gateway without a ledger: nothing outlives it."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from ringroad.actors.ledger.ledger import Ending, Entry, LedgerAway, Part, Record
from ringroad.actors.messages import Speaker


class NoLedger:
    """A `Ledger` that knows of nothing."""

    there = False
    waiting = given_up = 0

    def begin(self, record: Record) -> None:
        """Tells nobody."""

    def commit(
        self, request_id: str, offset: int, tokens: Sequence[int], speakers: Sequence[Speaker]
    ) -> None:
        """Tells nobody."""

    def end(self, request_id: str, ending: Ending) -> None:
        """Tells nobody."""

    def drop(self, request_id: str) -> None:
        """Tells nobody."""

    async def find(self, request_id: str) -> Entry | None:
        """None."""
        return None

    async def claim(self, request_id: str) -> bool:
        """False."""
        return False

    async def follow(self, request_id: str, offset: int) -> AsyncIterator[Part]:
        """Nothing."""
        nothing: tuple[Part, ...] = ()
        for part in nothing:
            yield part

    async def abort(self, request_id: str) -> bool:
        """False."""
        return False

    async def aborted(self) -> str:
        """Waits for ever."""
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def draw(self, tenant: str, tokens: int, a_minute: int) -> float:
        """Raises LedgerAway."""
        raise LedgerAway("there is none")

    def spend(self, tenant: str, tokens: int, a_minute: int) -> None:
        """Tells nobody."""

    async def enter(self, tenant: str, streams: int, most: int) -> bool:
        """Raises LedgerAway."""
        raise LedgerAway("there is none")

    def streams(self, tenant: str, streams: int) -> None:
        """Tells nobody."""
