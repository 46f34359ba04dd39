"""The engine protocol, asked with the stubs that routers have."""

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest
from smg_grpc_proto.generated import common_pb2, vllm_engine_pb2, vllm_engine_pb2_grpc
from smg_grpc_proto.generated.vllm_engine_pb2 import GenerateRequest, SamplingParams

from ringroad.actors.errors import InvalidField
from ringroad.actors.gateway.smg.asking import _FIRST, _OF_TEXT, request_of
from ringroad.actors.messages import Chunk, Counts, Finish, Logprob, Speaker
from ringroad.v1 import inference_pb2

HI = {"tokenized": {"original_text": "hi", "input_ids": list(b"hi")}}


def engine(served: Any) -> Any:
    return vllm_engine_pb2_grpc.VllmEngineStub(served.channel)


async def responses(helpers: Any, call: Any) -> list[Any]:
    async with asyncio.timeout(helpers.SECONDS):
        return [response async for response in call]


async def test_a_stream_is_chunks_and_the_whole(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        params = SamplingParams(top_k=5, top_p=0.5, max_tokens=9, seed=-1, stop=["ST"], logit_bias={7: 1.5})
        call = engine(served).Generate(
            GenerateRequest(request_id="a-1", **HI, sampling_params=params, stream=True)
        )
        submit = await served.router.submitted()
        assert (submit.prompt, submit.max_tokens) == (list(b"hi"), 9)
        assert submit.session.startswith("a-1~")
        drawn = submit.sampling
        assert (drawn.seed, drawn.temperature, drawn.top_k, drawn.top_p) == (2**64 - 1, 1.0, 5, 0.5)
        assert drawn.shaping.bias == ((7, 1.5),)
        served.router.tokens(submit, 0, b"abc")
        served.router.end(submit, 3, Finish.STOP, [*b"de", helpers.END], Counts(drafted=4, accepted=2))
        *chunks, last = await responses(helpers, call)
        assert [token for each in chunks for token in each.chunk.token_ids] == [*b"abcde", helpers.END]
        assert [each.chunk.prompt_tokens for each in chunks] == [2] * len(chunks)
        whole = last.complete
        assert list(whole.output_ids) == [*b"abcde", helpers.END]
        assert (whole.finish_reason, whole.prompt_tokens, whole.completion_tokens) == ("stop", 2, 6)
        assert whole.spec_draft_tokens == 4
        assert not whole.WhichOneof("matched_stop")


async def test_without_stream_the_whole_alone(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        call = engine(served).Generate(
            GenerateRequest(request_id="b", text="hi", sampling_params={"stop_token_ids": [33]})
        )
        submit = await served.router.submitted()
        served.router.tokens(submit, 0, b"ab")
        served.router.end(submit, 2, Finish.STOP, b"!")
        (one,) = await responses(helpers, call)
        assert (list(one.complete.output_ids), one.complete.prompt_tokens) == (list(b"ab!"), 2)
        assert one.complete.matched_token_id == 33


@pytest.mark.parametrize("stream", [True, False])
async def test_samples_have_indices(serving: Any, helpers: Any, stream: bool) -> None:
    async with serving() as served:
        call = engine(served).Generate(GenerateRequest(**HI, sampling_params={"n": 2}, stream=stream))
        submits = [await served.router.submitted() for _ in range(2)]
        served.router.end(submits[1], 0, Finish.LENGTH, b"one")
        served.router.end(submits[0], 0, Finish.STOP, b"zero")
        said = await responses(helpers, call)
        wholes = {each.complete.index: each.complete for each in said if each.HasField("complete")}
        assert {i: bytes(list(whole.output_ids)) for i, whole in wholes.items()} == {0: b"zero", 1: b"one"}
        assert [wholes[i].finish_reason for i in (0, 1)] == ["stop", "length"]
        assert len(said) == (4 if stream else 2)


async def test_logprobs(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        call = engine(served).Generate(GenerateRequest(**HI, sampling_params={"logprobs": 1}))
        submit = await served.router.submitted()
        said = [Logprob(-0.5, [7], [-0.25]), Logprob(-1.5, [8], [-1.0])]
        chunk = Chunk(submit.session, 0, [*b"ab"], [Speaker.LARGE] * 2, Finish.LENGTH, Counts(), "", said)
        served.router.say(chunk)
        (one,) = await responses(helpers, call)
        found = one.complete.output_logprobs
        assert (list(found.token_logprobs), list(found.token_ids)) == ([-0.5, -1.5], list(b"ab"))
        assert [(list(top.values), list(top.token_ids)) for top in found.top_logprobs] == [
            ([-0.25], [7]),
            ([-1.0], [8]),
        ]


# --- every field -----------------------------------------------------------------------------------

PLAIN = {"temperature": 0.5, "max_tokens": 5}
VALUES: dict[str, Any] = {
    "temperature": 0.75,
    "top_p": 0.5,
    "top_k": 3,
    "min_p": 0.5,
    "frequency_penalty": 0.5,
    "presence_penalty": 0.5,
    "repetition_penalty": 1.5,
    "max_tokens": 3,
    "min_tokens": 2,
    "stop": ["x"],
    "stop_token_ids": [3],
    "ignore_eos": True,
    "n": 2,
    "logprobs": 1,
    "seed": 4,
    "logit_bias": {3: 1.0},
    "json_schema": "{}",
    "regex": "a+",
    "grammar": 'start: "a"',
    "json_object": True,
    "choice": {"choices": ["a", "b"]},
}
REFUSED: dict[str, Any] = {"prompt_logprobs": 0, "truncate_prompt_tokens": 3, "structural_tag": "x"}


def test_none_is_forgotten_here() -> None:
    names = {field.name for field in SamplingParams.DESCRIPTOR.fields}
    assert names == {*VALUES, *REFUSED, *_OF_TEXT, *_FIRST}


@pytest.mark.parametrize("name", VALUES)
def test_each_makes_a_difference(name: str) -> None:
    asked = request_of(GenerateRequest(**HI, sampling_params=PLAIN | {name: VALUES[name]}))
    assert asked != request_of(GenerateRequest(**HI, sampling_params=PLAIN))


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_served_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidField) as refused:
        request_of(GenerateRequest(**HI, sampling_params={name: REFUSED[name]}))
    assert refused.value.field == f"sampling_params.{name}"


def test_so_are_other_inputs() -> None:
    known = {"request_id", "tokenized", "text", "sampling_params", "stream", "data_parallel_rank"}
    others: dict[str, Any] = {
        "kv_transfer_params": {"remote_port": 1},
        "mm_inputs": {"mm_hashes": ["a"]},
        "extra_mm_inputs": [{"mm_hashes": ["a"]}],
        "kv_transfer_params_json": "{}",
        "media_refs": {},
    }
    assert {field.name for field in GenerateRequest.DESCRIPTOR.fields} == known | set(others)
    for name, value in others.items():
        with pytest.raises(InvalidField) as refused:
            request_of(GenerateRequest(**HI, **{name: value}))
        assert refused.value.field == name


def test_unset_is_the_protocols_default() -> None:
    assert request_of(GenerateRequest(**HI)) == inference_pb2.GenerateRequest(
        token_ids={"ids": list(b"hi")}, sampling={"temperature": 1.0, "top_k": 0, "min_p": 0} | PENALTIES
    )


PENALTIES = {"frequency_penalty": 0, "presence_penalty": 0}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        (HI | {"sampling_params": {"top_p": 2}}, "sampling_params.top_p"),
        (HI | {"sampling_params": {"n": 17}}, "sampling_params.n"),
        (HI | {"sampling_params": {"max_tokens": 0}}, "sampling_params.max_tokens"),
        (HI | {"sampling_params": {"logprobs": -1}}, "sampling_params.logprobs"),
        (HI | {"sampling_params": {"logit_bias": {-1: 1.0}}}, "sampling_params.logit_bias[-1]"),
        (HI | {"sampling_params": {"logit_bias": {999: 1.0}}}, "sampling_params.logit_bias[999]"),
        (HI | {"sampling_params": {"grammar": "root ::= 1"}}, "sampling_params.grammar"),
        (HI | {"sampling_params": {"choice": {}}}, "sampling_params.choice"),
        (HI | {"request_id": "a b"}, "request_id"),
        (HI | {"data_parallel_rank": 1}, "data_parallel_rank"),
        ({"tokenized": {"input_ids": [1, 999]}}, "tokenized.input_ids[1]"),
        ({"tokenized": {}}, "tokenized.input_ids"),
        ({"text": ""}, "text"),
        ({}, "tokenized"),
    ],
    ids=str,
)
async def test_wrong_values_are_refused_by_name(
    serving: Any, helpers: Any, fields: dict[str, Any], field: str
) -> None:
    async with serving() as served:
        code, detail = await helpers.failure(engine(served).Generate(GenerateRequest(**fields)))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert [violation.field for violation in detail.field_violations] == [field]


async def test_choices_are_a_form(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        params = {"choice": {"choices": ['say "a"', "né\n"]}}
        call = engine(served).Generate(GenerateRequest(**HI, sampling_params=params))
        submit = await served.router.submitted()
        assert "say" in submit.sampling.shaping.grammar
        call.cancel()
        await served.until_load(0, 0)


# --- the rest ---------------------------------------------------------------------------------------


async def test_abort_and_leaving(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        call = engine(served).Generate(GenerateRequest(request_id="mine", **HI))
        submit = await served.router.submitted()
        await engine(served).Abort(vllm_engine_pb2.AbortRequest(request_ids=["other", "mine"]))
        assert (await served.router.cancelled()).session == submit.session
        served.router.end(submit, 0, Finish.CANCELLED)
        (one,) = await responses(helpers, call)
        assert one.complete.finish_reason == "abort"
        left = engine(served).Generate(GenerateRequest(**HI))
        submit = await served.router.submitted()
        left.cancel()
        assert (await served.router.cancelled()).session == submit.session
        await served.until_load(0, 0)


async def test_what_it_says_of_itself(serving: Any, helpers: Any) -> None:
    async with serving(max_sessions=8) as served:
        stub = engine(served)
        model = await stub.GetModelInfo(vllm_engine_pb2.GetModelInfoRequest())
        assert (model.served_model_name, model.model_path, model.is_generation) == ("toy", "large", True)
        assert (model.max_context_length, model.vocab_size) == (helpers.CONTEXT, 261)
        assert list(model.eos_token_ids) == [helpers.END, helpers.END + 1]
        call = stub.Generate(GenerateRequest(**HI))
        await served.router.submitted()
        server = await stub.GetServerInfo(vllm_engine_pb2.GetServerInfoRequest())
        assert (server.active_requests, server.max_num_seqs, server.server_type) == (1, 8, "vllm-grpc")
        loads = await stub.GetLoads(vllm_engine_pb2.GetLoadsRequest(include=["core"]))
        (load,) = loads.loads
        assert (loads.dp_rank_count, loads.version, load.num_running_reqs) == (1, "1.2.3", 1)
        assert (load.max_running_requests, load.num_used_tokens, load.cache_hit_rate) == (8, 7, 0.25)
        call.cancel()
        for wrong in ({"dp_rank": 1}, {"include": ["lora"]}):
            code, detail = await helpers.failure(stub.GetLoads(vllm_engine_pb2.GetLoadsRequest(**wrong)))
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert detail.field_violations[0].field == next(iter(wrong))


async def test_health_is_whether_it_can_serve(serving: Any) -> None:
    async with serving() as served:
        assert (await engine(served).HealthCheck(vllm_engine_pb2.HealthCheckRequest())).healthy
        served.router.lose()
        await served.router_lost()
        assert not (await engine(served).HealthCheck(vllm_engine_pb2.HealthCheckRequest())).healthy
        code = await _code(engine(served).Generate(GenerateRequest(**HI)).read())
        assert code is grpc.StatusCode.UNAVAILABLE


async def test_what_is_not_there_says_so(serving: Any) -> None:
    async with serving() as served:
        stub = engine(served)
        for call in (
            stub.Embed(vllm_engine_pb2.EmbedRequest()),
            stub.FlushCache(common_pb2.FlushCacheRequest()),
            stub.GetTokenizer(common_pb2.GetTokenizerRequest()).read(),
        ):
            assert await _code(call) is grpc.StatusCode.UNIMPLEMENTED


async def test_it_can_be_left_out(serving: Any) -> None:
    async with serving(serve_smg=False) as served:
        call = engine(served).HealthCheck(vllm_engine_pb2.HealthCheckRequest())
        assert await _code(call) is grpc.StatusCode.UNIMPLEMENTED


async def _code(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()
