"""From the engine protocol's request to the core's, and from the core's names back to the client's own."""

import json

from smg_grpc_proto.generated import vllm_engine_pb2

from ringroad.actors.errors import InvalidField
from ringroad.v1 import inference_pb2

_TEMPERATURE = 1.0  # where none is given, as in vLLM
# Of the same shape in both; in the protocol a zero that cannot be meant stands for nothing.
_SAME = ("top_k", "min_p", "frequency_penalty", "presence_penalty")
_ZERO_IS_UNSET = ("top_p", "repetition_penalty")
# How tokens become text: there is no text in this protocol.
_OF_TEXT = {"skip_special_tokens", "spaces_between_special_tokens", "include_stop_str_in_output"}
_FIRST = {"grammar_from_first_token"}  # as every form here
_SAMPLING = {
    *_SAME,
    *_ZERO_IS_UNSET,
    *_OF_TEXT,
    *_FIRST,
    *("temperature", "max_tokens", "min_tokens", "stop", "stop_token_ids", "ignore_eos", "n", "logprobs"),
    *("seed", "logit_bias", "json_schema", "regex", "grammar", "json_object", "choice"),
}
_REQUEST = {"request_id", "tokenized", "text", "sampling_params", "stream", "data_parallel_rank"}
_RENAMED = {
    "prompt": "text",
    "token_ids": "tokenized.input_ids",
    "token_ids.ids": "tokenized.input_ids",
    "structure.lark": "sampling_params.grammar",
    "structure.json_schema": "sampling_params.json_schema",
    "structure.regex": "sampling_params.regex",
    "request_id": "request_id",
}


def request_of(asked: vllm_engine_pb2.GenerateRequest) -> inference_pb2.GenerateRequest:
    """What is asked, in the core's words. Raises InvalidField, by the client's name."""
    for field, _ in asked.ListFields():
        if field.name not in _REQUEST:
            raise InvalidField(field.name, "is not supported here")
    if asked.data_parallel_rank:
        raise InvalidField("data_parallel_rank", "must be 0: there is one")
    params = asked.sampling_params
    request = inference_pb2.GenerateRequest(
        request_id=asked.request_id,
        sampling=_sampling(params),
        max_tokens=params.max_tokens if params.HasField("max_tokens") else None,
        min_tokens=params.min_tokens,
        stop=params.stop,
        stop_token_ids=params.stop_token_ids,
        ignore_eos=params.ignore_eos,
        n=params.n or None,
        structure=_structure(params),
    )
    if params.HasField("logprobs"):
        request.logprobs = _count("sampling_params.logprobs", params.logprobs)
    if asked.HasField("tokenized"):
        request.token_ids.ids.extend(asked.tokenized.input_ids)
        request.token_ids.SetInParent()
    elif asked.HasField("text"):
        request.prompt = asked.text
        request.echo = True  # for the number of its tokens
    else:
        raise InvalidField("tokenized", "exactly one of tokenized, text must be set; none is")
    return request


def named(error: InvalidField) -> InvalidField:
    """What is wrong with the request, by the client's name for it."""
    path, _, inner = error.field.partition("[")
    inner = f"[{inner}" if inner else ""
    known = _RENAMED.get(path) or f"sampling_params.{path.removeprefix('sampling.')}"
    return InvalidField(known + inner, error.problem)


def _sampling(params: vllm_engine_pb2.SamplingParams) -> inference_pb2.Sampling:
    for field, _ in params.ListFields():
        if field.name not in _SAMPLING:
            raise InvalidField(f"sampling_params.{field.name}", "is not supported here")
    sampling = inference_pb2.Sampling(
        temperature=params.temperature if params.HasField("temperature") else _TEMPERATURE,
        seed=params.seed % 2**64 if params.HasField("seed") else None,
    )
    for name in _SAME:
        setattr(sampling, name, getattr(params, name))
    for name in _ZERO_IS_UNSET:
        if value := getattr(params, name):
            setattr(sampling, name, value)
    for token, bias in params.logit_bias.items():
        sampling.logit_bias[_count(f"sampling_params.logit_bias[{token}]", token)] = bias
    return sampling


def _structure(params: vllm_engine_pb2.SamplingParams) -> inference_pb2.Structure | None:
    match params.WhichOneof("constraint"):
        case "json_schema":
            return inference_pb2.Structure(json_schema=params.json_schema)
        case "regex":
            return inference_pb2.Structure(regex=params.regex)
        case "grammar":
            return inference_pb2.Structure(lark=params.grammar)
        case "choice":
            if not params.choice.choices:
                raise InvalidField("sampling_params.choice", "has no choices")
            return inference_pb2.Structure(lark="start: " + " | ".join(map(_quoted, params.choice.choices)))
        case "json_object" if params.json_object:
            return inference_pb2.Structure(json_schema='{"type": "object"}')
    return None


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _count(field: str, value: int) -> int:
    if value < 0:
        raise InvalidField(field, "must not be negative")
    return value
