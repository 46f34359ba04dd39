"""Valid requests, written by hand: between them every field of every request message is set."""

import json
from typing import Any

from google.protobuf.message import Message

from ringroad.v1.control_pb2 import AbortRequest, GetLoadRequest, GetServerInfoRequest, ListModelsRequest
from ringroad.v1.inference_pb2 import (
    MODE_LARGE,
    MODE_ROUTED,
    MODE_SMALL,
    MODE_SPECULATIVE,
    GenerateRequest,
    TokenizeRequest,
)

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 9, "pattern": "^[a-z]+$"},
        "age": {"type": "integer", "minimum": 0, "maximum": 150, "multipleOf": 5},
        "tags": {"type": "array", "items": {"enum": ["a", "b", None, 1.5]}, "minItems": 1, "maxItems": 3},
        "more": {"anyOf": [{"$ref": "#/$defs/leaf"}, {"const": True}]},
    },
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {"leaf": {"type": ["string", "null"], "format": "date"}},
}
CHAT = {
    "messages": [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "hé 🙂"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "and?"},
    ]
}

GENERATE: list[dict[str, Any]] = [
    {"prompt": "hi"},
    {"chat": CHAT, "model": "toy", "mode": MODE_SPECULATIVE, "speculation": {"draft_tokens": 4}},
    {"token_ids": {"ids": [1, 2, 255, 259]}, "mode": MODE_SMALL, "max_tokens": 8, "ignore_eos": True},
    {
        "prompt": "all that draws",
        "mode": MODE_LARGE,
        "sampling": {
            "temperature": 0.7,
            "top_k": 40,
            "top_p": 0.9,
            "min_p": 0.05,
            "seed": 7,
            "repetition_penalty": 1.1,
            "presence_penalty": -0.5,
            "frequency_penalty": 0.5,
            "logit_bias": {3: -100.0, 65: 1.5},
            "watermark_key": 1 << 63,
        },
    },
    {
        "prompt": "stops",
        "stop": ["\n\n", "é", "END"],
        "stop_token_ids": [65, 66],
        "min_tokens": 2,
        "echo": True,
    },
    {"prompt": "routed", "mode": MODE_ROUTED, "routing": {"policy": "entropy", "threshold": 0.5}},
    {"prompt": "share", "mode": MODE_ROUTED, "routing": {"policy": "margin", "large_share": 0.25}},
    {
        "prompt": "step",
        "mode": MODE_ROUTED,
        "routing": {"policy": "step"},
        "speculation": {"draft_tokens": 16},
    },
    {
        "prompt": "named",
        "request_id": "a-name.of_64",
        "resumable": True,
        "cache_salt": "mine",
        "priority": -2,
    },
    {"request_id": "a-name.of_64", "resume": {"next_offset": 2}, "resumable": True},
    {"prompt": "said", "logprobs": 20, "n": 2},
    {"prompt": "regex", "structure": {"regex": "[a-c]{2,5}(x|yz)?"}},
    {"prompt": "lark", "structure": {"lark": 'start: item ("," item)*\nitem: /[0-9]+/ | "(" start ")"\n'}},
    {"prompt": "json", "structure": {"json_schema": "SCHEMA"}},
]
TOKENIZE: list[dict[str, Any]] = [{"text": "hé 🙂<|im_end|>", "model": "toy"}, {"chat": CHAT}]


FORM = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}
CHATS: list[dict[str, Any]] = [
    {"model": "toy", "messages": [{"role": "user", "content": "hé 🙂"}]},
    {
        "messages": [
            {
                "role": "developer",
                "content": [{"type": "text", "text": "be"}, {"type": "text", "text": "kind"}],
            },
            {"role": "assistant", "content": "x", "tool_calls": [], "refusal": None, "annotations": []},
        ],
        "stream": True,
        "stream_options": {"include_usage": True, "include_obfuscation": False},
        "stop": ["\n", "END"],
        "seed": -1,
        "user": "u",
        "safety_identifier": "s",
        "logprobs": True,
        "top_logprobs": 5,
        "max_completion_tokens": 8,
        "logit_bias": {"65": -100, "66": 1.5},
    },
    {
        "messages": [{"role": "user", "content": "a"}],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
        },
        "temperature": 0.5,
        "top_p": 0.9,
        "presence_penalty": -0.5,
        "frequency_penalty": 0.5,
        "n": 1,
        "store": False,
        "modalities": ["text"],
    },
    {
        "messages": [{"role": "user", "content": "a"}],
        "response_format": {"type": "json_object"},
        "max_tokens": 4,
        "top_k": 5,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "min_tokens": 1,
        "stop_token_ids": [65],
        "ringroad": {"mode": "large", "timeout_seconds": 5.5, "request_id": "n", "resumable": True},
    },
]
COMPLETIONS: list[dict[str, Any]] = [
    {"prompt": "hi", "echo": True, "max_tokens": 3, "stop": "x", "seed": 1 << 63, "ignore_eos": True},
    {"prompt": [[1, 2, 3]], "logprobs": 2, "best_of": 1, "suffix": None},
    {
        "prompt": [65, 66],
        "stream": True,
        "ringroad": {"mode": "routed", "routing": {"policy": "margin"}},
    },
    {"ringroad": {"request_id": "n", "resume": {"next_offset": 2}}},
    {
        "prompt": ["a"],
        "ringroad": {"watermark_key": (1 << 64) - 1, "speculation": {"draft_tokens": 3}},
    },
]


def bodies() -> dict[str, list[dict[str, Any]]]:
    """What OpenAI's API is asked, by kind."""
    return {"ChatBody": CHATS, "CompletionBody": COMPLETIONS}


def requests() -> dict[type[Message], list[Message]]:
    """By kind."""
    generate = [GenerateRequest(**fields) for fields in GENERATE]
    for request in generate:
        if request.structure.json_schema:
            request.structure.json_schema = json.dumps(SCHEMA)
    others = AbortRequest(request_id="a-name"), GetLoadRequest(), GetServerInfoRequest(), ListModelsRequest()
    return {
        GenerateRequest: [*generate],
        TokenizeRequest: [TokenizeRequest(**fields) for fields in TOKENIZE],
        **{type(each): [each] for each in others},
    }
