"""A ledger that is away, in every way: the gateway goes on at once, and the ledger is complete afterwards."""

import asyncio
import signal
from pathlib import Path

import pytest
import redis

from ringroad.actors.ledger.ledger import Ending, Part
from ringroad.actors.messages import Counts, Finish
from tests.ledger.gateways import gateways, run, written
from tests.ledger.servers import ending, free_port, record, served, spoken, until
from tests.ledger.story import FAST, Story, failures, refused, told

pytestmark = pytest.mark.usefixtures("tries_again_soon")


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
