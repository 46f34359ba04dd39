"""Every parameter of OpenAI's API is honoured, or refused by its name: the list is its own client's."""

import json
from contextlib import suppress
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import completion_create_params as completions
from openai.types.chat import completion_create_params as chat

from ringroad.actors.errors import InvalidField
from ringroad.actors.gateway.openai.asking import Asked
from ringroad.actors.gateway.openai.bodies import ChatBody, CompletionBody, read
from ringroad.v1.inference_pb2 import MODE_ROUTED, GenerateRequest
from tests.gateway.openai.clients import USER, posted

# By name: a value, what it means to the core, and what else must be said.
SAME: dict[str, tuple[Any, dict[str, Any]]] = {
    "model": ("toy", {"model": "toy"}),
    "temperature": (0.5, {"sampling": {"temperature": 0.5}}),
    "top_p": (0.5, {"sampling": {"top_p": 0.5}}),
    "presence_penalty": (0.5, {"sampling": {"presence_penalty": 0.5}}),
    "frequency_penalty": (0.5, {"sampling": {"frequency_penalty": 0.5}}),
    "logit_bias": ({"65": 2}, {"sampling": {"logit_bias": {65: 2}}}),
    "seed": (-1, {"sampling": {"seed": 2**64 - 1}}),
    "max_tokens": (5, {"max_tokens": 5}),
    "n": (2, {"n": 2}),
    "stop": ("x", {"stop": ["x"]}),
}
CHAT = SAME | {
    "messages": (USER, {"chat": {"messages": USER}}),
    "max_completion_tokens": (5, {"max_tokens": 5}),
    "logprobs": (True, {"logprobs": 0}),
    "response_format": ({"type": "json_object"}, {"structure": {"json_schema": '{"type": "object"}'}}),
}
COMPLETION = SAME | {
    "prompt": ("ho", {"prompt": "ho"}),
    "echo": (True, {"echo": True}),
    "logprobs": (3, {"logprobs": 3}),
}
# Those that stand for nothing in a text: who asks; and how the answer comes (test_chat.py).
ELSEWHERE = {"user": "me", "safety_identifier": "me", "stream_options": None, "top_logprobs": None}
# Of those that are refused, what the client's documentation says they may be.
REFUSED: dict[str, Any] = {
    "audio": {"format": "wav", "voice": "alloy"},
    "best_of": 2,
    "function_call": "auto",
    "functions": [{"name": "f"}],
    "metadata": {"a": "b"},
    "modalities": ["text", "audio"],
    "moderation": {},
    "parallel_tool_calls": True,
    "prediction": {"type": "content", "content": "x"},
    "prompt_cache_key": "x",
    "prompt_cache_options": {},
    "prompt_cache_retention": "24h",
    "reasoning_effort": "low",
    "service_tier": "flex",
    "store": True,
    "suffix": "x",
    "tool_choice": "required",
    "tools": [{"type": "function", "function": {"name": "f"}}],
    "verbosity": "low",
    "web_search_options": {},
}
IDLE = {
    "best_of": 1,
    "metadata": {},
    "modalities": ["text"],
    "store": False,
    "tools": [],
    "tool_choice": "none",
}
OWN = {
    "top_k": (3, {"sampling": {"top_k": 3}}),
    "min_p": (0.5, {"sampling": {"min_p": 0.5}}),
    "repetition_penalty": (1.5, {"sampling": {"repetition_penalty": 1.5}}),
    "min_tokens": (1, {"min_tokens": 1}),
    "stop_token_ids": ([3], {"stop_token_ids": [3]}),
    "ignore_eos": (True, {"ignore_eos": True}),
}
RINGROAD = OWN | {
    "mode": ("routed", {"mode": MODE_ROUTED}),
    "routing": ({"threshold": 1}, {"routing": {"threshold": 1}}),
    "speculation": ({"draft_tokens": 0}, {"speculation": {"draft_tokens": 0}}),
    "structure": ({"regex": "a"}, {"structure": {"regex": "a"}}),
    "watermark_key": (5, {"sampling": {"watermark_key": 5}}),
    "request_id": ("mine", {"request_id": "mine"}),
    "resumable": (True, {"resumable": True}),
    "cache_salt": ("x", {"cache_salt": "x"}),
}
PARAMETERS = {("chat", name) for name in get_type_hints(chat.CompletionCreateParamsBase)} | {
    ("completion", name) for name in get_type_hints(completions.CompletionCreateParamsBase)
}


def asked(kind: str, **said: Any) -> GenerateRequest:
    if kind == "chat":
        return Asked.chat(read(ChatBody, json.dumps({"messages": USER} | said).encode())).request
    return Asked.completion(read(CompletionBody, json.dumps({"prompt": "hi"} | said).encode())).request


def meant(kind: str, more: dict[str, Any]) -> GenerateRequest:
    prompt: dict[str, Any] = (
        {"chat": {"messages": USER}} if kind == "chat" else {"prompt": "hi", "max_tokens": 16}
    )
    sampling = {"temperature": 1} | more.get("sampling", {})
    return GenerateRequest(**(prompt | more | {"sampling": sampling}))


@pytest.mark.parametrize(("kind", "name"), sorted(PARAMETERS))
def test_each_is_honoured_or_refused_by_name(kind: str, name: str) -> None:
    honoured = CHAT if kind == "chat" else COMPLETION
    if name in honoured:
        value, meaning = honoured[name]
        assert asked(kind, **{name: value}) == meant(kind, meaning)
        assert asked(kind, **{name: value}) != asked(kind) or name in ("messages",)
    elif name in ELSEWHERE:
        assert asked(kind, **{name: ELSEWHERE[name]}) == asked(kind)
        with pytest.raises(InvalidField, match=f"^{name}"):
            asked(kind, **{name: 5})  # alone, or of a wrong kind
    else:
        with pytest.raises(InvalidField, match=f"^{name}: is not supported here"):
            asked(kind, **{name: REFUSED[name]})


@pytest.mark.parametrize(("kind", "name"), sorted(PARAMETERS))
def test_what_asks_for_nothing_is_no_harm(kind: str, name: str) -> None:
    if name not in ("messages", "prompt"):
        assert asked(kind, **{name: None}) == asked(kind)
    if name in IDLE:
        assert asked(kind, **{name: IDLE[name]}) == asked(kind)


@pytest.mark.parametrize("kind", ["chat", "completion"])
@pytest.mark.parametrize("name", RINGROAD)
def test_ringroads_own_are_honoured(kind: str, name: str) -> None:
    value, meaning = RINGROAD[name]
    assert asked(kind, ringroad={name: value}) == meant(kind, meaning)
    if name in OWN:
        assert asked(kind, **{name: value}) == meant(kind, meaning)
        with pytest.raises(InvalidField, match=f"^{name}: cannot be set together with ringroad.{name}$"):
            asked(kind, **{name: value}, ringroad={name: value})


@pytest.mark.parametrize("name", GenerateRequest.DESCRIPTOR.fields_by_name)
def test_a_field_of_the_core_is_never_passed_over(name: str) -> None:
    """Whatever is added to inference.proto can be said in `ringroad` at once."""
    if name != "sampling":
        with pytest.raises(InvalidField, match=rf"^ringroad\.{name}: must be"):
            asked("chat", ringroad={name: -0.5})


@pytest.mark.parametrize(
    ("said", "param"),
    [
        ({"temprature": 1}, "temprature"),
        ({"guided_json": "{}"}, "guided_json"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": 10**400}, "temperature"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": 2**32}, "max_tokens"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "max_completion_tokens"),
        ({"n": True}, "n"),
        ({"seed": 2**64}, "seed"),
        ({"stop": [3]}, "stop[0]"),
        ({"stop": 3}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"x": 1}}, "stream_options.x"),
        (
            {"stream": True, "stream_options": {"include_obfuscation": True}},
            "stream_options.include_obfuscation",
        ),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logit_bias": {"a": 1}}, "logit_bias[a]"),
        ({"logit_bias": {"1": "a"}}, "logit_bias[1]"),
        ({"logit_bias": []}, "logit_bias"),
        ({"user": 5}, "user"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "x", "name": "me"}]}, "messages[0].name"),
        (
            {"messages": [*USER, {"role": "assistant", "content": "", "tool_calls": [1]}]},
            "messages[1].tool_calls",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content[0].type",
        ),
        ({"response_format": {"type": "grammar"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": 5}}},
            "response_format.json_schema.schema",
        ),
        (
            {"response_format": {"type": "json_object"}, "ringroad": {"structure": {"regex": "a"}}},
            "response_format",
        ),
        ({"ringroad": 5}, "ringroad"),
        ({"ringroad": {"colour": 5}}, "ringroad.colour"),
        ({"ringroad": {"sampling": {}}}, "ringroad.sampling"),
        ({"ringroad": {"mode": "fast"}}, "ringroad.mode"),
        ({"ringroad": {"mode": "unspecified"}}, "ringroad.mode"),
        ({"ringroad": {"mode": 1}}, "ringroad.mode"),
        ({"ringroad": {"routing": {"polcy": "x"}}}, "ringroad.routing.polcy"),
        ({"ringroad": {"routing": 5}}, "ringroad.routing"),
        ({"ringroad": {"structure": {"regex": "a", "lark": "b"}}}, "ringroad.structure.lark"),
        ({"ringroad": {"timeout_seconds": 0}}, "ringroad.timeout_seconds"),
        ({"ringroad": {"timeout_seconds": True}}, "ringroad.timeout_seconds"),
        ({"ringroad": {"resumable": 1}}, "ringroad.resumable"),
        ({"ringroad": {"stop_token_ids": [3, "x"]}}, "ringroad.stop_token_ids[1]"),
    ],
)
def test_what_cannot_be_read_is_named(said: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidField) as refused:
        asked("chat", **said)
    assert refused.value.field == param


# What the core refuses, by its own names, in those of the client.
@pytest.mark.parametrize(
    ("path", "said", "param"),
    [
        ("chat", {"temperature": 11}, "temperature"),
        ("chat", {"ringroad": {"temperature": 11}}, "ringroad.temperature"),
        ("chat", {"logit_bias": {"999": 1}}, "logit_bias[999]"),
        ("chat", {"stop": ["a", ""]}, "stop[1]"),
        ("chat", {"max_completion_tokens": 60}, "max_completion_tokens"),
        ("chat", {"max_tokens": 0}, "max_tokens"),
        ("chat", {"messages": []}, "messages"),
        ("chat", {"messages": [{"role": "user", "content": "boom"}]}, "messages"),
        ("chat", {"messages": [{"role": "user", "content": "x" * 99}]}, "messages"),
        ("chat", {"messages": None}, "messages"),
        ("chat", {"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        (
            "chat",
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "schema": {"type": "x"}},
                }
            },
            "response_format.json_schema.schema",
        ),
        ("chat", {"ringroad": {"structure": {"regex": "("}}}, "ringroad.structure.regex"),
        ("chat", {"ringroad": {"routing": {}}}, "ringroad.routing"),
        ("chat", {"ringroad": {"mode": "routed", "routing": {"policy": "x"}}}, "ringroad.routing.policy"),
        ("chat", {"ringroad": {"request_id": "a b"}}, "ringroad.request_id"),
        ("chat", {"ringroad": {"resume": {}}}, "ringroad.request_id"),
        ("chat", {"ringroad": {"prompt": "hi"}}, "messages"),
        ("chat", {"n": 17}, "n"),
        ("completion", {"prompt": ""}, "prompt"),
        ("completion", {"prompt": None}, "prompt"),
        ("completion", {"prompt": []}, "prompt"),
        ("completion", {"prompt": [3, 999]}, "prompt[1]"),
        ("completion", {"prompt": ["a", "b"]}, "prompt"),
        ("completion", {"prompt": 5}, "prompt"),
        ("completion", {"logprobs": 21}, "logprobs"),
        ("completion", {"logprobs": 1, "echo": True}, "logprobs"),
    ],
)
async def test_what_the_core_refuses_is_named_as_the_client_did(
    serving: Any, path: str, said: dict[str, Any], param: str
) -> None:
    async with serving(http_port=0) as served:
        routes = {
            "chat": ("/chat/completions", {"messages": USER}),
            "completion": ("/completions", {"prompt": "hi"}),
        }
        where, plain = routes[path]
        status, _, body = await posted(served, where, plain | said)
        assert (status, body["error"]["param"]) == (400, param)
        assert body["error"]["message"].startswith(f"{param}: ")
        assert body["error"]["type"] == "invalid_request_error"
        assert served.router.quiet


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(sorted({name for _, name in PARAMETERS} | set(OWN) | {"ringroad", "stream"}))
INNER = st.dictionaries(st.sampled_from([*RINGROAD, "timeout_seconds", "resume", "token_ids", "chat"]), JSON)


@settings(deadline=None, max_examples=300)
@given(kind=st.sampled_from(["chat", "completion"]), said=st.dictionaries(NAMES, JSON | INNER, max_size=4))
def test_nothing_but_a_refusal_comes_of_anything(kind: str, said: dict[str, Any]) -> None:
    with suppress(InvalidField):
        asked(kind, **said)


@settings(deadline=None, max_examples=300)
@given(data=st.binary() | st.text().map(str.encode))
def test_nor_of_any_bytes(data: bytes) -> None:
    for kind in (ChatBody, CompletionBody):
        with suppress(InvalidField):
            read(kind, data)
