"""Every field of a request is honoured, or refused by its name: none is passed over in silence."""

from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from ringroad.actors.errors import InvalidField
from ringroad.actors.gateway.naming import resumed_from
from ringroad.actors.gateway.samples import samples_from
from ringroad.actors.gateway.tenants import ANYBODY
from ringroad.actors.gateway.wire import Offer, flow_from, stops_from, submit_from
from ringroad.actors.grammars import Grammars
from ringroad.actors.ledger.ledger import Record
from ringroad.actors.messages import Mode
from ringroad.v1 import inference_pb2
from ringroad.v1.inference_pb2 import MODE_LARGE, MODE_ROUTED, GenerateRequest

# By path: a value that is not what an unset field means, and what else must be asked for.
VALUES: dict[str, tuple[Any, dict[str, Any]]] = {
    "model": ("other", {}),
    "prompt": ("ho", {}),
    "chat": ({"messages": [{"role": "user", "content": "ho"}]}, {"prompt": None}),
    "token_ids": ({"ids": [7]}, {"prompt": None}),
    "sampling.temperature": (0.5, {}),
    "sampling.top_k": (3, {}),
    "sampling.top_p": (0.5, {}),
    "sampling.min_p": (0.5, {}),
    "sampling.seed": (8, {}),
    "sampling.repetition_penalty": (1.5, {}),
    "sampling.presence_penalty": (0.5, {}),
    "sampling.frequency_penalty": (0.5, {}),
    "sampling.logit_bias": ({3: 1.0}, {}),
    "sampling.watermark_key": (0, {"sampling": {"seed": 1, "temperature": 1}}),
    "max_tokens": (3, {}),
    "stop": (["x"], {}),
    "ignore_eos": (True, {}),
    "mode": (MODE_LARGE, {}),
    "speculation.draft_tokens": (3, {}),
    "routing.policy": ("entropy", {"mode": MODE_ROUTED}),
    "routing.threshold": (0.3, {"mode": MODE_ROUTED}),
    "routing.large_share": (0.3, {"mode": MODE_ROUTED}),
    "request_id": ("me", {}),
    "resume": ({"next_offset": 3}, {}),
    "stop_token_ids": ([3], {}),
    "min_tokens": (2, {}),
    "echo": (True, {}),
    "logprobs": (0, {}),
    "structure": ({"regex": "a+"}, {}),
    "n": (2, {}),
    "priority": (-1, {}),
}
ELSEWHERE = {
    "resumable",  # of the stream alone: tests/gateway/test_lost_router.py
    "cache_salt",  # with the tenant: tests/gateway/test_tenants.py
}
REFUSED = {"model": "model", "resume": "prompt"}  # beside a prompt, of a server of one pair
INSIDE = ("sampling", "speculation", "routing")


def paths(message: Descriptor) -> list[str]:
    def below(field: FieldDescriptor) -> list[str]:
        if field.name in INSIDE and field.message_type is not None:
            return [f"{field.name}.{name}" for name in paths(field.message_type)]
        return [field.name]

    return [path for field in message.fields for path in below(field)]


def made(helpers: Any, fields: dict[str, Any]) -> tuple[Record, int] | int:
    request = GenerateRequest(**fields)
    if request.HasField("resume"):
        return resumed_from(request)
    tokenizer = helpers.toy_tokenizer()
    pair = helpers.Pair(name="toy", large="large", small="small", context_length=64, vocabulary=261)
    offer = Offer(pair, tokenizer, helpers.POLICIES, Mode.SPECULATIVE, 16, Grammars(lambda: tokenizer))
    submit = submit_from(request, offer, lambda mode: [])
    priority = flow_from(request, ANYBODY).priority
    return Record(submit, stops_from(request), b"", request.echo, priority), samples_from(request, 16)


def test_none_is_forgotten_here() -> None:
    assert sorted({*VALUES, *ELSEWHERE}) == sorted(paths(inference_pb2.GenerateRequest.DESCRIPTOR))


@pytest.mark.parametrize("path", VALUES)
def test_each_makes_a_difference(helpers: Any, path: str) -> None:
    value, beside = VALUES[path]
    plain: dict[str, Any] = {"prompt": "hi", "request_id": "x", "sampling": {"seed": 1}} | beside
    outer, _, inner = path.partition(".")
    asked = plain | {outer: (plain.get(outer) or {}) | {inner: value} if inner else value}
    if outer in REFUSED:
        with pytest.raises(InvalidField) as refused:
            made(helpers, asked)
        assert refused.value.field == REFUSED[outer]
    else:
        assert made(helpers, asked) != (made(helpers, plain) if plain["prompt"] else None)
