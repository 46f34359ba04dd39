"""What both clients share: requests out, events and failures in. No connection."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypedDict, Unpack

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from ringroad.v1 import inference_pb2
from ringroad.v1.inference_pb2 import Chat, ChatMessage, Delta, Final, TokenIds

Event = Delta | Final
Prompt = str | Chat | TokenIds  # text to continue as it is, a conversation to answer, or tokens


class Options(TypedDict, total=False):
    """Parameters of a request, as GenerateRequest documents them; None leaves the server's default."""

    model: str | None
    mode: str | None  # "large", "small", "speculative" or "routed"
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    seed: int | None
    max_tokens: int | None
    stop: Sequence[str]
    ignore_eos: bool
    draft_tokens: int | None
    policy: str | None
    threshold: float | None
    large_share: float | None  # in place of a threshold
    request_id: str | None


class CallFailed(Exception):
    """A call that ended in a status other than OK; `fields` maps each refused field to why."""

    def __init__(self, code: grpc.StatusCode, message: str, fields: dict[str, str]) -> None:
        super().__init__(code, message, fields)
        self.code = code
        self.message = message
        self.fields = fields

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
            seed=options.get("seed"),
        ),
        max_tokens=options.get("max_tokens"),
        stop=options.get("stop", ()),
        ignore_eos=options.get("ignore_eos", False),
        mode=_mode(options.get("mode")),
        speculation=_speculation(options.get("draft_tokens")),
        routing=_routing(options.get("policy"), options.get("threshold"), options.get("large_share")),
        request_id=options.get("request_id") or "",
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
        raise CallFailed(error.code(), error.details() or "", _refused(error)) from error


def _refused(error: grpc.RpcError) -> dict[str, str]:
    """The fields that a google.rpc.BadRequest in the trailers names, with the reasons."""
    status = rpc_status.from_call(error)
    bad = error_details_pb2.BadRequest()
    for detail in status.details if status else ():
        detail.Unpack(bad)  # True and filled, or False and untouched
    return {violation.field: violation.description for violation in bad.field_violations}


def _mode(name: str | None) -> inference_pb2.Mode.ValueType:
    if name is None:
        return inference_pb2.MODE_UNSPECIFIED
    return inference_pb2.Mode.Value(f"MODE_{name.upper()}")


# Present only when asked for: a gateway refuses either where the mode has no use for it.


def _speculation(draft_tokens: int | None) -> inference_pb2.Speculation | None:
    return None if draft_tokens is None else inference_pb2.Speculation(draft_tokens=draft_tokens)


def _routing(
    policy: str | None, threshold: float | None, large_share: float | None
) -> inference_pb2.Routing | None:
    if policy is None and threshold is None and large_share is None:
        return None
    return inference_pb2.Routing(policy=policy or "", threshold=threshold, large_share=large_share)
