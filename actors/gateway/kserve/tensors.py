"""Tensors of one element that come, and of one a sample that go."""

import struct
from collections.abc import Mapping, Sequence
from math import prod

from ringroad.actors.errors import InvalidField
from ringroad.v1 import kserve_pb2

TAKEN = {
    "text_input": "BYTES",
    "stream": "BOOL",
    "sampling_parameters": "BYTES",
    "exclude_input_in_output": "BOOL",
}
GIVEN = {
    "text_output": "BYTES",
    "finish_reason": "BYTES",
    "num_input_tokens": "UINT32",
    "num_output_tokens": "UINT32",
}
_LENGTH = struct.Struct("<I")  # before each element of BYTES


def taken(request: kserve_pb2.ModelInferRequest) -> dict[str, str | bool]:
    """The elements of all inputs, by name. Raises InvalidField."""
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise InvalidField("raw_input_contents", f"has {len(raw)} elements for {len(request.inputs)} inputs")
    found: dict[str, str | bool] = {}
    for n, tensor in enumerate(request.inputs):
        field = f"inputs[{tensor.name}]"
        if tensor.name not in TAKEN:
            raise InvalidField(field, f"is no input; {', '.join(TAKEN)} are")
        if tensor.name in found:
            raise InvalidField(field, "is there twice")
        if tensor.datatype != TAKEN[tensor.name]:
            raise InvalidField(f"{field}.datatype", f"must be {TAKEN[tensor.name]}")
        if tensor.parameters:
            raise InvalidField(f"{field}.parameters", f"{min(tensor.parameters)!r} is not known")
        if prod(tensor.shape) != 1 or any(size < 0 for size in tensor.shape):
            raise InvalidField(f"{field}.shape", "must be of one element")
        if raw and tensor.HasField("contents"):
            raise InvalidField(f"{field}.contents", "cannot be set together with raw_input_contents")
        found[tensor.name] = _bare(tensor, raw[n], field) if raw else _typed(tensor, field)
    return found


def wanted(request: kserve_pb2.ModelInferRequest) -> list[str]:
    """Which outputs are to be given. Raises InvalidField."""
    for output in request.outputs:
        if output.name not in GIVEN:
            raise InvalidField(f"outputs[{output.name}]", f"is no output; {', '.join(GIVEN)} are")
        if output.parameters:
            raise InvalidField(
                f"outputs[{output.name}].parameters", f"{min(output.parameters)!r} is not known"
            )
    return [output.name for output in request.outputs] or list(GIVEN)


def give(
    response: kserve_pb2.ModelInferResponse, names: Sequence[str], values: Mapping[str, Sequence[str | int]]
) -> None:
    """Puts outputs of one element a sample into a response."""
    for name in names:
        elements = values[name]
        response.outputs.add(name=name, datatype=GIVEN[name], shape=[len(elements)])
        response.raw_output_contents.append(b"".join(map(_packed, elements)))


def _bare(tensor: kserve_pb2.ModelInferRequest.InferInputTensor, raw: bytes, field: str) -> str | bool:
    if tensor.datatype == "BOOL":
        if raw not in (b"\0", b"\1"):
            raise InvalidField(field, "must be one byte, 0 or 1")
        return raw == b"\1"
    if len(raw) < _LENGTH.size or _LENGTH.unpack_from(raw)[0] != len(raw) - _LENGTH.size:
        raise InvalidField(field, "must be one element behind its length in four bytes")
    return _text(raw[_LENGTH.size :], field)


def _typed(tensor: kserve_pb2.ModelInferRequest.InferInputTensor, field: str) -> str | bool:
    kind = "bool_contents" if tensor.datatype == "BOOL" else "bytes_contents"
    elements = getattr(tensor.contents, kind)
    if len(elements) != 1 or len(tensor.contents.ListFields()) != 1:
        raise InvalidField(f"{field}.contents", f"must have one element, in {kind}")
    return elements[0] if kind == "bool_contents" else _text(elements[0], field)


def _text(data: bytes, field: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InvalidField(field, "is not UTF-8") from None


def _packed(element: str | int) -> bytes:
    if isinstance(element, int):
        return _LENGTH.pack(element)
    data = element.encode()
    return _LENGTH.pack(len(data)) + data
