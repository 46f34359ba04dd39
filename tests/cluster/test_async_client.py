"""The client for asyncio, against a gateway that plays its part."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import aclosing
from typing import Any

import grpc
import pytest

from ringroad.cluster.client import AsyncClient, CallFailed, Delta, Event, user
from ringroad.cluster.wire import generate_request
from tests.cluster.fakes import HELLO, NOBODY, STOP, FakeGateway, plain, refuses

SECONDS = 20.0  # nothing here takes that long


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with FakeGateway() as gateway:
        yield gateway


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, SECONDS))


def test_async_events_and_calls(gateway: FakeGateway) -> None:
    async def work() -> None:
        async with AsyncClient(gateway.target) as client:
            events: list[Event] = [event async for event in client.generate(user("hi"), seed=7)]
            assert events == [HELLO[0].delta, HELLO[1].delta, STOP.final]
            assert (await client.tokenize("hi")).token_ids == [5, 6]
            assert (await client.server_info()).roles[0].model == "big"
            assert (await client.load()).capacity == 32
            assert [pair.name for pair in await client.models()] == ["pair"]
            assert await client.abort("known")
            assert not await client.abort("unknown")
            assert await client.ready()

    run(work())
    assert [plain(request) for request in gateway.requests] == [generate_request(user("hi"), seed=7)]


def test_async_leaving_early_cancels_on_the_server(gateway: FakeGateway) -> None:
    gateway.script = gateway.hold

    async def work() -> None:
        async with AsyncClient(gateway.target) as client:
            async with aclosing(client.generate("hi")) as events:
                assert isinstance(await anext(events), Delta)
            assert await asyncio.to_thread(gateway.ended.wait, SECONDS)

    run(work())


def test_cancelling_the_task_cancels_on_the_server(gateway: FakeGateway) -> None:
    gateway.script = gateway.hold

    async def work() -> None:
        first = asyncio.Event()

        async def read(client: AsyncClient) -> None:
            async for _ in client.generate("hi"):
                first.set()

        async with AsyncClient(gateway.target) as client:
            task = asyncio.create_task(read(client))
            await first.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(gateway.ended.wait, SECONDS)

    run(work())


def test_async_failures_are_the_same(gateway: FakeGateway) -> None:
    gateway.script = refuses(grpc.StatusCode.INVALID_ARGUMENT, "no", max_tokens="too many")

    async def work() -> None:
        async with AsyncClient(gateway.target) as client:
            with pytest.raises(CallFailed, match=r"^max_tokens: too many$"):
                [event async for event in client.generate("hi")]
        async with AsyncClient(NOBODY) as client:
            assert not await client.ready()
            with pytest.raises(CallFailed):
                await client.load()

    run(work())
