"""Texts that another gateway writes: followed as they are committed, up to their last words."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest

from ringroad.actors.ledger import keys
from ringroad.actors.ledger.config import LedgerConfig
from ringroad.actors.ledger.ledger import Part
from ringroad.actors.ledger.store import RedisLedger
from tests.ledger.gateways import die, gateways, run, written
from tests.ledger.servers import Server, ending, named, record, spoken, until


async def collected(parts: AsyncIterator[Part], into: list[Part]) -> None:
    async for part in parts:  # one by one: the test looks meanwhile
        into.append(part)  # noqa: PERF401


@pytest.mark.parametrize("offset", [0, 3, 17])
def test_following_gives_the_rest_as_it_is_committed(server: Server, offset: int) -> None:
    async def body() -> None:
        name, (tokens, speakers) = named(), spoken(40)
        async with gateways(server.url, 2) as [a, b]:
            a.begin(record(name))
            a.commit(name, 0, tokens[:5], speakers[:5])
            await until(lambda: written(a))
            parts: list[Part] = []
            following = asyncio.create_task(collected(b.follow(name, offset), parts))
            for first in range(5, 40, 5):
                if first > offset:
                    await until(lambda first=first: sum(len(p.tokens) for p in parts) == first - offset)  # type: ignore[misc]
                a.commit(name, first, tokens[first : first + 5], speakers[first : first + 5])
            a.end(name, ending(38))
            await following
            assert [t for part in parts for t in part.tokens] == tokens[offset:]
            assert [s for part in parts for s in part.speakers] == speakers[offset:]
            assert [part.offset for part in parts] == [
                offset + sum(len(p.tokens) for p in parts[:i]) for i in range(len(parts))
            ]
            assert [part.ending for part in parts] == [*[None] * (len(parts) - 1), ending(38)]

    run(body())


def test_following_ends_with_its_owner(server: Server) -> None:
    async def body() -> None:
        name, (tokens, speakers) = named(), spoken(4)
        async with gateways(server.url, 1) as [b]:
            a = RedisLedger(LedgerConfig(url=server.url, lease_seconds=0.3), uuid.uuid4().hex)
            a.begin(record(name))
            a.commit(name, 0, tokens, speakers)
            await until(lambda: written(a))
            parts: list[Part] = []
            following = asyncio.create_task(collected(b.follow(name, 0), parts))
            await until(lambda: bool(parts))
            assert not following.done()
            await die(a)
            await following
            assert parts == [Part(0, tokens, speakers)]
            assert [part async for part in b.follow("nobody's", 0)] == []

    run(body())


def test_a_follower_hears_the_last_words(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text ends between the look for more of it and the look for its owner."""

    async def body() -> None:
        name, (tokens, speakers) = named(), spoken(8)
        async with gateways(server.url, 2, timeout_seconds=5) as [a, b]:
            a.begin(record(name))
            a.commit(name, 0, tokens[:4], speakers[:4])
            await until(lambda: written(a))
            asked = b._owner

            async def late(where: keys.Keys) -> tuple[str, bool]:
                a.commit(name, 4, tokens[4:], speakers[4:])
                a.end(name, ending(8))
                await until(lambda: written(a))
                return await asked(where)

            monkeypatch.setattr(b, "_owner", late)
            parts = [part async for part in b.follow(name, 4)]
            assert parts == [Part(4, tokens[4:], speakers[4:], ending(8))]

    run(body())


def test_who_stops_following_leaves_nothing(server: Server) -> None:
    async def body() -> None:
        name = named()
        async with gateways(server.url, 2) as [a, b]:
            a.begin(record(name))
            await until(lambda: written(a))
            following = asyncio.create_task(collected(b.follow(name, 0), []))
            await until(lambda: len(b._redis.connection_pool._in_use_connections) > 0)
            following.cancel()
            await asyncio.wait([following])
            assert await b.find(name)

    run(body())


def test_an_abort_reaches_whoever_generates_what_is_anothers(server: Server) -> None:
    """Both were asked while the ledger was away, and could not know of each other."""

    async def body() -> None:
        name, (tokens, speakers) = named(), spoken(9)
        async with gateways(server.url, 3, lease_seconds=600) as [a, b, c]:
            for ledger in (a, b):
                ledger.begin(record(name))
                ledger.commit(name, 0, tokens, speakers)
                await until(lambda which=ledger: written(which))  # type: ignore[misc]
            for who in (c, b):
                waiting = [asyncio.create_task(each.aborted()) for each in (a, b)]
                assert await who.abort(name)
                assert await asyncio.gather(*waiting) == [name, name]
            server.ask("DEL", keys.lease(a._me), keys.lease(b._me))
            assert not await c.abort(name), "nobody is there"

    run(body())


def test_an_abort_reaches_the_owner(server: Server) -> None:
    async def body() -> None:
        name = named()
        async with gateways(server.url, 2) as [a, b]:
            assert not await b.abort(name)
            a.begin(record(name))
            await until(lambda: written(a))
            waiting = asyncio.create_task(a.aborted())
            assert await b.abort(name)
            assert await waiting == name
            a.end(name, ending(0))
            await until(lambda: written(a))
            assert not await b.abort(name)

    run(body())
