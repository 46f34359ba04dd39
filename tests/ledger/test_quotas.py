"""What several gateways count together in Redis."""

import asyncio
import uuid

import pytest

from ringroad.actors.ledger import keys
from ringroad.actors.ledger.ledger import LedgerAway
from ringroad.actors.ledger.store import RedisLedger
from tests.ledger.gateways import die, gateways, run
from tests.ledger.servers import SECONDS, Server, until

MINUTE = 1_000_000  # tokens: 17 come up in a ms


def told(ledger: RedisLedger) -> bool:
    """Whether it has said all it knows, and heard that it was taken."""
    return ledger.there and not ledger._news.is_set()


def level(server: Server, tenant: str) -> float:
    found = server.ask("HGET", keys.bucket(tenant), "level")
    assert isinstance(found, bytes)
    return float(found)


def test_gateways_draw_on_one_bucket(server: Server) -> None:
    async def body() -> None:
        tenant = uuid.uuid4().hex
        async with gateways(server.url, 2) as (one, other):
            assert await one.draw(tenant, 60, 60) == 0
            wait = await other.draw(tenant, 30, 60)
            assert 25 < wait <= 30  # one comes up in a second
            assert await one.draw(tenant, 60, 60) > wait
            one.spend(tenant, -60, 60)
            await until(lambda: told(one))
            assert await other.draw(tenant, 30, 60) == 0
            other.spend(tenant, 90, 60)  # a text was longer than was thought
            await until(lambda: told(other))
            assert 85 < await one.draw(tenant, 30, 60) <= 90
            assert level(server, tenant) == pytest.approx(-60, abs=5)

    run(body())


def test_a_full_bucket_lets_in_more_than_it_holds(server: Server) -> None:
    async def body() -> None:
        tenant = uuid.uuid4().hex
        async with gateways(server.url) as (one,):
            assert await one.draw(tenant, 300, 60) == 0
            assert 235 < await one.draw(tenant, 1, 60) <= 241

    run(body())


def test_it_fills_as_time_goes_by_and_no_further(server: Server) -> None:
    async def body() -> None:
        tenant = uuid.uuid4().hex
        async with gateways(server.url) as (one,), asyncio.timeout(SECONDS):
            assert await one.draw(tenant, MINUTE, MINUTE) == 0
            wait = await one.draw(tenant, 2000, MINUTE)
            assert 0 < wait <= 0.12
            while await one.draw(tenant, 2000, MINUTE):
                pass
            server.ask("HSET", keys.bucket(tenant), "at", "0")  # half a century ago
            assert await one.draw(tenant, MINUTE, MINUTE) == 0
            assert level(server, tenant) <= 0
            server.ask("HSET", keys.bucket(tenant), "at", str(10**15))  # a clock that was set back
            assert await one.draw(tenant, 2000, MINUTE) > 0
            lives = server.ask("PTTL", keys.bucket(tenant))
            assert isinstance(lives, int)
            assert lives > 50_000  # it is not forgotten before it is full

    run(body())


def test_streams_of_all_gateways_count(server: Server) -> None:
    async def body() -> None:
        tenant = uuid.uuid4().hex
        async with gateways(server.url, 2) as (one, other):
            assert await one.enter(tenant, 2, 3)
            assert await other.enter(tenant, 1, 3)
            assert not await other.enter(tenant, 2, 3)
            assert not await one.enter(tenant, 3, 3)
            assert await one.enter(tenant, 2, 3)  # who was refused has changed nothing
            one.streams(tenant, 0)
            await until(lambda: told(one))
            assert await other.enter(tenant, 3, 3)
            assert not await one.enter(tenant, 1, 3)

    run(body())


def test_the_streams_of_a_gateway_that_leaves_are_over(server: Server) -> None:
    async def body() -> None:
        tenant = uuid.uuid4().hex
        async with gateways(server.url, lease_seconds=60.0) as (one,):
            async with gateways(server.url, lease_seconds=60.0) as (leaving,):
                assert await leaving.enter(tenant, 1, 1)
                assert not await one.enter(tenant, 1, 1)
                leaving.streams(tenant, 1)
                await until(lambda: told(leaving))
            assert await one.enter(tenant, 1, 1)

    run(body())


def test_the_streams_of_a_gateway_that_died_count_until_its_lease_is_over(server: Server) -> None:
    async def body() -> None:
        tenant = uuid.uuid4().hex
        async with gateways(server.url, 2, lease_seconds=0.5) as (one, dying), asyncio.timeout(SECONDS):
            assert await dying.enter(tenant, 1, 2)
            assert await one.enter(tenant, 1, 2)
            await die(dying)
            assert not await one.enter(tenant, 2, 2)
            while not await one.enter(tenant, 2, 2):
                pass
            # One that lives says so again and again.
            found = server.ask("HGET", keys.streams(tenant), one._me)
            while server.ask("HGET", keys.streams(tenant), one._me) == found:
                await asyncio.sleep(0)

    run(body())


def test_what_was_spent_while_it_was_away_is_told_when_it_is_back(
    short: object, tries_again_soon: None
) -> None:
    async def body() -> None:
        tenant = uuid.uuid4().hex
        server = Server(short)  # type: ignore[arg-type]
        try:
            async with gateways(server.url) as (one,), asyncio.timeout(SECONDS):
                await until(lambda: not one.there)
                with pytest.raises(LedgerAway):
                    await one.draw(tenant, 1, 60)
                with pytest.raises(LedgerAway):
                    await one.enter(tenant, 1, 1)
                for tokens in (50, 20, -10):
                    one.spend(tenant, tokens, 60)
                await asyncio.to_thread(server.start)
                await until(lambda: told(one))
                assert level(server, tenant) == pytest.approx(0, abs=5)
        finally:
            server.end()

    run(body())
