"""What cannot be read or honoured is refused by the name that the client gave it."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.actors.errors import InvalidField
from ringroad.actors.gateway.openai.bodies import ChatBody, CompletionBody, read
from tests.gateway.openai.clients import USER, posted
from tests.gateway.openai.parameters import OWN, PARAMETERS, RINGROAD, asked


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
