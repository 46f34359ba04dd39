"""A gateway that stops: what is not done in time goes on elsewhere, where it may."""

import asyncio
from typing import Any

import grpc
import pytest

from ringroad.actors.messages import Cancel, Finish
from ringroad.v1.inference_pb2 import FINISH_REASON_ERROR, GenerateRequest
from tests.gateway.ledgers import MemoryLedger, Store


@pytest.mark.parametrize("tokens", [b"", b"abc"])
async def test_a_resumable_request_is_left_to_others(serving: Any, helpers: Any, tokens: bytes) -> None:
    store = Store()
    async with (
        serving(ledger=MemoryLedger(store, "a")) as stopping,
        serving(ledger=MemoryLedger(store, "b")) as other,
    ):
        asked = GenerateRequest(prompt="hi", request_id="mine", resumable=True)
        call = stopping.inference.Generate(asked)
        submit = await stopping.router.submitted()
        if tokens:
            stopping.router.tokens(submit, 0, tokens)
            assert (await call.read()).delta.text == "abc"
        await stopping.gateway.stop(0)
        code, retry = await helpers.failure(call)
        assert code is grpc.StatusCode.UNAVAILABLE
        assert retry.retry_delay.seconds > 0
        assert await call.details() == "the gateway is stopping"
        assert await stopping.router.cancelled() == Cancel(submit.session)
        assert store.rows["mine"].owner is None
        resume = {"next_offset": len(tokens)}
        rest = other.inference.Generate(GenerateRequest(request_id="mine", resume=resume))
        submit = await other.router.submitted()
        assert bytes(submit.committed) == tokens
        other.router.end(submit, len(tokens), Finish.LENGTH, b"d")
        assert (await rest.read()).delta.text == "d"
        assert (await rest.read()).HasField("final")


async def test_who_reads_along_is_sent_elsewhere(serving: Any, helpers: Any) -> None:
    """A request that another gateway generates is not ended by one that only follows it."""
    store = Store()
    async with (
        serving(ledger=MemoryLedger(store, "a")) as owner,
        serving(ledger=MemoryLedger(store, "b")) as stopping,
    ):
        asked = GenerateRequest(prompt="hi", request_id="mine", resumable=True)
        call = owner.inference.Generate(asked)
        submit = await owner.router.submitted()
        follower = stopping.inference.Generate(asked)
        await follower.initial_metadata()
        await stopping.gateway.stop(0)
        code, _ = await helpers.failure(follower)
        assert code is grpc.StatusCode.UNAVAILABLE
        assert store.rows["mine"].owner == "a"
        owner.router.end(submit, 0, Finish.LENGTH, b"x")
        await helpers.read(call)


async def test_running_requests_get_the_grace(serving: Any, helpers: Any) -> None:
    """Resumable ones, too; and a stream is read to its end though its text has ended before."""
    async with serving() as served:
        calls = [
            served.inference.Generate(GenerateRequest(prompt="hi", resumable=resumable))
            for resumable in (False, True)
        ]
        submits = [await served.router.submitted() for _ in calls]
        stopping = asyncio.create_task(served.gateway.stop(helpers.SECONDS))
        for submit in submits:
            served.router.end(submit, 0, Finish.LENGTH, b"done")
        for call in calls:
            assert (await helpers.read(call))[0] == "done"
        await asyncio.wait_for(stopping, helpers.SECONDS / 2)


async def test_a_stopping_gateway_resumes_nothing(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        call = served.inference.Generate(GenerateRequest(prompt="hi", request_id="mine", resumable=True))
        submit = await served.router.submitted()
        served.router.tokens(submit, 0, b"abc")
        await call.read()
        stopping = asyncio.create_task(served.gateway.stop(helpers.SECONDS))
        await served.until_load(1, 0)
        resume = GenerateRequest(request_id="mine", resume={"next_offset": 0})
        code, retry = await helpers.failure(served.inference.Generate(resume))
        assert code is grpc.StatusCode.UNAVAILABLE
        assert retry is not None
        served.router.end(submit, 3, Finish.ERROR)
        assert (await call.read()).final.finish_reason == FINISH_REASON_ERROR
        await stopping
