"""A router that goes is a pause: every session goes on with the next, from where it stands."""

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ringroad.actors.messages import Cancel, Chunk, Counts, Finish, Mode, Roster, Speaker
from ringroad.v1 import control_pb2
from ringroad.v1.inference_pb2 import (
    FINISH_REASON_CANCELLED,
    FINISH_REASON_ERROR,
    FINISH_REASON_STOP,
    MODE_SMALL,
    GenerateRequest,
)

KEPT, TAKEN, LARGE = Speaker.SMALL_KEPT, Speaker.SMALL_ACCEPTED, Speaker.LARGE


async def until_health(served: Any, state: int) -> None:
    watch = health_pb2_grpc.HealthStub(served.channel).Watch(health_pb2.HealthCheckRequest())
    async for status in watch:
        if status.status == state:
            watch.cancel()
            return


async def lose(served: Any) -> None:
    served.router.lose()
    await until_health(served, health_pb2.HealthCheckResponse.NOT_SERVING)


def come_back(served: Any, *peers: Any) -> None:
    served.router.down = False
    served.router.say(Roster(list(peers)))


async def test_a_text_goes_on_with_the_next_router(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        call = served.inference.Generate(GenerateRequest(prompt="hi", request_id="r", sampling={"seed": 3}))
        first = await served.router.submitted()
        served.router.say(
            Chunk(
                first.session,
                0,
                [*b"abc"],
                [KEPT, TAKEN, LARGE],
                counts=Counts(5, 1, 2, 1, 1, ["head"], 4),
                at={"verifier": 1},
            )
        )
        assert (await call.read()).delta.text == "abc"
        await lose(served)
        code, _ = await helpers.failure(served.inference.Generate(GenerateRequest(prompt="hi")))
        assert code is grpc.StatusCode.UNAVAILABLE  # a new one asks elsewhere
        assert served.router.quiet
        (timer,) = served.gateway._sessions._routes._stranded.values()
        come_back(served, helpers.VERIFIER, helpers.DRAFTER)
        second = await served.router.submitted()
        assert timer.cancelled()  # else it would be submitted twice
        assert second.session.startswith("r~")
        assert second.session != first.session
        assert (second.committed, second.speakers) == ([*b"abc"], [KEPT, TAKEN, LARGE])
        assert (first.at, second.at) == ({}, {"verifier": 1})
        assert (second.prompt, second.sampling) == (first.prompt, first.sampling)
        served.router.end(first, 3, Finish.LENGTH, b"late")  # whoever was taken for dead
        served.router.say(Chunk(second.session, 0, [*b"abcd"], [KEPT, TAKEN, LARGE, TAKEN]))
        served.router.say(
            Chunk(second.session, 4, [], [], Finish.STOP, Counts(3, 2, 4, 1, 1, ["head", "drafter"], 1))
        )
        rest, final = (await call.read()).delta, (await call.read()).final
        assert (rest.text, rest.offset) == ("d", 3)
        assert final.finish_reason == FINISH_REASON_STOP
        usage = final.usage
        assert (usage.drafted_tokens, usage.consults, usage.fallback_tokens) == (8, 6, 5)
        assert (usage.accepted_tokens, usage.small_tokens, usage.large_tokens) == (2, 3, 1)
        assert list(usage.degraded) == ["head", "router", "drafter"]
        assert usage.seed == 3
        await served.until_load(0, 0)
        assert served.router.quiet


async def test_it_waits_for_who_must_speak(serving: Any, helpers: Any) -> None:
    """A router that has just begun may not have met everybody: without them the text would be another."""
    async with serving() as served:
        large = served.inference.Generate(GenerateRequest(prompt="hi", request_id="large"))
        small = served.inference.Generate(GenerateRequest(prompt="hi", request_id="small", mode=MODE_SMALL))
        for _ in range(2):
            await served.router.submitted()
        await lose(served)
        come_back(served)
        come_back(served, helpers.DRAFTER)
        assert (await served.router.submitted()).mode is Mode.SMALL
        assert served.router.quiet
        come_back(served, helpers.VERIFIER)
        assert (await served.router.submitted()).session.startswith("large~")
        for call in (large, small):
            call.cancel()


async def test_who_waits_in_line_goes_on_waiting(serving: Any, helpers: Any) -> None:
    async with serving(max_sessions=1) as served:
        calls = [served.inference.Generate(GenerateRequest(prompt="hi", request_id="a"))]
        await served.router.submitted()
        calls.append(served.inference.Generate(GenerateRequest(prompt="hi", request_id="b")))
        await served.until_load(1, 1)
        await lose(served)
        calls[0].cancel()
        await served.until_load(1, 0)  # its turn comes, and there is no router
        come_back(served, helpers.VERIFIER)
        submit = await served.router.submitted()
        assert submit.session.startswith("b~")
        served.router.end(submit, 0, Finish.LENGTH, b"x")
        _, final = await helpers.read(calls[1])
        assert not final.usage.degraded  # it had none that could be lost


@pytest.mark.parametrize("begun", [False, True])
async def test_a_router_that_stays_away_ends_it(serving: Any, helpers: Any, begun: bool) -> None:
    async with serving(router_seconds=0.01) as served:
        call = served.inference.Generate(GenerateRequest(prompt="hi"))
        submit = await served.router.submitted()
        if begun:
            served.router.tokens(submit, 0, b"abc")
            assert (await call.read()).delta.text == "abc"
        served.router.lose()
        if begun:
            final = (await call.read()).final
            assert (final.finish_reason, final.error) == (FINISH_REASON_ERROR, "the router was lost")
            assert final.usage.completion_tokens == 3
        else:
            code, retry = await helpers.failure(call)
            assert code is grpc.StatusCode.UNAVAILABLE
            assert retry.retry_delay.seconds > 0
        await served.until_load(0, 0)
        come_back(served, helpers.VERIFIER)
        await until_health(served, health_pb2.HealthCheckResponse.SERVING)
        assert await served.complete() == "ok"


async def test_a_resumable_text_does_not_end_for_want_of_a_router(serving: Any, helpers: Any) -> None:
    """A gateway that was stopped for long finds its router gone for too long when it wakes: others go on."""
    async with serving(router_seconds=0.01) as served:
        call = served.inference.Generate(GenerateRequest(prompt="hi", request_id="a", resumable=True))
        served.router.tokens(await served.router.submitted(), 0, b"abc")
        assert (await call.read()).delta.text == "abc"
        served.router.lose()
        code, retry = await helpers.failure(call)
        assert code is grpc.StatusCode.UNAVAILABLE
        assert retry.retry_delay.seconds > 0
        await served.until_load(0, 0)


@pytest.mark.parametrize("how", ["abort", "cancel"])
async def test_a_pause_can_be_cut_short(serving: Any, helpers: Any, how: str) -> None:
    async with serving() as served:
        call = served.inference.Generate(GenerateRequest(prompt="hi", request_id="mine"))
        submit = await served.router.submitted()
        served.router.tokens(submit, 0, b"abc")
        await call.read()
        await lose(served)
        if how == "cancel":
            call.cancel()
        else:
            assert (await served.control.Abort(control_pb2.AbortRequest(request_id="mine"))).aborted
            assert (await call.read()).final.finish_reason == FINISH_REASON_CANCELLED
        await served.until_load(0, 0)
        come_back(served, helpers.VERIFIER)
        await until_health(served, health_pb2.HealthCheckResponse.SERVING)
        assert served.router.quiet
        assert await served.complete() == "ok"


async def test_a_router_lost_before_its_last_word_on_a_stopped_text(serving: Any, helpers: Any) -> None:
    async with serving(settle_seconds=100) as served:
        call = served.inference.Generate(GenerateRequest(prompt="hi", stop=["!"]))
        submit = await served.router.submitted()
        served.router.tokens(submit, 0, b"ab!cd")
        assert await served.router.cancelled() == Cancel(submit.session, Finish.STOP)
        served.router.lose()
        text, final = await helpers.read(call)
        assert (text, final.finish_reason, final.usage.completion_tokens) == ("ab", FINISH_REASON_STOP, 3)


async def test_a_router_that_is_gone_when_asked(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        served.router.down = True  # and the gateway has not noticed yet
        call = served.inference.Generate(GenerateRequest(prompt="hi"))
        await served.until_load(1, 0)
        await served.router.refused.wait()
        come_back(served, helpers.VERIFIER)
        submit = await served.router.submitted()
        served.router.end(submit, 0, Finish.STOP, b"ok")
        assert (await helpers.read(call))[0] == "ok"


async def test_a_cancel_that_nobody_asked_for_is_a_router_that_took_us_for_gone(
    serving: Any, helpers: Any
) -> None:
    async with serving() as served:
        call = served.inference.Generate(GenerateRequest(prompt="hi"))
        first = await served.router.submitted()
        served.router.tokens(first, 0, b"ab")
        served.router.end(first, 2, Finish.CANCELLED, b"c")
        second = await served.router.submitted()
        assert second.session != first.session
        assert second.committed == [*b"abc"]
        served.router.end(second, 3, Finish.STOP, b"d")
        text, final = await helpers.read(call)
        assert (text, final.finish_reason) == ("abcd", FINISH_REASON_STOP)


async def test_two_losses_add_up(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        call = served.inference.Generate(GenerateRequest(prompt="hi"))
        reading = asyncio.create_task(helpers.read(call))
        for n in range(3):
            submit = await served.router.submitted()
            assert submit.committed == [97] * n
            served.router.say(Chunk(submit.session, n, [97], [LARGE], counts=Counts(2, consults=1)))
            if n < 2:
                await lose(served)
                come_back(served, helpers.VERIFIER)
        served.router.say(Chunk(submit.session, 3, [], [], Finish.LENGTH, Counts(2, consults=1)))
        text, final = await reading
        assert text == "aaa"
        assert (final.usage.drafted_tokens, final.usage.consults) == (6, 3)
        assert list(final.usage.degraded) == ["router"]
