"""Gateways' ledgers, and how they come and go."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from ringroad.actors.ledger.config import LedgerConfig
from ringroad.actors.ledger.store import RedisLedger


def run(body: Coroutine[Any, Any, None]) -> None:
    """Runs a test, and sees that no task outlives it."""

    async def watched() -> None:
        await body
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(watched())


@contextlib.asynccontextmanager
async def gateways(url: str, count: int = 1, **options: Any) -> AsyncIterator[list[RedisLedger]]:
    """Ledgers of as many gateways, closed at the end."""
    # A busy machine may take its time; who tries a silent server says less.
    config = LedgerConfig(url=url, **{"timeout_seconds": 2.0, **options})
    ledgers = [RedisLedger(config, uuid.uuid4().hex) for _ in range(count)]
    try:
        yield ledgers
    finally:
        for ledger in ledgers:
            await ledger.close()


async def die(ledger: RedisLedger) -> None:
    """Like a gateway that is killed: says nothing more, not even that it leaves."""
    ledger._writer.cancel()
    await asyncio.wait([ledger._writer])
    await ledger._redis.aclose()


def written(ledger: RedisLedger) -> bool:
    """Whether the ledger has all that it was told."""
    return ledger.there and ledger.waiting == 0
