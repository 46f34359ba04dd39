"""The gateway as a server: places, control, health, reflection, and a router that goes."""

import asyncio
import logging
import subprocess
import sys
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from ringroad.actors.messages import Finish, Roster
from ringroad.v1 import control_pb2, inference_pb2
from ringroad.v1.inference_pb2 import MODE_SMALL, GenerateRequest

INFERENCE, CONTROL = "ringroad.v1.InferenceService", "ringroad.v1.ControlService"


async def test_the_line_is_served_in_order_and_full_at_its_end(serving: Any, helpers: Any) -> None:
    async with serving(max_sessions=1, max_waiting=2) as served:
        calls = []
        for n in range(3):
            calls.append(served.inference.Generate(GenerateRequest(prompt="hi", request_id=f"r{n}")))
            await served.until_load(1, n)
        code, retry = await helpers.failure(served.inference.Generate(GenerateRequest(prompt="hi")))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert 1 <= retry.retry_delay.seconds <= 60
        for n, call in enumerate(calls):
            submit = await served.router.submitted()
            assert submit.session.startswith(f"r{n}~")
            assert served.router.quiet  # one at a time
            served.router.end(submit, 0, Finish.LENGTH, b"x")
            await helpers.read(call)
        await served.until_load(0, 0)
        assert await served.complete() == "ok"


async def test_leaving_the_line_frees_its_place_in_it(serving: Any, helpers: Any) -> None:
    async with serving(max_sessions=1, max_waiting=1) as served:
        first = served.inference.Generate(GenerateRequest(prompt="hi"))
        submit = await served.router.submitted()
        second = served.inference.Generate(GenerateRequest(prompt="hi"))
        await served.until_load(1, 1)
        second.cancel()
        await served.until_load(1, 0)
        served.router.end(submit, 0, Finish.LENGTH, b"x")
        await helpers.read(first)
        assert served.router.quiet  # the router never heard of the second
        assert await served.complete() == "ok"


async def test_abort_reaches_a_request_in_line(serving: Any, helpers: Any) -> None:
    async with serving(max_sessions=1) as served:
        first = served.inference.Generate(GenerateRequest(prompt="hi"))
        await served.router.submitted()
        second = served.inference.Generate(GenerateRequest(prompt="hi", request_id="mine"))
        await served.until_load(1, 1)
        assert (await served.control.Abort(control_pb2.AbortRequest(request_id="mine"))).aborted
        text, final = await helpers.read(second)
        assert (text, final.finish_reason) == ("", inference_pb2.FINISH_REASON_CANCELLED)
        await served.until_load(1, 0)
        assert served.router.quiet
        first.cancel()
        await served.router.cancelled()


@pytest.mark.parametrize("waiting", [False, True])
async def test_a_name_in_use_is_refused(serving: Any, helpers: Any, waiting: bool) -> None:
    async with serving(max_sessions=1) as served:
        calls = [served.inference.Generate(GenerateRequest(prompt="hi", request_id="a"))]
        await served.router.submitted()
        if waiting:
            calls.append(served.inference.Generate(GenerateRequest(prompt="hi", request_id="b")))
            await served.until_load(1, 1)
        name = "b" if waiting else "a"
        code, _ = await helpers.failure(
            served.inference.Generate(GenerateRequest(prompt="ho", request_id=name))
        )
        assert code is grpc.StatusCode.ALREADY_EXISTS
        for n, call in enumerate(reversed(calls), start=1):  # else the second would get the first's place
            call.cancel()
            await served.until_load(len(calls) - n, 0)
        assert await served.complete(request_id="c") == "ok"


async def test_control_says_what_is(serving: Any, helpers: Any) -> None:
    async with serving(max_sessions=3, max_waiting=5) as served:
        info = await served.control.GetServerInfo(control_pb2.GetServerInfoRequest())
        assert info.version == "1.2.3"
        assert info.started_at.seconds > 1_700_000_000
        assert [role.name for role in info.roles] == ["verifier", "drafter"]
        verifier = info.roles[0]
        assert (verifier.model, verifier.ready, verifier.sessions) == ("large", True, 2)
        assert (verifier.cached_tokens, verifier.memory_bytes) == (7, 9)
        assert (verifier.idle_tokens, verifier.found_share, verifier.rulings) == (64, 0.25, 7)
        assert info.default_mode == inference_pb2.MODE_SPECULATIVE
        assert sorted(info.modes) == [1, 2, 3, 4]
        (pair,) = (await served.control.ListModels(control_pb2.ListModelsRequest())).models
        assert (pair.name, pair.large, pair.small) == ("toy", "large", "small")
        assert (pair.context_length, pair.vocabulary) == (64, 261)
        assert await served.complete() == "ok"
        load = await served.control.GetLoad(control_pb2.GetLoadRequest())
        assert (load.running, load.waiting, load.capacity, load.committed_tokens) == (0, 0, 3, 3)


async def check(served: Any, service: str) -> int:
    health = health_pb2_grpc.HealthStub(served.channel)
    return (await health.Check(health_pb2.HealthCheckRequest(service=service))).status


async def test_health_follows_the_verifier(serving: Any, helpers: Any) -> None:
    states = health_pb2.HealthCheckResponse
    async with serving(roster=()) as served:
        health = health_pb2_grpc.HealthStub(served.channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(service=""))
        assert (await watch.read()).status == states.NOT_SERVING
        assert await check(served, INFERENCE) == states.NOT_SERVING
        assert await check(served, CONTROL) == states.SERVING
        code, retry = await helpers.failure(served.inference.Generate(GenerateRequest(prompt="hi")))
        assert code is grpc.StatusCode.UNAVAILABLE
        assert retry.retry_delay.seconds > 0
        served.router.say(Roster([helpers.VERIFIER]))
        assert (await watch.read()).status == states.SERVING
        assert await check(served, INFERENCE) == states.SERVING
        assert await served.complete() == "ok"
        code, _ = await helpers.failure(
            served.inference.Generate(GenerateRequest(prompt="hi", mode=MODE_SMALL))
        )
        assert code is grpc.StatusCode.UNAVAILABLE  # nobody to draft
        served.router.say(Roster([helpers.DRAFTER]))
        assert (await watch.read()).status == states.NOT_SERVING
        assert await served.complete(mode=MODE_SMALL) == "ok"
        watch.cancel()


async def test_reflection_lists_the_services(serving: Any) -> None:
    async with serving() as served:
        stub = reflection_pb2_grpc.ServerReflectionStub(served.channel)
        call = stub.ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        listed = {service.name for service in (await call.read()).list_services_response.service}
        assert {INFERENCE, CONTROL, "grpc.health.v1.Health"} <= listed
        await call.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol=CONTROL))
        assert (await call.read()).file_descriptor_response.file_descriptor_proto
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF


async def test_a_bug_in_the_link_is_no_silent_end(
    serving: Any, helpers: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as served:
        watch = health_pb2_grpc.HealthStub(served.channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        call = served.inference.Generate(GenerateRequest(prompt="hi"))
        await served.router.submitted()
        served.router.break_down(ZeroDivisionError())
        code, _ = await helpers.failure(call)
        assert code is grpc.StatusCode.UNAVAILABLE
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert "no longer hears" in caplog.text
        watch.cancel()


async def test_stopping_lets_requests_end_and_takes_no_more(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        call = served.inference.Generate(GenerateRequest(prompt="hi"))
        submit = await served.router.submitted()
        watch = health_pb2_grpc.HealthStub(served.channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        stopping = asyncio.create_task(served.gateway.stop(helpers.SECONDS))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        code, retry = await helpers.failure(served.inference.Generate(GenerateRequest(prompt="hi")))
        assert code is grpc.StatusCode.UNAVAILABLE
        assert retry.retry_delay.seconds > 0
        served.router.end(submit, 0, Finish.LENGTH, b"done")
        text, _ = await helpers.read(call)
        assert text == "done"
        watch.cancel()
        await asyncio.wait_for(stopping, helpers.SECONDS)


async def test_what_is_not_done_in_time_is_told_so(serving: Any, helpers: Any) -> None:
    async with serving(max_sessions=2) as served:
        calls, submits = [], []
        for _ in range(2):
            calls.append(served.inference.Generate(GenerateRequest(prompt="hi")))
            submits.append(await served.router.submitted())
        begun, fresh, waiting = *calls, served.inference.Generate(GenerateRequest(prompt="hi"))
        await served.until_load(2, 1)
        served.router.tokens(submits[0], 0, b"abc")
        await begun.read()
        await served.gateway.stop(0)
        assert (await begun.read()).final.finish_reason == inference_pb2.FINISH_REASON_ERROR
        for call in (fresh, waiting):
            code, _ = await helpers.failure(call)
            assert code is grpc.StatusCode.UNAVAILABLE
        cancels = {(await served.router.cancelled()).session for _ in range(2)}
        assert cancels == {submit.session for submit in submits}


async def test_a_taken_port_is_an_error(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        pair = helpers.Pair(name="toy", large="large", context_length=64, vocabulary=260)
        config = helpers.GatewayConfig(port=served.gateway.port)
        second = helpers.Gateway(config, pair, helpers.toy_tokenizer(), served.router, helpers.POLICIES, "1")
        with pytest.raises(RuntimeError):
            await second.start()


async def test_a_bug_is_internal_and_its_words_stay_out_of_the_log(
    serving: Any, helpers: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as served:
        with monkeypatch.context() as broken:

            def fail(request: GenerateRequest, *_: object) -> None:
                raise RuntimeError(request.prompt)

            broken.setattr("ringroad.actors.gateway.generation.submit_from", fail)
            with caplog.at_level(logging.ERROR):
                call = served.inference.Generate(GenerateRequest(prompt="secret"))
                code, _ = await helpers.failure(call)
        assert code is grpc.StatusCode.INTERNAL
        assert "secret" not in (await call.details()) + caplog.text
        assert "RuntimeError" in caplog.text
        assert "in fail" in caplog.text
        assert await served.complete() == "ok"


def test_a_gateway_needs_neither_torch_nor_ray() -> None:
    code = (
        "import sys, ringroad.actors.gateway.server;"
        "assert not {'torch', 'ray', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
