"""Open Inference v2, asked by Triton's own client."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2

from ringroad.v1 import kserve_pb2
from tests.gateway.kserve.answers import answering

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
