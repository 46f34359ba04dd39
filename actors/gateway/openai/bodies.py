"""What OpenAI's API says in other shapes than `inference.proto`; all else passes through as it is."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)
from pydantic_core import from_json

from ringroad.actors.errors import InvalidField
from ringroad.actors.gateway.filling import UnknownParameter

B = TypeVar("B", bound="Body")


class _Strict(BaseModel):
    """Nothing is converted, and an unknown name is refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    # By name: what is not served here, and the one value, beside null, with which nothing is asked for.
    UNSERVED: ClassVar[Mapping[str, JsonValue]] = {}

    @model_validator(mode="before")
    @classmethod
    def _asks_for_nothing(cls, said: Any) -> Any:
        if not isinstance(said, dict):
            return said
        return {name: value for name, value in said.items() if not cls._idle(name, value)}

    @classmethod
    def _idle(cls, name: str, value: JsonValue) -> bool:
        if name not in cls.UNSERVED:
            return False
        idle = cls.UNSERVED[name]
        return value is None or (type(value) is type(idle) and value == idle)


class Part(_Strict):
    """A piece of a turn's content. Text alone is understood."""

    type: Literal["text"]
    text: str


def _parts(said: Any) -> Any:
    return [{"type": "text", "text": said}] if isinstance(said, str) else said


def _strings(said: Any) -> Any:
    return [said] if isinstance(said, str) else said


class Turn(_Strict):
    """One message of a conversation. An answer may be sent back as it came."""

    UNSERVED: ClassVar[Mapping[str, JsonValue]] = {
        "annotations": [],
        "audio": None,
        "function_call": None,
        "name": None,
        "refusal": None,
        "tool_calls": [],
    }

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[list[Part], BeforeValidator(_parts)]


class StreamOptions(_Strict):
    """What a stream holds beside its text."""

    UNSERVED: ClassVar[Mapping[str, JsonValue]] = {"include_obfuscation": False}

    include_usage: bool | None = None


class JsonSchema(_Strict):
    """A form with a name, which is the client's own."""

    name: str
    form: dict[str, JsonValue] = Field(alias="schema")
    strict: bool | None = None  # enforced either way


class ResponseFormat(_Strict):
    """The form of an answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class Body(_Strict):
    """What both APIs have in common. What is not declared is in `model_extra`."""

    model_config = ConfigDict(extra="allow")

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: Annotated[list[str] | None, BeforeValidator(_strings)] = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**64)] | None = None
    user: str | None = None  # who asks at the client's: a word for its own books
    ringroad: dict[str, JsonValue] | None = None


class ChatBody(Body):
    """POST /v1/chat/completions."""

    UNSERVED: ClassVar[Mapping[str, JsonValue]] = {
        "audio": None,
        "function_call": "none",
        "functions": [],
        "metadata": {},
        "modalities": ["text"],
        "moderation": None,
        "parallel_tool_calls": None,
        "prediction": None,
        "prompt_cache_key": None,
        "prompt_cache_options": None,
        "prompt_cache_retention": None,
        "reasoning_effort": None,
        "service_tier": "auto",
        "store": False,
        "tool_choice": "none",
        "tools": [],
        "verbosity": None,
        "web_search_options": None,
    }

    messages: list[Turn] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    response_format: ResponseFormat | None = None
    safety_identifier: str | None = None  # as `user`


class CompletionBody(Body):
    """POST /v1/completions."""

    UNSERVED: ClassVar[Mapping[str, JsonValue]] = {"best_of": 1, "suffix": None}

    prompt: JsonValue = None


def read(kind: type[B], data: bytes) -> B:
    """A request's body. Raises InvalidField, UnknownParameter."""
    try:
        said = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidField("body", f"is not JSON: {error}") from None
    try:
        return kind.model_validate(said)
    except ValidationError as errors:
        first = errors.errors(include_url=False, include_context=False, include_input=False)[0]
    path = _path(first["loc"]) or "body"
    if first["type"] == "extra_forbidden":
        raise UnknownParameter(path)
    message = "is missing" if first["type"] == "missing" else first["msg"]
    raise InvalidField(path, message[0].lower() + message[1:])


def _path(parts: tuple[int | str, ...]) -> str:
    """As in messages[0].role."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).removeprefix(".")
