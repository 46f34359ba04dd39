"""All that OpenAI's own client can say, and what it means."""

import json
from typing import Any, get_type_hints

from openai.types import completion_create_params as completions
from openai.types.chat import completion_create_params as chat

from ringroad.actors.gateway.openai.asking import Asked
from ringroad.actors.gateway.openai.bodies import ChatBody, CompletionBody, read
from ringroad.v1.inference_pb2 import MODE_ROUTED, GenerateRequest
from tests.gateway.openai.clients import USER

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
