"""Whose a request is: one gateway's, until it leaves or is gone, and then one other's."""

import asyncio
import uuid

from ringroad.actors.ledger import keys
from ringroad.actors.ledger.config import LedgerConfig
from ringroad.actors.ledger.ledger import Ending, Part
from ringroad.actors.ledger.store import RedisLedger
from ringroad.actors.messages import Counts, Finish, Speaker
from tests.ledger.gateways import die, gateways, run, written
from tests.ledger.servers import Server, ending, named, record, spoken, until, until_so


def test_who_lost_a_request_has_no_say_in_it(server: Server) -> None:
    async def body() -> None:
        name, (tokens, speakers) = named(), spoken(20)
        async with gateways(server.url, 2, lease_seconds=600) as [a, b]:
            a.begin(record(name))
            a.commit(name, 0, tokens[:5], speakers[:5])
            await until(lambda: written(a))
            server.ask("DEL", keys.lease(a._me))
            assert await b.claim(name)
            a.commit(name, 5, [9, 9, 9], [Speaker.LARGE] * 3)
            a.end(name, Ending(Finish.ERROR, 8, Counts(), "lost"))
            await until(lambda: written(a))
            entry = await b.find(name)
            assert entry
            assert (entry.part, entry.owner) == (Part(0, tokens[:5], speakers[:5]), b._me)

    run(body())


def test_of_several_that_claim_one_wins(server: Server) -> None:
    async def body() -> None:
        names = [named() for _ in range(20)]
        async with gateways(server.url, 3, lease_seconds=600) as [b, c, d]:
            [a] = [RedisLedger(LedgerConfig(url=server.url, lease_seconds=0.3), uuid.uuid4().hex)]
            for name in names:
                a.begin(record(name))
            await until(lambda: written(a))
            assert [await b.claim(name) for name in names] == [False] * 20  # it lives
            await die(a)

            async def ownerless() -> bool:
                entry = await b.find(names[0])
                return entry is not None and entry.owner is None

            await until_so(ownerless)
            for name in names:
                won = await asyncio.gather(*(each.claim(name) for each in (b, c, d)))
                assert sorted(won) == [False, False, True]
                entry = await b.find(name)
                assert entry
                assert entry.owner == (b, c, d)[won.index(True)]._me
                assert [await each.claim(name) for each in (b, c, d)] == won  # and stays it

    run(body())


def test_what_cannot_be_claimed(server: Server) -> None:
    async def body() -> None:
        name = named()
        async with gateways(server.url, 2) as [a, b]:
            assert not await b.claim(name)
            a.begin(record(name))
            a.end(name, ending(0))
            await until(lambda: written(a))
            assert not await b.claim(name)

    run(body())


def test_what_is_dropped_can_be_claimed_at_once(server: Server) -> None:
    async def body() -> None:
        name, (tokens, speakers) = named(), spoken(9)
        async with gateways(server.url, 2, lease_seconds=600) as [a, b]:
            a.begin(record(name))
            a.commit(name, 0, tokens, speakers)
            a.drop(name)
            await until(lambda: written(a))
            entry = await b.find(name)
            assert entry
            assert (entry.part, entry.owner) == (Part(0, tokens, speakers), None)
            assert await b.claim(name)

    run(body())


def test_who_leaves_writes_the_rest_and_frees_its_requests(server: Server) -> None:
    async def body() -> None:
        name, (tokens, speakers) = named(), spoken(9)
        async with gateways(server.url, 1, lease_seconds=600) as [b]:
            async with gateways(server.url, 1, lease_seconds=600) as [a]:
                await until(lambda: a.there)
                a.begin(record(name))
                a.commit(name, 0, tokens, speakers)
            entry = await b.find(name)
            assert entry
            assert (entry.part, entry.owner) == (Part(0, tokens, speakers), None)

    run(body())
