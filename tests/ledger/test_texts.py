"""What a gateway tells the ledger, and what others read there."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator

import pytest
import redis

from ringroad.actors.ledger import keys, pieces
from ringroad.actors.ledger.config import LedgerConfig
from ringroad.actors.ledger.ledger import Ending, Ledger, Part
from ringroad.actors.ledger.store import RedisLedger, open_ledger
from ringroad.actors.messages import Counts, Finish, Speaker
from tests.ledger.gateways import die, gateways, run, written
from tests.ledger.servers import Server, ending, record, spoken, until, until_so


def named() -> str:
    return f"request {uuid.uuid4()}"


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
