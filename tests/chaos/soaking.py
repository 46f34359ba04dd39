"""Mixed load for a long while: what processes and the ledger hold over time."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from statistics import linear_regression
from typing import Any

import redis

from ringroad.cluster.client import AsyncClient, CallFailed, user
from ringroad.cluster.wire import generate_request, translated
from tests.chaos.cluster import LEDGER, Cluster
from tests.chaos.streams import prompt, request

WARM = 1 / 3  # of the samples: caches fill, allocators settle
_TOKENS = 5  # that somebody reads before leaving
_DEADLINE_SECONDS = 0.7


@dataclass
class Sample:
    """At one moment."""

    second: float
    megabytes: dict[str, float]  # by process, its own pages
    ledger_megabytes: float
    ledger_keys: int


@dataclass
class Soak:
    """`at_once` streams for so many minutes; some are read to their end, some left in every way there is."""

    cluster: Cluster
    minutes: float
    at_once: int
    every_seconds: float = 10.0
    ended: Counter[str] = field(default_factory=Counter)  # streams, by what was done to them
    failed: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    async def run(self, tell: Callable[[Sample], None]) -> None:
        """`tell` is called with every sample."""
        began = time.monotonic()
        stop = asyncio.Event()
        readers = [asyncio.create_task(self._read(stop, random.Random(n))) for n in range(self.at_once)]
        while time.monotonic() < began + 60 * self.minutes:
            await asyncio.sleep(self.every_seconds)
            sample = await asyncio.to_thread(self._sample, time.monotonic() - began)
            self.samples.append(sample)
            tell(sample)
            for reader in readers:
                if reader.done():
                    reader.result()  # what ended it
        stop.set()
        await asyncio.gather(*readers)

    def as_dict(self) -> dict[str, Any]:
        """The result, so far: slopes behind the warm-up, in MB an hour."""
        steady = self.samples[int(len(self.samples) * WARM) :]
        seconds = [sample.second for sample in steady]
        names = set.intersection(*(set(sample.megabytes) for sample in steady)) if steady else set()
        grows = {name: slope(seconds, [s.megabytes[name] for s in steady]) for name in sorted(names)}
        return {
            "streams": dict(self.ended),
            "failed_streams": self.failed,
            "minutes": round(self.samples[-1].second / 60, 1) if self.samples else 0,
            "megabytes_an_hour": {name: round(3600 * each, 2) for name, each in grows.items()},
            "megabytes_an_hour_together": round(3600 * sum(grows.values()), 2),
            "ledger_megabytes_an_hour": round(3600 * slope(seconds, [s.ledger_megabytes for s in steady]), 3),
            "ledger_keys_an_hour": round(3600 * slope(seconds, [float(s.ledger_keys) for s in steady]), 1),
            "samples": [
                [round(s.second), s.megabytes, round(s.ledger_megabytes, 2), s.ledger_keys]
                for s in self.samples
            ],
        }

    async def _read(self, stop: asyncio.Event, rng: random.Random) -> None:
        ways = [self._to_the_end] * 5 + [self._closed, self._disconnected, self._vanished, self._too_late]
        while not stop.is_set():
            way = rng.choice(ways)
            target = rng.choice(self.cluster.targets)
            try:
                async with AsyncClient(target) as client:
                    await way(client, rng.randrange(10**6))
            except CallFailed as error:
                self.failed.append(f"{way.__name__}: {error!r}"[:200])
            self.ended[way.__name__.strip("_")] += 1

    async def _to_the_end(self, client: AsyncClient, number: int) -> None:
        async for _ in client.generate(user(prompt(number)), **request(number)):
            pass

    async def _closed(self, client: AsyncClient, number: int) -> None:
        """Read for a while, then left: the library aborts it."""
        await self._leave(client, number, resumable=True)

    async def _disconnected(self, client: AsyncClient, number: int) -> None:
        """A request that ends with its stream."""
        await self._leave(client, number, resumable=False)

    async def _vanished(self, client: AsyncClient, number: int) -> None:
        """A client that dies: nobody aborts what could be resumed."""
        asked = generate_request(user(prompt(number)), resumable=True, **request(number))
        (gateway,) = client._gateways
        call = gateway.inference.Generate(asked)
        with translated():
            async for response in call:
                if response.delta.offset >= _TOKENS:
                    break
        call.cancel()

    async def _too_late(self, client: AsyncClient, number: int) -> None:
        """Past its deadline."""
        with suppress(CallFailed):
            async for _ in client.generate(
                user(prompt(number)), timeout=_DEADLINE_SECONDS, **request(number)
            ):
                pass

    async def _leave(self, client: AsyncClient, number: int, *, resumable: bool) -> None:
        events = client.generate(user(prompt(number)), resumable=resumable, **request(number))
        async with aclosing(events):
            async for event in events:
                if getattr(event, "offset", 0) >= _TOKENS:
                    return

    def _sample(self, second: float) -> Sample:
        held = self.cluster.holdings()
        megabytes = {f"{each['name']} {pid}": each["megabytes"] for pid, each in held.items()}
        with self._ledger() as ledger:
            memory = ledger.info("memory")["used_memory"] / 1e6
            return Sample(second, megabytes, memory, int(ledger.dbsize()))

    def _ledger(self) -> redis.Redis:
        """The cluster's own server, by the socket that it listens on."""
        (server,) = self.cluster.processes(LEDGER)
        (path,) = {str(connection.laddr) for connection in server.net_connections("unix")} - {""}
        return redis.Redis(unix_socket_path=path)


def slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Of the line through points with the least squares; 0 where there are fewer than two."""
    return linear_regression(xs, ys).slope if len(xs) > 1 else 0.0
