"""A ledger that is away, in every way: the gateway goes on at once, and the ledger is complete afterwards."""

import asyncio
import logging
import signal
from pathlib import Path
from typing import Any

import pytest
import redis

from ringroad.actors.ledger import presence
from ringroad.actors.ledger.ledger import Ending, LedgerAway, Part
from ringroad.actors.ledger.store import RedisLedger
from ringroad.actors.messages import Counts, Finish
from tests.ledger.gateways import gateways, run, written
from tests.ledger.servers import ending, free_port, record, served, spoken, until
from tests.ledger.tls import Authority, behind_tls

FAST: dict[str, Any] = {"timeout_seconds": 0.1, "lease_seconds": 0.3}


@pytest.fixture(autouse=True)
def tries_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "_LAST_SECONDS", 0.05)
    monkeypatch.setattr(presence, "_FIRST_SECONDS", 0.01)


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


@pytest.mark.parametrize("options", [(), ("--appendonly", "yes", "--appendfsync", "always")])
def test_killed_and_started_again(
    short: Path, options: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """Whether it kept its file or not."""

    async def body() -> None:
        with served(short, *options) as server:
            async with gateways(server.url, **FAST) as [a]:
                story = Story(a)
                await story.before()
                server.end()
                await until(lambda: not a.there)
                story.meanwhile()
                await refused(a)
                server.start()
                await story.afterwards()
        assert 1 <= len(told(caplog)) <= 2  # the connection broke; then nobody listened

    run(body())


def test_killed_while_it_is_written_to(short: Path) -> None:
    async def body() -> None:
        tokens, speakers = spoken(2000)
        with served(short, "--appendonly", "yes", "--appendfsync", "always") as server:
            async with gateways(server.url, write_seconds=0.001, **FAST) as [a]:
                for i in range(20):
                    a.begin(record(f"r{i}"))
                for first in range(0, 2000, 10):
                    for i in range(20):
                        a.commit(f"r{i}", first, tokens[first : first + 10], speakers[first : first + 10])
                    await asyncio.sleep(0)
                    if first in (400, 1200):
                        await until(lambda: a.there)
                        server.end()
                        server.start()
                for i in range(20):
                    a.end(f"r{i}", ending(2000))
                await until(lambda: written(a))
                for i in range(20):
                    entry = await a.find(f"r{i}")
                    assert entry
                    assert entry.part == Part(0, tokens, speakers, ending(2000))

    run(body())


def test_a_restart_with_its_file_loses_nothing(short: Path) -> None:
    """Nobody is there who could tell it again."""

    async def body() -> None:
        tokens, speakers = spoken(500)
        with served(short, "--appendonly", "yes", "--appendfsync", "always") as server:
            async with gateways(server.url) as [a]:
                for i in range(20):
                    a.begin(record(f"r{i}"))
                    a.commit(f"r{i}", 0, tokens, speakers)
                    a.end(f"r{i}", ending(i))
                await until(lambda: written(a))
            server.end(signal.SIGKILL)
            server.start()
            async with gateways(server.url) as [b]:
                for i in range(20):
                    entry = await b.find(f"r{i}")
                    assert entry
                    assert entry.part == Part(0, tokens, speakers, ending(i))

    run(body())


def test_paused(short: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        with served(short) as server:
            async with gateways(server.url, **FAST) as [a]:
                story = Story(a)
                await story.before()
                server.send(signal.SIGSTOP)
                story.meanwhile()
                await until(lambda: not a.there)
                await refused(a)
                a.commit("runs", 0, *spoken(5))
                server.send(signal.SIGCONT)
                await story.afterwards()
        assert len(told(caplog)) == 1

    run(body())


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


def test_full_and_freed(
    short: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        with served(short) as server:
            async with gateways(server.url, **FAST) as [a]:
                story = Story(a)
                await story.before()
                server.ask("CONFIG", "SET", "maxmemory", 1)
                story.meanwhile()
                await failures(monkeypatch, 5)
                assert not a.there
                assert len(told(caplog)) == 1
                assert "maxmemory" in told(caplog)[0]
                server.ask("CONFIG", "SET", "maxmemory", 0)
                await story.afterwards()

    run(body())


def test_a_replica_that_only_reads(
    short: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        with served(short) as server:
            async with gateways(server.url, **FAST) as [a]:
                story = Story(a)
                await story.before()
                server.ask("REPLICAOF", "127.0.0.1", free_port())
                story.meanwhile()
                await failures(monkeypatch, 5)
                assert not a.there
                assert len(told(caplog)) == 1
                assert "read only" in told(caplog)[0]
                server.ask("REPLICAOF", "NO", "ONE")
                await story.afterwards()

    run(body())


@pytest.mark.parametrize("user", ["", "default@"])
def test_a_wrong_password(
    short: Path, user: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the start; what is generated meanwhile is not lost when the file is corrected."""

    async def body() -> None:
        file, port = short / "password", free_port()
        with served(short, "--requirepass", "right", port=port):
            async with gateways(f"redis://{user}127.0.0.1:{port}", password_file=file, **FAST) as [a]:
                await failures(monkeypatch, 3)  # no file
                file.write_text("wrong\n")
                a.begin(record("r"))
                a.commit("r", 0, *spoken(5))
                await failures(monkeypatch, 5)
                assert not a.there
                with pytest.raises(LedgerAway, match="assword"):
                    await a.find("r")
                assert len(told(caplog)) == 1
                assert "wrong" not in caplog.text.replace("wrong number", "").replace("WRONGPASS", "")
                file.write_text("right\n")
                await until(lambda: written(a))
                entry = await a.find("r")
                assert entry
                assert entry.part == Part(0, *spoken(5))

    run(body())


def test_a_password_from_the_environment(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        port = free_port()
        with served(short, "--requirepass", "right", port=port):
            url = f"redis://127.0.0.1:{port}/1"
            async with gateways(url, password_env="RINGROAD_TEST_PASSWORD", **FAST) as [a]:
                await failures(monkeypatch, 2)
                with pytest.raises(LedgerAway, match="RINGROAD_TEST_PASSWORD: not set"):
                    await a.find("r")
                monkeypatch.setenv("RINGROAD_TEST_PASSWORD", "right")
                await until(lambda: a.there)

    run(body())


def test_tls(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        (short / "other").mkdir()
        authority, stranger = Authority(short), Authority(short / "other")
        certificate, key = authority.issue("gateway")
        with served(short) as server:
            async with behind_tls(server.socket, authority, asks_client=True) as port:
                url = f"rediss://127.0.0.1:{port}"
                own = {"tls_cert": certificate, "tls_key": key}
                async with gateways(url, tls_ca=authority.ca, **own) as [a]:
                    story = Story(a)
                    await story.before()
                    story.meanwhile()
                    await story.afterwards()
                for trouble in ({"tls_ca": stranger.ca, **own}, {"tls_ca": authority.ca}, own):
                    async with gateways(url, **trouble, **FAST) as [b]:
                        await failures(monkeypatch, 2)
                        assert not b.there
                        with pytest.raises(LedgerAway):
                            await b.find("runs")

    run(body())


def test_too_many_that_ended_are_given_up(short: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The oldest; those that run are not counted."""

    async def body() -> None:
        with served(short) as server:
            server.end()
            async with gateways(server.url, max_unwritten=3, **FAST) as [a]:
                a.begin(record("runs"))
                for i in range(5):
                    a.begin(record(f"r{i}"))
                    a.commit(f"r{i}", 0, *spoken(3))
                    a.end(f"r{i}", ending(3))
                assert a.given_up == 2
                assert a.waiting == 4
                assert len([line for line in told(caplog) if "given up" in line]) == 1
                server.start()
                await until(lambda: written(a))
                found = [await a.find(name) is not None for name in ("runs", "r0", "r1", "r2", "r3", "r4")]
                assert found == [True, False, False, True, True, True]

    run(body())


def test_an_abort_is_waited_for_while_the_ledger_is_away(short: Path) -> None:
    async def body() -> None:
        with served(short) as server:
            async with gateways(server.url, 2, **FAST) as [a, b]:
                a.begin(record("r"))
                waiting = asyncio.create_task(a.aborted())
                await until(lambda: written(a))
                server.end()
                await until(lambda: not a.there)
                server.start()
                a.commit("r", 0, *spoken(1))
                await until(lambda: written(a))
                assert await b.abort("r")
                assert await waiting == "r"

    run(body())


def test_leaving_while_it_is_away(short: Path) -> None:
    async def body() -> None:
        with served(short) as server:
            async with gateways(server.url, **FAST) as [a]:
                await until(lambda: a.there)
                server.send(signal.SIGSTOP)
                a.begin(record("r"))
                a.end("r", Ending(Finish.ERROR, 0, Counts(), "lost"))
            server.send(signal.SIGCONT)

    run(body())


@pytest.mark.parametrize("errors", [redis.ConnectionError, ZeroDivisionError])
def test_a_cancellation_that_the_client_loses_is_not_lost(
    short: Path, monkeypatch: pytest.MonkeyPatch, errors: type[Exception]
) -> None:
    """Closing a connection that breaks in the same moment raises that error in its place."""

    async def body() -> None:
        begun: list[object] = []

        async def breaks(*_: object, **__: object) -> None:
            begun.append(None)
            try:
                await asyncio.Event().wait()
            finally:
                raise errors("broken")

        with served(short) as server:
            async with gateways(server.url, **FAST) as [a]:
                await until(lambda: a.there)
                monkeypatch.setattr(a, "_write_all", breaks)
                await until(lambda: len(begun) == 1)
                if errors is redis.ConnectionError:
                    monkeypatch.setattr(a._redis, "blpop", breaks)
                    waiting = asyncio.create_task(a.aborted())
                    await until(lambda: len(begun) == 2)
                    waiting.cancel()
                    await asyncio.wait([waiting])
                    assert waiting.cancelled()
                a._writer.cancel()
                await asyncio.wait([a._writer])
                monkeypatch.undo()

    run(body())
