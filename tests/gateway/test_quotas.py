"""What tenants may use: of one gateway, of several, and while the ledger is away."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.actors.errors import QuotaExceeded
from ringroad.actors.gateway import quotas as quotas_module
from ringroad.actors.gateway.buckets import Bucket
from ringroad.actors.gateway.noledger import NoLedger
from ringroad.actors.gateway.quotas import Quotas
from ringroad.actors.gateway.tenants import ANYBODY, Tenant
from tests.gateway.ledgers import MemoryLedger, Store

SECONDS = 10.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(quotas_module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(-5, 30)), max_size=30), st.sampled_from([6, 60, 600])
)
def test_a_bucket_is_what_falls_into_it_drop_by_drop(steps: list[tuple[int, int]], a_minute: int) -> None:
    """The reference adds what a tenth of a second brings, one tenth after another."""
    bucket, level, now = Bucket(), float(a_minute), 0
    for tenths, tokens in steps:
        now += tenths
        for _ in range(tenths):
            level = min(a_minute, level + a_minute / 600)
        wants = min(tokens, a_minute)
        missing = bucket.missing(tokens, a_minute, now / 10)
        assert missing == pytest.approx(max(0.0, wants - level) * 60 / a_minute, abs=1e-6)
        if not missing or tokens < 0:
            bucket.take(tokens, a_minute, now / 10)
            level -= tokens


async def admitted(quotas: Quotas, tenant: Tenant, prompt: int, most: int, texts: int = 1) -> Any:
    """The charges, or None."""
    try:
        return await asyncio.wait_for(quotas.charge(tenant, prompt, most, texts), SECONDS)
    except QuotaExceeded as error:
        return error


async def test_a_text_is_charged_by_an_estimate_and_then_by_what_it_took(clock: Any) -> None:
    quotas, tenant = Quotas(NoLedger()), Tenant(name="t", tokens_per_minute=100)
    (first,) = await admitted(quotas, tenant, 10, 80)  # it may be as long as that: 10 are left
    refused = await admitted(quotas, tenant, 5, 10)
    assert isinstance(refused, QuotaExceeded)
    assert (refused.tenant, refused.quota) == ("t", "tokens_per_minute")
    assert refused.retry_seconds == pytest.approx(5 * 60 / 100)
    first.settle(20)  # 70 are left
    first.settle(80)  # once
    first.void()
    (second,) = await admitted(quotas, tenant, 10, 1000)  # as the first: 20
    assert isinstance(await admitted(quotas, tenant, 31, 10), QuotaExceeded)
    (third,) = await admitted(quotas, tenant, 30, 10)  # nothing is left
    third.void()
    second.settle(200)  # 140 are owed
    refused = await admitted(quotas, tenant, 1, 0)
    assert refused.retry_seconds == pytest.approx(141 * 60 / 100)
    clock.now += 141 * 60 / 100
    assert await admitted(quotas, tenant, 1, 0)
    clock.now += 3600
    assert isinstance(
        await admitted(quotas, tenant, 100, 1), list
    )  # more than a minute's is let in when it is full


async def test_samples_share_a_prompt(clock: Any) -> None:
    quotas, tenant = Quotas(NoLedger()), Tenant(name="t", tokens_per_minute=100)
    charges = await admitted(quotas, tenant, 40, 20, 3)
    assert isinstance(await admitted(quotas, tenant, 1, 0), QuotaExceeded)
    for charge in charges:
        charge.settle(10)
    assert isinstance(await admitted(quotas, tenant, 30, 0), list)
    assert isinstance(await admitted(quotas, tenant, 1, 0), QuotaExceeded)


async def test_who_has_no_limits_is_not_counted() -> None:
    quotas = Quotas(NoLedger())
    assert await quotas.charge(ANYBODY, 10**9, 10**9, 2) == [None, None]
    async with quotas.stream(ANYBODY):
        assert quotas._accounts == {}


async def test_gateways_share_what_a_tenant_may(clock: Any) -> None:
    store = Store()
    ledgers = [MemoryLedger(store, name) for name in "ab"]
    one, other = map(Quotas, ledgers)
    tenant = Tenant(name="t", tokens_per_minute=100, max_streams=2)
    (charge,) = await admitted(one, tenant, 10, 50)
    assert isinstance(await admitted(other, tenant, 10, 50), QuotaExceeded)
    charge.settle(0)
    assert isinstance(await admitted(other, tenant, 10, 50), list)
    async with one.stream(tenant), other.stream(tenant):
        for quotas in (one, other):
            with pytest.raises(QuotaExceeded) as refused:
                async with quotas.stream(tenant):
                    pass
            assert refused.value.quota == "max_streams"
    assert store.streams == {"t": {"a": 0, "b": 0}}
    async with other.stream(tenant), other.stream(tenant):
        pass


@pytest.mark.parametrize("how", ["away", "slow"])
async def test_without_the_ledger_each_gateway_counts_for_itself(clock: Any, how: str) -> None:
    store = Store()
    ledgers = [MemoryLedger(store, name) for name in "ab"]
    one, other = map(Quotas, ledgers)
    tenant = Tenant(name="t", tokens_per_minute=100, max_streams=1)
    assert isinstance(await admitted(one, tenant, 30, 0), list)
    for ledger in ledgers:
        setattr(ledger, how, True)
    assert isinstance(await admitted(one, tenant, 71, 0), QuotaExceeded)  # it knows what it has let in itself
    assert isinstance(await admitted(one, tenant, 70, 0), list)
    assert isinstance(await admitted(other, tenant, 100, 0), list)
    assert store.spent["t"] == 200  # which is told when it is back
    async with one.stream(tenant), other.stream(tenant):
        with pytest.raises(QuotaExceeded):
            async with one.stream(tenant):
                pass


async def test_what_ends_waits_for_nobody(clock: Any) -> None:
    """A correction and the end of a stream are plain calls: no ledger can hold them up."""
    store = Store()
    ledger = MemoryLedger(store, "a")
    quotas = Quotas(ledger)
    tenant = Tenant(name="t", tokens_per_minute=100, max_streams=1)
    async with quotas.stream(tenant):
        (charge,) = await admitted(quotas, tenant, 10, 50)
        ledger.slow = True
        charge.settle(5)
    assert (store.spent["t"], store.streams) == (15, {"t": {"a": 0}})
