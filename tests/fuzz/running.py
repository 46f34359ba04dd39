"""Mutated requests against a running gateway, whose router is played: by gRPC, by HTTP, and as mere bytes."""

import asyncio
import logging
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import grpc.aio
import psutil

from ringroad.actors.messages import Chunk, Counts, Finish
from ringroad.v1.inference_pb2 import GenerateRequest
from tests.fuzz.campaign import RESULTS, begun, keep, tell
from tests.fuzz.corpus import requests
from tests.fuzz.mutation import Mutator
from tests.fuzz.parsers import JSON, KINDS, Case, drawn
from tests.gateway.conftest import END, SECONDS, Served, _serving, read

AT_ONCE = 16
BLOCK = 500
ALLOWED = {
    *("OK", "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "RESOURCE_EXHAUSTED"),
    *("CANCELLED", "DEADLINE_EXCEEDED"),  # by this client
    "UNAVAILABLE",  # what nobody read for long is given up
}
PATHS = {"ChatBody": "chat/completions", "CompletionBody": "completions"}
METHODS = dict.fromkeys(("GenerateRequest", "TokenizeRequest"), "InferenceService")
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
HTTP = [
    b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET /readyz?a=% HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\nGET /livez HTTP/1.1\r\nHost: b\r\n\r\n",
    b"POST /livez HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"POST /readyz HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Encoding: gzip\r\n\r\nhello",
]
SETTINGS: dict[str, Any] = {
    "admin_port": 0,
    "http_port": 0,
    "max_sessions": 8,
    "max_waiting": 8,
    "resume_seconds": 0.02,
    "settle_seconds": 0.2,
}


class Fuzzed:
    """A gateway with all that it must have given back in the end."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self._logged: list[str] = []
        self._process = psutil.Process()
        self._tasks = len(asyncio.all_tasks())
        self._descriptors = self._process.num_fds()

    async def tried(self, seed: int) -> str:
        """What came of a seed. Raises AssertionError for what must not."""
        draw = Random(seed)
        match draw.randrange(10):
            case 0:
                return await self._sent(
                    self.served.gateway.admin_port or 0, self._mutated(draw, draw.choice(HTTP))
                )
            case 1:
                return await self._sent(self.served.gateway.port, PREFACE + self._mutated(draw, PREFACE))
            case _:
                return await self._called(draw, seed)

    async def rested(self) -> None:
        """Everything that requests held is free. Raises TimeoutError where it is not."""
        gateway: Any = self.served.gateway
        async with asyncio.timeout(SECONDS):
            await self.served.until_load(0, 0)
            while gateway._sessions._known or gateway._sessions._streams or gateway._sessions._routes._routed:
                await asyncio.sleep(0.01)
            while self._process.num_fds() > self._descriptors or len(asyncio.all_tasks()) > self._tasks:
                await asyncio.sleep(0.01)

    def _mutated(self, draw: Random, data: bytes) -> bytes:
        return Mutator(draw, requests()[GenerateRequest]).bytes(data)

    async def _called(self, draw: Random, seed: int) -> str:
        case = drawn(seed)
        if case.kind in JSON:
            return await self._posted(case, draw.choice((0.05, 5.0)))
        name = case.kind.removesuffix("Request")
        service = METHODS.get(case.kind, "ControlService")
        path, limit = f"/ringroad.v1.{service}/{name}", draw.choice((0.05, 0.5, 5.0))
        leaves = draw.choice((None, None, 0, 1))
        code = grpc.StatusCode.OK
        try:
            if KINDS[case.kind] is GenerateRequest:
                call: Any = self.served.channel.unary_stream(path)(case.data, timeout=limit)
                await self._read(call, leaves)
                code = await call.code()
            else:
                await self.served.channel.unary_unary(path)(case.data, timeout=SECONDS)
        except grpc.aio.AioRpcError as error:
            code = error.code()
        except asyncio.CancelledError:  # by this client
            code = grpc.StatusCode.CANCELLED
        assert code.name in ALLOWED, f"{case}: {code.name}"
        return f"{name} {code.name}"

    async def _posted(self, case: Case, limit: float) -> str:
        url = f"http://127.0.0.1:{self.served.gateway.http_port}/v1/{PATHS[case.kind]}"
        own = aiohttp.ClientTimeout(limit), {"Content-Type": "application/json"}
        try:
            async with (
                aiohttp.ClientSession(timeout=own[0]) as session,
                session.post(url, data=case.data, headers=own[1]) as response,
            ):
                body, status = await response.read(), response.status
        except TimeoutError:
            return f"{PATHS[case.kind]} left"
        assert status < 500 or status == 503, f"{case}: {status} {body[:200]!r}"
        assert b"internal error" not in body, f"{case}: {body[:200]!r}"
        return f"{PATHS[case.kind]} {status}"

    async def _read(self, call: Any, leaves: int | None) -> None:
        count = 0
        while leaves is None or count < leaves:
            if await call.read() is grpc.aio.EOF:
                return
            count += 1
        call.cancel()

    async def _sent(self, port: int, data: bytes) -> str:
        """Bytes as they are; whoever answers, answers with no fault of its own."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answer = b""
        with suppress(ConnectionError, TimeoutError):
            writer.write(data)
            writer.write_eof()
            answer = await asyncio.wait_for(reader.read(), 0.5)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        assert not answer.startswith((b"HTTP/1.1 5", b"HTTP/1.0 5")), f"{data!r}: {answer[:80]!r}"
        return f"bytes {answer[9:12].decode() if answer.startswith(b'HTTP/1') else 'closed'}"


async def well(served: Served) -> None:
    """A good client is served."""
    text, _ = await read(served.inference.Generate(GenerateRequest(prompt="hi", ignore_eos=True)))
    assert text == "ok" * 8


async def play(router: Any) -> None:
    """A router that says "okok" up to what is asked; every fifth text it leaves to be cancelled."""
    number = 0
    while True:
        with suppress(TimeoutError):
            submit = await router.submitted()
            number += 1
            offset, said = len(submit.committed), (b"ok" * submit.max_tokens)[: min(submit.max_tokens, 16)]
            if number % 5 == 0 and submit.max_tokens > 2 and submit.prompt != [*b"hi"]:
                router.tokens(submit, offset, said[offset:2])
            else:
                router.end(submit, offset, Finish.LENGTH, list(said[offset:]) or [END])


async def obey(router: Any) -> None:
    """The same router, asked to end a text."""
    while True:
        with suppress(TimeoutError):
            cancel = await router.cancelled()
            router.say(Chunk(cancel.session, 1 << 20, [], [], cancel.reason, Counts()))


async def fuzz(seeds: range, told: Any = None) -> tuple[Counter[str], dict[str, str]]:
    """Tries seeds, some at once, and checks after each block that all is free and a good client is served."""
    outcomes: Counter[str] = Counter()
    failed: dict[str, str] = {}
    async with _serving(**SETTINGS) as served:
        players = [asyncio.create_task(part(served.router)) for part in (play, obey)]
        await well(served)
        fuzzed = Fuzzed(served)
        left = iter(seeds)

        async def some(count: int) -> None:
            for _ in range(count):
                if (seed := next(left, None)) is None:
                    return
                try:
                    outcomes[await fuzzed.tried(seed)] += 1
                except Exception as error:  # noqa: BLE001 - any at all is a finding
                    failed[str(seed)] = f"{type(error).__name__}: {error}"[:300]

        for _ in range(0, len(seeds), BLOCK):
            await asyncio.gather(*(some(BLOCK // AT_ONCE + 1) for _ in range(AT_ONCE)))
            await well(served)
            await fuzzed.rested()
            if told:
                told(outcomes, failed)
        for player in players:
            player.cancel()
    return outcomes, failed


def campaign(count: int, first: int, path: Path = RESULTS) -> int:
    """Tries `count` seeds from `first` on, or those of them that are left. How many failed."""
    logging.disable(logging.WARNING)
    done = begun(path, "gateway", count, first)
    before, spent, known = dict(done["outcomes"]), done["seconds"], dict(done["failed"])
    process, began, cases = psutil.Process(), time.monotonic(), done["cases"]

    def told(outcomes: Counter[str], failed: dict[str, str]) -> None:
        done["outcomes"] = dict(sorted((Counter(before) + outcomes).items()))
        done["failed"] = known | failed
        done["cases"] = cases + outcomes.total() + len(failed)
        done["seconds"] = round(spent + time.monotonic() - began, 1)
        done["megabytes"].append(round(process.memory_info().rss / 1e6, 1))
        done["descriptors"].append(process.num_fds())
        keep(path, "gateway", done)
        tell(f"{done['cases']} of {count}, {len(done['failed'])} failed")

    asyncio.run(fuzz(range(first + cases, first + count), told))
    return len(done["failed"])
