"""From an inference request to the core's, and from the names of the core back to the client's own."""

import json

from pydantic import JsonValue

from ringroad.actors.errors import InvalidField
from ringroad.actors.gateway.filling import UnknownParameter, fill
from ringroad.actors.gateway.kserve import tensors
from ringroad.v1 import inference_pb2, kserve_pb2

VERSION = "1"  # the only one of every model
_CLOSING = "triton_enable_empty_final_response"  # the last response says that it is, whether asked to or not
_SAMPLING = inference_pb2.Sampling.DESCRIPTOR.fields_by_name
_FIELDS = inference_pb2.GenerateRequest.DESCRIPTOR.fields_by_name
_ELSEWHERE = {"model", "prompt", "chat", "token_ids", "sampling", "resume", "resumable", "echo", "logprobs"}


class Asked:
    """One request, in the core's words, and how it is to be answered."""

    def __init__(self, request: kserve_pb2.ModelInferRequest) -> None:
        """Raises InvalidField, by the client's name."""
        if request.model_version not in ("", VERSION):
            raise InvalidField("model_version", f"must be {VERSION!r}")
        inputs = tensors.taken(request)
        self.outputs = tensors.wanted(request)
        self.id = request.id
        self.stream = bool(inputs.get("stream", False))
        self.request = inference_pb2.GenerateRequest(
            model=request.model_name, echo=not inputs.get("exclude_input_in_output", True)
        )
        self._names = {"model": "model_name", "prompt": "inputs[text_input]"}
        if "text_input" not in inputs:
            raise InvalidField("inputs[text_input]", "is missing")
        self.request.prompt = str(inputs["text_input"])
        for name, value in _object(str(inputs.get("sampling_parameters", "{}"))).items():
            self._put(name, value, f"inputs[sampling_parameters].{name}")
        for name, parameter in request.parameters.items():
            if name != _CLOSING:
                self._put(name, _value(parameter, name), f"parameters[{name}]")

    def named(self, error: InvalidField) -> InvalidField:
        """What is wrong with the request, by the client's name for it."""
        path = error.field.removeprefix("sampling.")
        end = min((path.find(c) for c in ".[" if c in path), default=len(path))
        return InvalidField(self._names.get(path[:end], path[:end]) + path[end:], error.problem)

    def _put(self, name: str, value: JsonValue, client: str) -> None:
        if name in self._names:
            raise InvalidField(client, f"cannot be set together with {self._names[name]}")
        self._names[name] = client
        if name == "stop" and isinstance(value, str):
            value = [value]
        if name in _SAMPLING:
            fill(self.request.sampling, _SAMPLING[name], value, client)
        elif name in _FIELDS and name not in _ELSEWHERE:
            fill(self.request, _FIELDS[name], value, client)
        else:
            raise UnknownParameter(client)


def _object(text: str) -> dict[str, JsonValue]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InvalidField("inputs[sampling_parameters]", "must be an object in JSON")
    return found


def _value(parameter: kserve_pb2.InferParameter, name: str) -> JsonValue:
    kind = parameter.WhichOneof("parameter_choice")
    if kind is None:
        raise InvalidField(f"parameters[{name}]", "has no value")
    value: JsonValue = getattr(parameter, kind)
    return value
