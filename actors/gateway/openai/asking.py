"""From a body to the core's request, and from the names of the core back to the client's own."""

import json
from collections.abc import Mapping

from pydantic import JsonValue

from ringroad.actors.errors import InvalidField
from ringroad.actors.gateway.filling import UnknownParameter, fill
from ringroad.actors.gateway.openai.bodies import Body, ChatBody, CompletionBody, Turn
from ringroad.v1 import inference_pb2

_FIELDS = inference_pb2.GenerateRequest.DESCRIPTOR.fields_by_name
_SAMPLING = inference_pb2.Sampling.DESCRIPTOR.fields_by_name
# What is said in the same shape: OpenAI's, and what users of vLLM say beside it.
_SAME = {
    "temperature": "sampling.temperature",
    "top_p": "sampling.top_p",
    "presence_penalty": "sampling.presence_penalty",
    "frequency_penalty": "sampling.frequency_penalty",
    "logit_bias": "sampling.logit_bias",
    "max_tokens": "max_tokens",
    "n": "n",
    "top_k": "sampling.top_k",
    "min_p": "sampling.min_p",
    "repetition_penalty": "sampling.repetition_penalty",
    "min_tokens": "min_tokens",
    "stop_token_ids": "stop_token_ids",
    "ignore_eos": "ignore_eos",
}
_CHAT = _SAME | {"max_completion_tokens": "max_tokens"}
_COMPLETION = _SAME | {"echo": "echo", "logprobs": "logprobs"}
_PROMPTS = ("prompt", "chat", "token_ids", "resume")
_TEMPERATURE = 1.0  # where none is given: OpenAI's default, as the next
_COMPLETION_TOKENS = 16


class Unsupported(InvalidField):
    """OpenAI has it, and here is nothing that could honour it."""

    def __init__(self, field: str) -> None:
        super().__init__(field, "is not supported here")


class Asked:
    """One request, in the core's words."""

    def __init__(self, body: Body) -> None:
        """Takes what both APIs have in common. Raises InvalidField, by the client's name."""
        self.request = inference_pb2.GenerateRequest()
        self.stream = bool(body.stream)
        self.include_usage = _include_usage(body)
        self.extended = body.ringroad is not None  # the answer tells more than OpenAI's clients know
        self.timeout: float | None = None  # seconds
        self._names: dict[str, str] = {}  # the client's, by the core's
        self._put("model", body.model, "model")
        self._put("stop", None if body.stop is None else list(body.stop), "stop")
        self._put("sampling.seed", None if body.seed is None else body.seed % 2**64, "seed")
        for name, value in (body.ringroad or {}).items():
            self._extend(name, value)

    def named(self, error: InvalidField) -> InvalidField:
        """What is wrong with the request, by the client's name for it."""
        path = error.field
        for end in sorted({len(path), *(n for n, c in enumerate(path) if c in ".[")}, reverse=True):
            if name := self._names.get(path[:end]):
                return InvalidField(name + path[end:], error.problem)
        name = next((name for name, its in _SAME.items() if its == path), "")  # one that was not given
        return InvalidField(name or f"ringroad.{path.removeprefix('sampling.')}", error.problem)

    @classmethod
    def chat(cls, body: ChatBody) -> "Asked":
        """What POST /v1/chat/completions asks. Raises InvalidField."""
        asked = cls(body)
        asked._take(body, _CHAT)
        if body.messages is not None:
            turns: list[JsonValue] = [
                {"role": _role(turn.role), "content": _text(turn)} for turn in body.messages
            ]
            asked._put("chat", {"messages": turns}, "messages")
            asked._names["chat.messages"] = "messages"
        if body.top_logprobs is not None and not body.logprobs:
            raise InvalidField("top_logprobs", "needs logprobs to be true")
        if body.logprobs:
            asked._put("logprobs", body.top_logprobs or 0, "top_logprobs")
        asked._form(body)
        return asked._whole("messages")

    @classmethod
    def completion(cls, body: CompletionBody) -> "Asked":
        """What POST /v1/completions asks. Raises InvalidField."""
        asked = cls(body)
        asked._take(body, _COMPLETION)
        prompt = body.prompt
        if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
            prompt = prompt[0]
        if isinstance(prompt, list):
            if any(isinstance(item, str | list) for item in prompt):
                raise InvalidField("prompt", "must be one: a string, or a list of tokens")
            asked._put("token_ids", {"ids": prompt}, "prompt")
            asked._names["token_ids.ids"] = "prompt"
        else:
            asked._put("prompt", prompt, "prompt")
        if asked.request.echo and asked.request.HasField("logprobs"):
            raise InvalidField("logprobs", "cannot be set together with echo: a prompt has none")
        asked = asked._whole("prompt")
        if not asked.request.HasField("max_tokens") and not asked.request.HasField("resume"):
            asked.request.max_tokens = _COMPLETION_TOKENS
        return asked

    def _whole(self, prompt: str) -> "Asked":
        if not any(name in self._names for name in _PROMPTS):
            raise InvalidField(prompt, "is missing")
        if "sampling.temperature" not in self._names and not self.request.HasField("resume"):
            self.request.sampling.temperature = _TEMPERATURE
        return self

    def _take(self, body: Body, same: Mapping[str, str]) -> None:
        for name, value in (body.model_extra or {}).items():
            if name in body.UNSERVED:
                raise Unsupported(name)
            if name not in same:
                raise UnknownParameter(name)
            self._put(same[name], value, name)

    def _extend(self, name: str, value: JsonValue) -> None:
        """A field of GenerateRequest or its Sampling, by its own name."""
        client = f"ringroad.{name}"
        if name == "timeout_seconds":
            self.timeout = _seconds(value, client)
        elif name in _SAMPLING:
            self._put(f"sampling.{name}", value, client)
        elif name in _FIELDS and name != "sampling":
            self._put(name, value, client)
        else:
            raise UnknownParameter(client)

    def _form(self, body: ChatBody) -> None:
        form = body.response_format
        if form is None:
            return
        if (form.json_schema is not None) != (form.type == "json_schema"):
            raise InvalidField("response_format.json_schema", "goes with type json_schema, and only with it")
        if form.type == "text":
            return
        schema: JsonValue = {"type": "object"} if form.json_schema is None else form.json_schema.form
        self._put("structure", {"json_schema": json.dumps(schema, ensure_ascii=False)}, "response_format")
        if form.json_schema is not None:
            self._names["structure.json_schema"] = "response_format.json_schema.schema"

    def _put(self, path: str, said: JsonValue, name: str) -> None:
        """Sets the field of this path, and notes the client's name for it. Raises InvalidField."""
        if said is None:
            return
        if path in self._names:
            raise InvalidField(name, f"cannot be set together with {self._names[path]}")
        self._names[path] = name
        _, _, inner = path.partition("sampling.")
        if inner:
            fill(self.request.sampling, _SAMPLING[inner], said, name)
        else:
            fill(self.request, _FIELDS[path], said, name)


def _include_usage(body: Body) -> bool:
    if body.stream_options is None:
        return False
    if not body.stream:
        raise InvalidField("stream_options", "needs stream to be true")
    return bool(body.stream_options.include_usage)


def _role(role: str) -> str:
    return "system" if role == "developer" else role


def _seconds(said: JsonValue, name: str) -> float:
    if not isinstance(said, int | float) or isinstance(said, bool) or not 0 < said < 1e9:
        raise InvalidField(name, "must be a number of seconds above 0")
    return float(said)


def _text(turn: Turn) -> str:
    return "\n".join(part.text for part in turn.content)
