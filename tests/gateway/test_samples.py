"""Several samples of one prompt in one request: who is who, one final, and what they hold of the gateway."""

import asyncio
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from msgspec.structs import replace

from ringroad.actors.messages import Counts, Finish, Submit
from ringroad.v1 import control_pb2
from ringroad.v1.inference_pb2 import (
    FINISH_REASON_CANCELLED,
    FINISH_REASON_ERROR,
    FINISH_REASON_LENGTH,
    FINISH_REASON_STOP,
    GenerateRequest,
)


class Texts:
    """What one stream says of its samples, whose shape is checked."""

    def __init__(self, offsets: dict[int, int] | None = None) -> None:
        self.offsets = offsets or {}  # what was read of each before
        self.text: dict[int, str] = {}
        self.ends: dict[int, Any] = {}
        self.prompts: list[tuple[int, str]] = []
        self.final: Any = None

    async def read(self, helpers: Any, call: Any) -> "Texts":
        offsets = self.offsets
        async with asyncio.timeout(helpers.SECONDS):
            while (response := await call.read()) is not grpc.aio.EOF:
                assert self.final is None
                match response.WhichOneof("event"):
                    case "delta":
                        delta = response.delta
                        assert delta.sample not in self.ends
                        assert delta.offset == offsets.get(delta.sample, 0)
                        offsets[delta.sample] = delta.offset + len(delta.token_ids)
                        if delta.HasField("prompt"):
                            self.prompts.append((delta.sample, delta.prompt))
                        self.text[delta.sample] = self.text.get(delta.sample, "") + delta.text
                    case "sample_end":
                        end = response.sample_end
                        assert end.sample not in self.ends
                        assert end.usage.completion_tokens == offsets.get(end.sample, 0)
                        self.ends[end.sample] = end
                    case "final":
                        self.final = response.final
        assert self.final is not None
        return self


async def begun(served: Any, count: int, **fields: Any) -> tuple[Any, list[Submit]]:
    call = served.inference.Generate(GenerateRequest(**({"prompt": "hi", "n": count} | fields)))
    return call, [await served.router.submitted() for _ in range(count)]


async def test_each_sample_is_the_text_of_a_seed_of_its_own(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        call, submits = await begun(served, 3, sampling={"seed": 9, "temperature": 1.0}, max_tokens=5)
        # A client's own way to the seeds, as docs/sampling.md has it.
        seeds = [9, *(int(np.random.Philox(key=np.array([9, i], np.uint64)).random_raw()) for i in (1, 2))]
        assert [submit.sampling.seed for submit in submits] == seeds
        alone = served.inference.Generate(
            GenerateRequest(prompt="hi", sampling={"seed": seeds[2], "temperature": 1.0}, max_tokens=5)
        )
        again = await served.router.submitted()
        assert replace(again, session="") == replace(submits[2], session="")
        served.router.tokens(submits[1], 0, b"one")
        served.router.tokens(submits[0], 0, b"ze")
        served.router.end(submits[1], 3, Finish.LENGTH, b"!?", Counts(drafted=4, consults=2))
        served.router.tokens(submits[2], 0, b"t")
        served.router.end(submits[0], 2, Finish.STOP, [*b"ro", helpers.END], Counts(drafted=3, consults=1))
        served.router.end(submits[2], 1, Finish.STOP, [*b"wo", helpers.END], Counts(degraded=["drafter"]))
        texts = await Texts().read(helpers, call)
        assert texts.text == {0: "zero", 1: "one!?", 2: "two"}
        reasons = {sample: end.finish_reason for sample, end in texts.ends.items()}
        assert reasons == {0: FINISH_REASON_STOP, 1: FINISH_REASON_LENGTH, 2: FINISH_REASON_STOP}
        assert [texts.ends[sample].usage.seed for sample in range(3)] == seeds
        usage = texts.final.usage
        assert texts.final.finish_reason == FINISH_REASON_LENGTH
        assert (usage.prompt_tokens, usage.completion_tokens, usage.large_tokens) == (2, 14, 14)
        assert (usage.drafted_tokens, usage.consults, usage.seed) == (7, 3, 9)
        assert usage.degraded == ["drafter"]
        alone.cancel()
        await served.until_load(0, 0)


async def test_one_is_as_none(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        call, (submit,) = await begun(served, 1, sampling={"seed": 7})
        assert submit.sampling.seed == 7
        served.router.end(submit, 0, Finish.STOP, b"ok")
        text, _ = await helpers.read(call)  # which has no place for the end of a sample
        assert text == "ok"


async def test_stop_strings_echo_and_logprobs_are_each_samples(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        call, submits = await begun(served, 2, stop=["ST"], echo=True)
        served.router.tokens(submits[0], 0, b"no stop")
        served.router.tokens(submits[1], 0, b"a STop")
        cancel = await served.router.cancelled()
        assert (cancel.session, cancel.reason) == (submits[1].session, Finish.STOP)
        served.router.end(submits[1], 6, Finish.STOP)
        served.router.end(submits[0], 7, Finish.LENGTH)
        texts = await Texts().read(helpers, call)
        assert texts.text == {0: "no stop", 1: "a "}
        assert sorted(texts.prompts) == [(0, "hi"), (1, "hi")]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"n": 0}, "n"),
        ({"n": 17}, "n"),
        ({"n": 2, "resumable": True}, "n"),
        ({"n": 2, "request_id": "a", "resume": {}, "prompt": None}, "n"),
    ],
)
async def test_refused_by_name(serving: Any, helpers: Any, fields: dict[str, Any], field: str) -> None:
    async with serving() as served:
        call = served.inference.Generate(GenerateRequest(**({"prompt": "hi"} | fields)))
        code, detail = await helpers.failure(call)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert [violation.field for violation in detail.field_violations] == [field]


async def test_no_more_than_are_generated_at_once(serving: Any, helpers: Any) -> None:
    async with serving(max_sessions=3) as served:
        code, detail = await helpers.failure(served.inference.Generate(GenerateRequest(prompt="hi", n=4)))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert detail.field_violations[0].description == "must be from 1 to 3"


async def test_all_have_a_place_or_none(serving: Any, helpers: Any) -> None:
    async with serving(max_sessions=4, max_waiting=1) as served:
        first, submits = await begun(served, 2)
        code, detail = await helpers.failure(served.inference.Generate(GenerateRequest(prompt="hi", n=4)))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert detail.retry_delay.ToTimedelta().total_seconds() >= 1
        assert await served.load() == (2, 0)
        second = served.inference.Generate(GenerateRequest(prompt="hi", n=3))
        others = [await served.router.submitted() for _ in range(2)]
        assert await served.load() == (4, 1)
        served.router.end(submits[0], 0, Finish.STOP, b"a")
        others.append(await served.router.submitted())
        for submit in (submits[1], *others):
            served.router.end(submit, 0, Finish.STOP, b"b")
        assert (await Texts().read(helpers, first)).text == {0: "a", 1: "b"}
        assert (await Texts().read(helpers, second)).text == {0: "b", 1: "b", 2: "b"}
        await served.until_load(0, 0)


@pytest.mark.parametrize("how", ["leaves", "deadline"])
async def test_who_leaves_frees_all(serving: Any, how: str) -> None:
    async with serving() as served:
        timeout = 0.3 if how == "deadline" else None
        call = served.inference.Generate(GenerateRequest(prompt="hi", n=3), timeout=timeout)
        submits = [await served.router.submitted() for _ in range(3)]
        served.router.tokens(submits[1], 0, b"x")
        assert (await call.read()).delta.sample == 1
        if how == "leaves":
            call.cancel()
        cancelled = {(await served.router.cancelled()).session for _ in range(3)}
        assert cancelled == {submit.session for submit in submits}
        await served.until_load(0, 0)


async def test_abort_ends_all_that_run(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        call, submits = await begun(served, 3, request_id="mine")
        served.router.end(submits[0], 0, Finish.STOP, b"whole")
        while (await call.read()).WhichOneof("event") != "sample_end":
            pass
        aborted = await served.control.Abort(control_pb2.AbortRequest(request_id="mine"))
        assert aborted.aborted
        for _ in range(2):
            cancel = await served.router.cancelled()
            submit = next(each for each in submits if each.session == cancel.session)
            served.router.end(submit, 0, Finish.CANCELLED)
        texts = await Texts().read(helpers, call)
        assert {end.finish_reason for end in texts.ends.values()} == {FINISH_REASON_CANCELLED}
        assert (texts.final.finish_reason, texts.final.request_id) == (FINISH_REASON_CANCELLED, "mine")
        again = await served.control.Abort(control_pb2.AbortRequest(request_id="mine"))
        assert not again.aborted


async def test_the_others_go_on_when_one_fails(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        call, submits = await begun(served, 2)
        served.router.end(submits[0], 0, Finish.ERROR)
        served.router.end(submits[1], 0, Finish.STOP, b"whole")
        texts = await Texts().read(helpers, call)
        assert texts.text == {1: "whole"}
        assert texts.ends[0].finish_reason == texts.final.finish_reason == FINISH_REASON_ERROR
        assert texts.ends[1].finish_reason == FINISH_REASON_STOP


async def test_all_fail_before_anything_was_said(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        call, submits = await begun(served, 2)
        for submit in submits:
            served.router.end(submit, 0, Finish.ERROR)
        code, detail = await helpers.failure(call)
        assert code is grpc.StatusCode.UNAVAILABLE
        assert detail.retry_delay is not None
        await served.until_load(0, 0)


async def test_the_same_again_is_read_along(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        call, submits = await begun(served, 2, request_id="mine")
        served.router.tokens(submits[0], 0, b"a")
        assert (await call.read()).delta.text == "a"
        along = served.inference.Generate(GenerateRequest(prompt="hi", n=2, request_id="mine"))
        assert (await along.read()).delta.text == "a"
        other = served.inference.Generate(GenerateRequest(prompt="hi", n=3, request_id="mine"))
        code, _ = await helpers.failure(other)
        assert code is grpc.StatusCode.ALREADY_EXISTS
        call.cancel()
        served.router.end(submits[0], 1, Finish.STOP, b"b")
        served.router.end(submits[1], 0, Finish.STOP, b"c")
        texts = await Texts({0: 1}).read(helpers, along)
        assert texts.text == {0: "b", 1: "c"}
        assert texts.final.usage.completion_tokens == 3
        assert served.router.quiet
