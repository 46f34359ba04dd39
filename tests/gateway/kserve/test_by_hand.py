"""Open Inference v2, asked by hand: what is wrong, what breaks, who leaves."""

import asyncio
import json
import struct
from typing import Any

import grpc
import grpc.aio
import pytest

from ringroad.actors.messages import Finish
from ringroad.v1 import control_pb2, kserve_pb2, kserve_pb2_grpc
from ringroad.v1.kserve_pb2 import ModelInferRequest
from tests.gateway.kserve.answers import answering


def text(value: str, name: str = "text_input", **more: Any) -> dict[str, Any]:
    contents = {"bytes_contents": [value.encode()]}
    return {"name": name, "datatype": "BYTES", "shape": [1], "contents": contents} | more


def flag(name: str, value: bool) -> dict[str, Any]:
    return {"name": name, "datatype": "BOOL", "shape": [1], "contents": {"bool_contents": [value]}}


def raw(data: bytes) -> dict[str, Any]:
    tensor = {"name": "text_input", "datatype": "BYTES", "shape": [1]}
    return {"inputs": [tensor], "raw_input_contents": [data]}


def parameters(value: Any) -> dict[str, Any]:
    return {"inputs": [text("hi"), text(json.dumps(value), "sampling_parameters")]}


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "inputs[text_input]"),
    ({"inputs": [text("hi")], "model_version": "2"}, "model_version"),
    ({"inputs": [text("")]}, "inputs[text_input]"),
    ({"inputs": [text("hi"), text("hi")]}, "inputs[text_input]"),
    ({"inputs": [text("hi"), text("x", "more")]}, "inputs[more]"),
    ({"inputs": [text("hi", datatype="FP32")]}, "inputs[text_input].datatype"),
    ({"inputs": [text("hi", shape=[2])]}, "inputs[text_input].shape"),
    ({"inputs": [text("hi", shape=[-1, -1])]}, "inputs[text_input].shape"),
    ({"inputs": [text("hi", contents={})]}, "inputs[text_input].contents"),
    ({"inputs": [text("hi", contents={"fp32_contents": [1]})]}, "inputs[text_input].contents"),
    ({"inputs": [text("hi", contents={"bytes_contents": [b"\xff"]})]}, "inputs[text_input]"),
    ({"inputs": [text("hi", parameters={"x": {"bool_param": True}})]}, "inputs[text_input].parameters"),
    ({"inputs": [text("hi")], "raw_input_contents": [b"", b""]}, "raw_input_contents"),
    ({"inputs": [text("hi")], "raw_input_contents": [b"\0\0\0\0"]}, "inputs[text_input].contents"),
    (raw(b"\2\0\0"), "inputs[text_input]"),
    (raw(b"\2\0\0\0x"), "inputs[text_input]"),
    (raw(b"\1\0\0\0\xff"), "inputs[text_input]"),
    ({"inputs": [text("hi")], "outputs": [{"name": "logits"}]}, "outputs[logits]"),
    ({"inputs": [text("hi"), flag("stream", True)]}, "inputs[stream]"),
    ({"inputs": [text("hi"), text("[", "sampling_parameters")]}, "inputs[sampling_parameters]"),
    (parameters([1]), "inputs[sampling_parameters]"),
    (parameters({"temperature": "hot"}), "inputs[sampling_parameters].temperature"),
    (parameters({"temperature": 99}), "inputs[sampling_parameters].temperature"),
    (parameters({"stop": ["a", ""]}), "inputs[sampling_parameters].stop[1]"),
    (parameters({"best_of": 2}), "inputs[sampling_parameters].best_of"),
    (parameters({"prompt": "x"}), "inputs[sampling_parameters].prompt"),
    (parameters({"seed": 1}) | {"parameters": {"seed": {"int64_param": 2}}}, "parameters[seed]"),
    ({"inputs": [text("hi")], "parameters": {"seed": {}}}, "parameters[seed]"),
    ({"inputs": [text("hi")], "parameters": {"n": {"int64_param": 99}}}, "parameters[n]"),
]


@pytest.mark.parametrize(
    ("fields", "field"), WRONG, ids=lambda value: value if isinstance(value, str) else ""
)
async def test_what_is_wrong_is_refused_by_name(
    serving: Any, helpers: Any, fields: dict[str, Any], field: str
) -> None:
    async with serving() as served:
        stub: Any = kserve_pb2_grpc.GRPCInferenceServiceStub(served.channel)
        call = stub.ModelInfer(ModelInferRequest(model_name="toy", **fields))
        code, detail = await helpers.failure(call)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert [violation.field for violation in detail.field_violations] == [field]
        assert served.router.quiet


async def test_contents_of_their_type(serving: Any) -> None:
    async with serving() as served, answering(served):
        stub: Any = kserve_pb2_grpc.GRPCInferenceServiceStub(served.channel)
        inputs = [text("né"), flag("exclude_input_in_output", False)]
        said = await stub.ModelInfer(ModelInferRequest(model_name="toy", inputs=inputs, id="i"))
        element = said.raw_output_contents[0]
        assert struct.unpack_from("<I", element)[0] == len(element) - 4
        assert element[4:].startswith("né".encode())


async def test_leaving_and_deadlines_free_everything(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        stub: Any = kserve_pb2_grpc.GRPCInferenceServiceStub(served.channel)
        request = ModelInferRequest(model_name="toy", inputs=[text("hi"), flag("stream", True)])
        call = stub.ModelStreamInfer()
        for _ in range(3):
            await call.write(request)
        submits = [await served.router.submitted() for _ in range(3)]
        served.router.tokens(submits[0], 0, b"a")
        assert not (await call.read()).infer_response.parameters["triton_final_response"].bool_param
        call.cancel()
        cancelled = {(await served.router.cancelled()).session for _ in range(3)}
        assert cancelled == {submit.session for submit in submits}
        whole = stub.ModelInfer(ModelInferRequest(model_name="toy", inputs=[text("hi")]), timeout=0.3)
        submit = await served.router.submitted()
        code, _ = await helpers.failure(whole)
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert (await served.router.cancelled()).session == submit.session
        await served.until_load(0, 0)


@pytest.mark.parametrize("how", ["fails", "aborted"])
async def test_what_fails_is_an_error(serving: Any, helpers: Any, how: str) -> None:
    async with serving() as served, asyncio.timeout(helpers.SECONDS):
        stub: Any = kserve_pb2_grpc.GRPCInferenceServiceStub(served.channel)
        named = {"request_id": {"string_param": "mine"}}
        request = ModelInferRequest(model_name="toy", inputs=[text("hi")], id="me", parameters=named)
        call = stub.ModelStreamInfer()
        await call.write(request)
        submit = await served.router.submitted()
        served.router.tokens(submit, 0, b"a")
        if how == "aborted":
            assert (await served.control.Abort(control_pb2.AbortRequest(request_id="mine"))).aborted
            await served.router.cancelled()
        served.router.end(submit, 1, Finish.CANCELLED if how == "aborted" else Finish.ERROR)
        said = await call.read()
        assert (
            said.error_message == {"aborted": "the request was aborted", "fails": "the cluster failed"}[how]
        )
        assert said.infer_response.id == "me"
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


async def test_it_can_be_left_out(serving: Any, helpers: Any) -> None:
    async with serving(serve_kserve=False) as served:
        stub: Any = kserve_pb2_grpc.GRPCInferenceServiceStub(served.channel)
        code, _ = await helpers.failure(stub.ServerLive(kserve_pb2.ServerLiveRequest()))
        assert code is grpc.StatusCode.UNIMPLEMENTED


async def test_what_cannot_be_read_ends_no_stream(serving: Any, helpers: Any) -> None:
    async with serving() as served, answering(served), asyncio.timeout(helpers.SECONDS):
        method = served.channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
        call = method()
        await call.write(b"\xff\xff")
        said = kserve_pb2.ModelStreamInferResponse.FromString(await call.read())
        assert said.error_message == "request: is damaged"
        await call.write(ModelInferRequest(model_name="toy", inputs=[text("hi")]).SerializeToString())
        said = kserve_pb2.ModelStreamInferResponse.FromString(await call.read())
        assert said.infer_response.raw_output_contents[0][4:] == b"ih"
        call.cancel()
