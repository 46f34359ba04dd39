"""What a gateway tells the ledger, and what others read there."""

import asyncio
import random

import pytest
import redis

from ringroad.actors.ledger import keys, pieces
from ringroad.actors.ledger.config import LedgerConfig
from ringroad.actors.ledger.ledger import Ending, Ledger, Part
from ringroad.actors.ledger.store import RedisLedger, open_ledger
from ringroad.actors.messages import Counts, Finish, Speaker
from tests.ledger.gateways import gateways, run, written
from tests.ledger.servers import Server, ending, named, record, spoken, until, until_so


def every_key(server: Server) -> list[bytes]:
    with redis.Redis(unix_socket_path=str(server.socket), protocol=2) as client:
        return list(client.scan_iter("*"))


async def held(server: Server) -> int:
    return len(every_key(server))


def test_it_is_a_ledger(server: Server) -> None:
    async def body() -> None:
        async with gateways(server.url) as [a]:
            ledger: Ledger = a
            assert ledger.there is False  # nobody has asked it yet

    run(body())
    assert open_ledger(LedgerConfig(url="none"), "a") is None


def test_a_text_is_read_as_it_was_told(server: Server) -> None:
    async def body() -> None:
        name, (tokens, speakers) = named(), spoken(50)
        async with gateways(server.url, 2) as [a, b]:
            assert await b.find(name) is None
            a.begin(record(name))
            a.commit(name, 0, tokens[:20], speakers[:20])
            await until(lambda: written(a))
            entry = await b.find(name)
            assert entry
            assert (entry.record, entry.owner) == (record(name), a._me)
            assert entry.part == Part(0, tokens[:20], speakers[:20])
            a.commit(name, 20, tokens[20:], speakers[20:])
            a.end(name, ending(49))
            await until(lambda: written(a))
            entry = await b.find(name)
            assert entry
            assert entry.part == Part(0, tokens, speakers, ending(49))
            assert entry.owner is None
            assert len(a._backlog) == 0

    run(body())


def test_an_empty_text_ends(server: Server) -> None:
    async def body() -> None:
        name = named()
        async with gateways(server.url) as [a]:
            a.begin(record(name))
            a.end(name, ending(0))
            await until(lambda: written(a))
            entry = await a.find(name)
            assert entry
            assert entry.part == Part(0, [], [], ending(0))

    run(body())


@pytest.mark.parametrize("seed", range(5))
def test_repetitions_overlaps_and_gaps_change_nothing(server: Server, seed: int) -> None:
    async def body() -> None:
        chance, name, (tokens, speakers) = random.Random(seed), named(), spoken(6000)
        async with gateways(server.url, write_seconds=0.001) as [a]:
            a.begin(record(name))
            known = 0
            while known < len(tokens):
                first = chance.randrange(0, known + 5)
                stop = min(first + chance.choice([1, 7, 900, 5000]), len(tokens))
                a.commit(name, first, tokens[first:stop], speakers[first:stop])
                known = max(known, stop) if first <= known else known
                await asyncio.sleep(0)
            a.end(name, ending(known))
            a.commit(name, known, [1], [Speaker.LARGE])  # after the end: nothing
            await until(lambda: written(a))
            entry = await a.find(name)
            assert entry
            assert entry.part == Part(0, tokens, speakers, ending(known))

    run(body())


def test_pieces_are_joined_up_to_a_gap() -> None:
    tokens, speakers = spoken(30)

    def stored(first: int, stop: int) -> pieces.Stored:
        packed = pieces.piece(first, tokens[first:stop], pieces.codes(speakers[first:stop]))
        return f"{stop}-0".encode(), {b"piece": packed}

    overlapping = [stored(0, 9), stored(3, 12), stored(12, 13), stored(0, 20)]
    for offset in range(9):
        assert pieces.joined(overlapping, offset) == Part(offset, tokens[offset:20], speakers[offset:20])
    assert pieces.joined([*overlapping, stored(21, 30)], 2) == Part(2, tokens[2:20], speakers[2:20])
    assert pieces.joined([stored(5, 9)], 2) == Part(2, [], [])


@pytest.mark.parametrize("seed", range(5))
def test_two_that_write_one_text_write_it_once(server: Server, seed: int) -> None:
    """The second begins anew what the first has written, in other pieces, while the first goes on."""

    async def body() -> None:
        chance, name, (tokens, speakers) = random.Random(seed), named(), spoken(200)
        places = keys.of_request(name)
        async with gateways(server.url, 2, lease_seconds=600, write_seconds=0.001) as [a, b]:
            a.begin(record(name))
            told = {a: 0, b: 0}

            async def tell(ledger: RedisLedger) -> None:
                stop = min(told[ledger] + chance.randrange(1, 20), 200)
                first = told[ledger]
                ledger.commit(name, first, tokens[first:stop], speakers[first:stop])
                told[ledger] = stop
                await until(lambda: written(ledger))

            for _ in range(4):
                await tell(a)
            server.ask("DEL", keys.lease(a._me))  # as if it had been stopped for too long
            assert await b.claim(name)
            b.begin(record(name))
            while min(told.values()) < 200:
                await tell(chance.choice([a, b]))
            b.end(name, ending(200))
            a.end(name, ending(200))
            await until(lambda: written(a) and written(b))
            entry = await b.find(name)
            assert entry
            assert entry.part == Part(0, tokens, speakers, ending(200))
            stored = server.ask("XRANGE", places.text, "-", "+")
            assert isinstance(stored, list)
            ends = [int(place.split(b"-")[0]) for place, fields in stored if b"piece" in fields]
            assert ends == sorted(set(ends))

    run(body())


def test_what_has_ended_stays_as_it_ended(server: Server) -> None:
    """Also where another gateway, which could not ask, was told the same request once more."""

    async def body() -> None:
        name, (tokens, speakers) = named(), spoken(20)
        async with gateways(server.url, 2) as [a, b]:
            a.begin(record(name))
            a.commit(name, 0, tokens[:9], speakers[:9])
            a.end(name, ending(9))
            await until(lambda: written(a))
            b.begin(record(name))
            b.commit(name, 0, tokens, speakers)
            for _ in range(2):
                await until(lambda: written(b))
                entry = await b.find(name)
                assert entry
                assert (entry.part, entry.owner) == (Part(0, tokens[:9], speakers[:9], ending(9)), None)
                b.end(name, Ending(Finish.ERROR, 20, Counts(), "lost"))
            assert server.ask("XLEN", keys.of_request(name).text) == 2

    run(body())


def test_all_expires_and_no_key_says_what_clients_say(server: Server) -> None:
    async def body() -> None:
        server.ask("FLUSHALL")
        async with gateways(server.url, 2, expiry_seconds=1, lease_seconds=0.3) as [a, b]:
            for name in ("my secret 1", "my secret 2"):
                a.begin(record(name))
                a.commit(name, 0, *spoken(5))
            a.end("my secret 1", ending(5))
            await until(lambda: written(a))
            assert await b.abort("my secret 2")
            found = every_key(server)
            assert len(found) >= 2 + 3 + 2  # two that ended or run, their texts, leases, the abort
            assert not [key for key in found if b"secret" in key]
            assert [key for key in found if not int(str(server.ask("PTTL", key))) > 0] == []
        await until_so(lambda: gone(server))

    run(body())


async def gone(server: Server) -> bool:
    return await held(server) == 0


def test_a_ledger_that_forgot_is_told_again(server: Server) -> None:
    """Also when only some of it expired, because nothing was committed for so long."""

    async def body() -> None:
        name, (tokens, speakers) = named(), spoken(12)
        for lost in (keys.of_request(name), keys.of_request(name)[:1], keys.of_request(name)[1:2]):
            async with gateways(server.url) as [a]:
                a.begin(record(name))
                a.commit(name, 0, tokens[:8], speakers[:8])
                await until(lambda: written(a))
                server.ask("DEL", *lost)
                a.commit(name, 8, tokens[8:], speakers[8:])
                await until(lambda: written(a))
                entry = await a.find(name)
                assert entry
                assert (entry.part, entry.owner) == (Part(0, tokens, speakers), a._me)
                server.ask("DEL", *keys.of_request(name))

    run(body())
