"""What a tenant may use: tokens a minute and streams at once, of all gateways together.

The ledger counts. While it is away, or where there is none, each gateway counts for itself. Only who comes
in waits for the ledger, and never for long; what a text really took is told behind its back.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ringroad.actors.errors import QuotaExceeded
from ringroad.actors.gateway.buckets import Bucket
from ringroad.actors.gateway.tenants import Tenant
from ringroad.actors.ledger.ledger import Ledger, LedgerAway

_LOOK_SECONDS = 0.1  # that a request may be held up
_STREAM_SECONDS = 1.0  # that a client is told to wait for one of its own streams to end


class _Account:
    """What this gateway knows of a tenant."""

    def __init__(self) -> None:
        self.streams = 0
        self.bucket = Bucket()
        self.answer: float | None = None  # tokens, a moving average; None: none has ended

    def estimate(self, most: int) -> int:
        """Tokens that an answer will have, as many as may be where nothing is known."""
        return most if self.answer is None else min(most, math.ceil(self.answer))


class Charge:
    """What a text was charged when it was admitted; settled once, by what it took."""

    def __init__(self, quotas: "Quotas", tenant: Tenant, prompt: int, estimate: int) -> None:
        self._quotas = quotas
        self._tenant = tenant
        self._prompt = prompt
        self._charged: int | None = estimate

    def settle(self, answer: int) -> None:
        """The text has ended with so many tokens."""
        if self._correct(self._prompt + answer):
            self._quotas.learn(self._tenant, answer)

    def void(self) -> None:
        """It was not generated."""
        self._correct(0)

    def _correct(self, took: int) -> bool:
        charged, self._charged = self._charged, None
        if charged is not None:
            self._quotas.correct(self._tenant, took - charged)
        return charged is not None


class Quotas:
    """One for all doors of a gateway. A tenant without limits costs nothing here."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._accounts: dict[str, _Account] = {}

    @asynccontextmanager
    async def stream(self, tenant: Tenant) -> AsyncIterator[None]:
        """A stream of a tenant's, for as long as it is read. Raises QuotaExceeded."""
        most = tenant.max_streams
        if most is None:
            yield
            return
        account = self._account(tenant)
        account.streams += 1
        try:
            if account.streams > most or not await self._enters(tenant.name, account.streams, most):
                raise QuotaExceeded(tenant.name, "max_streams", most, _STREAM_SECONDS)
            yield
        finally:
            account.streams -= 1
            self._ledger.streams(tenant.name, account.streams)

    async def charge(self, tenant: Tenant, prompt: int, most: int, texts: int) -> list[Charge | None]:
        """Charges so many texts of a prompt, of at most so many tokens each, by an estimate. Raises
        QuotaExceeded."""
        a_minute = tenant.tokens_per_minute
        if a_minute is None:
            return [None] * texts
        account = self._account(tenant)
        answer = account.estimate(most)
        tokens = prompt + texts * answer
        wait = await self._draws(tenant.name, tokens, a_minute)
        if wait is None:
            wait = account.bucket.missing(tokens, a_minute, time.monotonic())
            if not wait:
                self._ledger.spend(tenant.name, tokens, a_minute)
        if wait:
            raise QuotaExceeded(tenant.name, "tokens_per_minute", a_minute, wait)
        account.bucket.take(tokens, a_minute, time.monotonic())
        prompts = [prompt] + [0] * (texts - 1)  # it is read once
        return [Charge(self, tenant, each, each + answer) for each in prompts]

    def correct(self, tenant: Tenant, tokens: int) -> None:
        """A text took so many more than was charged."""
        assert tenant.tokens_per_minute is not None
        self._account(tenant).bucket.take(tokens, tenant.tokens_per_minute, time.monotonic())
        self._ledger.spend(tenant.name, tokens, tenant.tokens_per_minute)

    def learn(self, tenant: Tenant, answer: int) -> None:
        """A text of a tenant's had so many tokens."""
        account = self._account(tenant)
        average = answer if account.answer is None else account.answer
        account.answer = average + 0.1 * (answer - average)

    async def _draws(self, tenant: str, tokens: int, a_minute: int) -> float | None:
        """Seconds until the ledger allows it, 0 where it has just been taken; None where nobody knows."""
        if not self._ledger.there:
            return None
        try:
            return await asyncio.wait_for(self._ledger.draw(tenant, tokens, a_minute), _LOOK_SECONDS)
        except (TimeoutError, LedgerAway):
            return None

    async def _enters(self, tenant: str, streams: int, most: int) -> bool:
        """Whether all gateways together have room for this one's streams, as far as anybody knows."""
        if not self._ledger.there:
            return True
        try:
            return await asyncio.wait_for(self._ledger.enter(tenant, streams, most), _LOOK_SECONDS)
        except (TimeoutError, LedgerAway):
            return True

    def _account(self, tenant: Tenant) -> _Account:
        return self._accounts.setdefault(tenant.name, _Account())
