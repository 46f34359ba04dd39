"""What is told to a ledger while it is away, and what it must hold afterwards: for tests of trouble."""

import logging
from typing import Any

import pytest

from ringroad.actors.ledger import presence
from ringroad.actors.ledger.ledger import LedgerAway, Part
from ringroad.actors.ledger.store import RedisLedger
from tests.ledger.gateways import written
from tests.ledger.servers import ending, record, spoken, until

FAST: dict[str, Any] = {"timeout_seconds": 0.1, "lease_seconds": 0.3}


class Story:
    """Three requests: one runs on, one ends, one begins while the ledger is away."""

    def __init__(self, ledger: RedisLedger) -> None:
        self._ledger = ledger
        self._tokens, self._speakers = spoken(300)

    def _say(self, name: str, first: int, stop: int) -> None:
        self._ledger.commit(name, first, self._tokens[first:stop], self._speakers[first:stop])

    async def before(self) -> None:
        for name in ("runs", "ends"):
            self._ledger.begin(record(name))
            self._say(name, 0, 50)
        await until(lambda: written(self._ledger))

    def meanwhile(self) -> None:
        """Nothing here waits: it is over before the loop does anything else."""
        self._ledger.begin(record("begins"))
        for first in range(50, 100):
            self._say("runs", first, first + 1)
            self._say("ends", first, first + 1)
        self._say("begins", 0, 30)
        self._ledger.end("ends", ending(100))

    async def afterwards(self) -> None:
        await until(lambda: written(self._ledger))
        await self._holds("runs", Part(0, self._tokens[:100], self._speakers[:100]), self._ledger._me)
        await self._holds("begins", Part(0, self._tokens[:30], self._speakers[:30]), self._ledger._me)
        await self._holds("ends", Part(0, self._tokens[:100], self._speakers[:100], ending(100)), None)
        self._say("runs", 100, 101)
        await until(lambda: written(self._ledger))
        await self._holds("runs", Part(0, self._tokens[:101], self._speakers[:101]), self._ledger._me)

    async def _holds(self, name: str, part: Part, owner: str | None) -> None:
        entry = await self._ledger.find(name)
        assert entry
        assert (entry.record, entry.part, entry.owner) == (record(name), part, owner)


async def refused(ledger: RedisLedger) -> None:
    """Reading and taking up are refused, by name."""
    with pytest.raises(LedgerAway, match="away"):
        await ledger.find("runs")
    with pytest.raises(LedgerAway, match="away"):
        await ledger.claim("runs")
    with pytest.raises(LedgerAway, match="away"):
        await ledger.abort("runs")
    with pytest.raises(LedgerAway, match="away"):
        await anext(aiter(ledger.follow("runs", 0)))


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


async def failures(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Waits until writing has failed so often."""
    seen = 0
    failed = presence.Presence.failed

    def counted(self: presence.Presence, error: Exception) -> float:
        nonlocal seen
        seen += 1
        return failed(self, error)

    with monkeypatch.context() as patch:
        patch.setattr(presence.Presence, "failed", counted)
        await until(lambda: seen >= count)
