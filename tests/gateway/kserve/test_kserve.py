"""Open Inference v2, asked by Triton's own client, and by hand where it says nothing wrong."""

import asyncio
import json
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import descriptor_pb2

from ringroad.actors.messages import Finish, Submit
from ringroad.v1 import control_pb2, kserve_pb2, kserve_pb2_grpc
from ringroad.v1.kserve_pb2 import ModelInferRequest

CLIENT = Path(__file__).parent / "triton.py"


async def triton(served: Any, helpers: Any, what: str, *requests: dict[str, Any]) -> Any:
    """What Triton's client heard."""
    arguments = [str(CLIENT), str(served.gateway.port), what, *map(json.dumps, requests)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, errors = await asyncio.wait_for(process.communicate(), 6 * helpers.SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, errors.decode()
    return json.loads(out)


@asynccontextmanager
async def answering(served: Any) -> AsyncIterator[list[Submit]]:
    """A router that says every prompt backwards, in two pieces; what it was asked."""
    submits: list[Submit] = []

    async def answer() -> None:
        while True:
            submit = await served.router._submits.get()
            submits.append(submit)
            text = submit.prompt[::-1]
            served.router.tokens(submit, 0, text[:2])
            served.router.end(submit, len(text[:2]), Finish.STOP, text[2:])

    task = asyncio.create_task(answer())
    try:
        yield submits
    finally:
        task.cancel()


async def test_what_it_says_of_itself(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        said = await triton(served, helpers, "about")
        assert (said["live"], said["ready"], said["model_ready"]) == (True, True, [True, False, False])
        assert said["server"] == {"name": "ringroad", "version": "1.2.3"}
        model = said["model"]
        assert (model["name"], model["versions"], model["platform"]) == ("toy", ["1"], "ringroad")
        assert next(tensor["name"] for tensor in model["inputs"]) == "text_input"
        assert next(tensor["name"] for tensor in model["outputs"]) == "text_output"
        served.router.lose()
        await served.router_lost()
        said = await triton(served, helpers, "about")
        assert (said["live"], said["ready"], said["model_ready"]) == (True, False, [False] * 3)


async def test_whole_texts(serving: Any, helpers: Any) -> None:
    sampling = {
        "temperature": 0.5,
        "top_k": 3,
        "seed": 7,
        "stop": "ST",
        "logit_bias": {"5": 1.0},
        "mode": "large",
    }
    async with serving() as served, answering(served) as submits:
        plain, echoed, several = await triton(
            served,
            helpers,
            "infer",
            {
                "inputs": {"text_input": "desrever", "sampling_parameters": json.dumps(sampling)},
                "parameters": {"max_tokens": 9},
                "request_id": "any id",
            },
            {"inputs": {"text_input": "cba", "exclude_input_in_output": False}, "outputs": ["text_output"]},
            {"inputs": {"text_input": "cba"}, "parameters": {"n": 2}},
        )
        assert plain == {
            "id": "any id",
            "last": True,
            "text_output": ["reversed"],
            "finish_reason": ["stop"],
            "num_input_tokens": [8],
            "num_output_tokens": [8],
        }
        drawn = submits[0].sampling
        assert (drawn.temperature, drawn.top_k, drawn.seed, submits[0].max_tokens) == (0.5, 3, 7, 9)
        assert (drawn.shaping.bias, submits[0].mode) == (((5, 1.0),), "large")
        assert echoed == {"id": "", "last": True, "text_output": ["cbaabc"]}
        assert (several["text_output"], several["num_output_tokens"]) == (["abc", "abc"], [3, 3])


async def test_texts_in_pieces_together_and_one_that_is_wrong(serving: Any, helpers: Any) -> None:
    async with serving() as served, answering(served):
        said = await triton(
            served,
            helpers,
            "stream",
            {"inputs": {"text_input": "fedcba", "stream": True}, "request_id": "pieces"},
            {
                "inputs": {"text_input": "x", "stream": True},
                "request_id": "wrong",
                "parameters": {"temper": 1},
            },
            {"inputs": {"text_input": "fedcba"}, "request_id": "whole", "enable_empty_final_response": True},
        )
        assert [each for each in said if "error" in each] == [
            {"error": "parameters[temper]: is no parameter here"}
        ]
        pieces = [each for each in said if each.get("id") == "pieces"]
        assert [each["last"] for each in pieces] == [False] * (len(pieces) - 1) + [True]
        assert "".join(each["text_output"][0] for each in pieces) == "abcdef"
        assert all(set(each) == {"id", "last", "text_output"} for each in pieces[:-1])
        assert (pieces[-1]["finish_reason"], pieces[-1]["num_output_tokens"]) == (["stop"], [6])
        assert len(pieces) > 1
        (whole,) = [each for each in said if each.get("id") == "whole"]
        assert (whole["text_output"], whole["last"]) == (["abcdef"], True)
        await served.until_load(0, 0)


async def test_another_model(serving: Any, helpers: Any) -> None:
    async with serving() as served:
        said = await triton(served, helpers, "infer", {"inputs": {"text_input": "x"}, "model_name": "other"})
        assert said["status"] == "StatusCode.INVALID_ARGUMENT"
        assert said["message"] == "model_name: 'other' is not served here; 'toy' is"


async def test_names_and_numbers_are_the_protocols(serving: Any, helpers: Any) -> None:
    """Of all that is ours, against Triton's own file."""

    def fields(messages: Any, path: str = "") -> dict[str, Any]:
        return {
            f"{path}{message.name}.{field.name}": (field.number, field.type, field.label, field.type_name)
            for message in messages
            for field in message.field
        } | {
            name: value
            for message in messages
            for name, value in fields(message.nested_type, f"{path}{message.name}.").items()
        }

    async with serving() as served:
        theirs = descriptor_pb2.FileDescriptorProto.FromString(
            bytes.fromhex(await triton(served, helpers, "protocol"))
        )
    ours = descriptor_pb2.FileDescriptorProto()
    kserve_pb2.DESCRIPTOR.CopyToProto(ours)
    assert ours.package == theirs.package
    known = fields(theirs.message_type)
    assert {name: known.get(name) for name in fields(ours.message_type)} == fields(ours.message_type)
    methods = {
        (m.name, m.input_type, m.output_type, m.client_streaming, m.server_streaming)
        for m in theirs.service[0].method
    }
    assert {
        (m.name, m.input_type, m.output_type, m.client_streaming, m.server_streaming)
        for m in ours.service[0].method
    } <= methods
    assert ours.service[0].name == theirs.service[0].name


# --- by hand ----------------------------------------------------------------------------------------


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
