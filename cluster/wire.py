"""What both clients share: requests out, events and failures in. No connection."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypedDict, Unpack

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from ringroad.v1 import inference_pb2
from ringroad.v1.inference_pb2 import Chat, ChatMessage, Delta, Final, TokenIds

Event = Delta | Final
_FORMS = ("json_schema", "regex", "lark")
Prompt = str | Chat | TokenIds  # text to continue as it is, a conversation to answer, or tokens


class Options(TypedDict, total=False):
    """Parameters of a request, as GenerateRequest documents them; None leaves the server's default."""

    model: str | None
    mode: str | None  # "large", "small", "speculative" or "routed"
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    logit_bias: Mapping[int, float]  # by token
    seed: int | None
    watermark_key: int | None
    max_tokens: int | None
    stop: Sequence[str]
    stop_token_ids: Sequence[int]
    ignore_eos: bool
    min_tokens: int
    json_schema: str  # the form of the text: one of these three
    regex: str
    lark: str
    logprobs: int | None  # of each token, with so many of the likeliest; such a request does not resume
    echo: bool  # the first delta has the prompt
    draft_tokens: int | None
    policy: str | None
    threshold: float | None
    large_share: float | None  # in place of a threshold
    request_id: str | None
    resumable: bool  # True where unset: goes on by itself when a stream breaks


class CallFailed(Exception):
    """A call that ended in a status other than OK; `fields` maps each refused field to why.

    `retry_seconds` is how long the gateway asks to wait; `spoken` says that the status is a gateway's own
    word and not the connection's.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        fields: dict[str, str],
        retry_seconds: float | None = None,
        spoken: bool = False,
    ) -> None:
        super().__init__(code, message, fields)
        self.code = code
        self.message = message
        self.fields = fields
        self.retry_seconds = retry_seconds
        self.spoken = spoken

    def __str__(self) -> str:
        return "; ".join(f"{field}: {why}" for field, why in self.fields.items()) or self.message


def user(text: str) -> Chat:
    """A conversation of one message."""
    return Chat(messages=[ChatMessage(role="user", content=text)])


def generate_request(prompt: Prompt, **options: Unpack[Options]) -> inference_pb2.GenerateRequest:
    """The request for a text. Raises ValueError for an unknown mode and what protobuf cannot carry."""
    return inference_pb2.GenerateRequest(
        model=options.get("model") or "",
        prompt=prompt if isinstance(prompt, str) else None,
        chat=prompt if isinstance(prompt, Chat) else None,
        token_ids=prompt if isinstance(prompt, TokenIds) else None,
        sampling=inference_pb2.Sampling(
            temperature=options.get("temperature"),
            top_k=options.get("top_k"),
            top_p=options.get("top_p"),
            min_p=options.get("min_p"),
            repetition_penalty=options.get("repetition_penalty"),
            presence_penalty=options.get("presence_penalty"),
            frequency_penalty=options.get("frequency_penalty"),
            logit_bias=options.get("logit_bias"),
            seed=options.get("seed"),
            watermark_key=options.get("watermark_key"),
        ),
        max_tokens=options.get("max_tokens"),
        stop=options.get("stop", ()),
        stop_token_ids=options.get("stop_token_ids", ()),
        ignore_eos=options.get("ignore_eos", False),
        min_tokens=options.get("min_tokens", 0),
        echo=options.get("echo", False),
        logprobs=options.get("logprobs"),
        structure=_structure(options.get("json_schema"), options.get("regex"), options.get("lark")),
        mode=_mode(options.get("mode")),
        speculation=_speculation(options.get("draft_tokens")),
        routing=_routing(options.get("policy"), options.get("threshold"), options.get("large_share")),
        request_id=options.get("request_id") or "",
        resumable=options.get("resumable", options.get("logprobs") is None),
    )


def tokenize_request(prompt: str | Chat, model: str = "") -> inference_pb2.TokenizeRequest:
    """The request for the tokens of a text or a conversation."""
    if isinstance(prompt, Chat):
        return inference_pb2.TokenizeRequest(model=model, chat=prompt)
    return inference_pb2.TokenizeRequest(model=model, text=prompt)


def event_of(response: inference_pb2.GenerateResponse) -> Event:
    """What a piece of the stream holds."""
    return response.delta if response.HasField("delta") else response.final


@contextmanager
def translated() -> Iterator[None]:
    """Turns gRPC's errors into CallFailed."""
    try:
        yield
    except grpc.RpcError as error:
        raise _failure(error) from error


def _failure(error: grpc.RpcError) -> CallFailed:
    """With what google.rpc says in the trailers: the fields of a BadRequest, the delay of a RetryInfo."""
    status = rpc_status.from_call(error)
    bad, retry, delay = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo(), None
    for detail in status.details if status else ():
        detail.Unpack(bad)  # True and filled, or False and untouched
        if detail.Unpack(retry):
            delay = retry.retry_delay.ToTimedelta().total_seconds()
    fields = {violation.field: violation.description for violation in bad.field_violations}
    return CallFailed(error.code(), error.details() or "", fields, delay, status is not None)


def _mode(name: str | None) -> inference_pb2.Mode.ValueType:
    if name is None:
        return inference_pb2.MODE_UNSPECIFIED
    return inference_pb2.Mode.Value(f"MODE_{name.upper()}")


# Present only when asked for: a gateway refuses either where the mode has no use for it.


def _structure(
    json_schema: str | None, regex: str | None, lark: str | None
) -> inference_pb2.Structure | None:
    given = [name for name, text in zip(_FORMS, (json_schema, regex, lark), strict=True) if text is not None]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)}: a text has one form")
    if json_schema is not None:
        return inference_pb2.Structure(json_schema=json_schema)
    if regex is not None:
        return inference_pb2.Structure(regex=regex)
    return None if lark is None else inference_pb2.Structure(lark=lark)


def _speculation(draft_tokens: int | None) -> inference_pb2.Speculation | None:
    return None if draft_tokens is None else inference_pb2.Speculation(draft_tokens=draft_tokens)


def _routing(
    policy: str | None, threshold: float | None, large_share: float | None
) -> inference_pb2.Routing | None:
    if policy is None and threshold is None and large_share is None:
        return None
    return inference_pb2.Routing(policy=policy or "", threshold=threshold, large_share=large_share)
