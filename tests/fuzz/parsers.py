"""One case: a kind of request and its bytes, put to the parsers; what may come of it, and nothing else."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

import msgspec
from google.protobuf.message import Message

from ringroad.actors.errors import InvalidField
from ringroad.actors.gateway.config import Pair
from ringroad.actors.gateway.naming import digest_of, resumed_from
from ringroad.actors.gateway.openai.asking import Asked
from ringroad.actors.gateway.openai.bodies import Body, ChatBody, CompletionBody, read
from ringroad.actors.gateway.openai.errors import Failure, failure_of
from ringroad.actors.gateway.parsing import parser
from ringroad.actors.gateway.peers import Bound
from ringroad.actors.gateway.samples import samples_from, submits_of
from ringroad.actors.gateway.status import status_of
from ringroad.actors.gateway.wire import Offer, stops_from, submit_from, tokens_from
from ringroad.actors.grammars import Grammars
from ringroad.actors.messages import Mode, Submit
from ringroad.v1.inference_pb2 import GenerateRequest, TokenizeRequest
from tests.fuzz.corpus import bodies, requests
from tests.fuzz.mutation import Mutator
from tests.gateway.conftest import POLICIES, toy_tokenizer

REFUSED, ACCEPTED = "refused", "accepted"
CONTEXT, BOUND = 256, 200  # tokens of a text, and that the caches hold
KINDS = {kind.DESCRIPTOR.name: kind for kind in requests()}
# Most of what can go wrong is in the one that generates.
JSON: dict[str, tuple[type[Body], Callable[[Any], Asked]]] = {
    "ChatBody": (ChatBody, Asked.chat),
    "CompletionBody": (CompletionBody, Asked.completion),
}
WEIGHTS = {
    name: 20 if kind is GenerateRequest else 2 if kind is TokenizeRequest else 1
    for name, kind in KINDS.items()
}

WEIGHTS |= dict.fromkeys(JSON, 8)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Submit).decode


@dataclass(frozen=True)
class Case:
    """What is parsed, and as what."""

    kind: str
    data: bytes


def drawn(seed: int) -> Case:
    """The case of a seed."""
    draw = Random(seed)
    (name,) = draw.choices(list(WEIGHTS), list(WEIGHTS.values()))
    if name in JSON:
        mutator = Mutator(draw, requests()[GenerateRequest])
        data = mutator.text(draw.choice(bodies()[name])).encode(errors="surrogatepass")
        return Case(name, mutator.bytes(data) if draw.random() < 0.15 else data)
    return Case(name, Mutator(draw, requests_of(name)).request())


@cache
def requests_of(name: str) -> list[Message]:
    """The valid ones of a kind."""
    return requests()[KINDS[name]]


@cache
def offer() -> Offer:
    """What a small gateway serves."""
    tokenizer = toy_tokenizer()
    pair = Pair(name="toy", large="large", small="small", context_length=CONTEXT, vocabulary=261)
    grammars = Grammars(lambda: tokenizer)
    return Offer(
        pair, tokenizer, POLICIES, Mode.SPECULATIVE, 16, grammars, breaks=tokenizer.containing(b"\n\n")
    )


def judged(case: Case) -> str:
    """What came of it. Raises whatever is not as it must be."""
    if case.kind in JSON:
        return _judged_json(case)
    kind = KINDS[case.kind]
    request = parser(kind)(case.data)
    try:
        if isinstance(request, InvalidField):
            raise request
        assert kind.FromString(case.data) == request or "nan" in str(request), "parsing lost something"
        _read(request)
    except InvalidField as error:
        _check_refusal(error, kind)
        return REFUSED
    return ACCEPTED


def _judged_json(case: Case) -> str:
    kind, ask = JSON[case.kind]
    try:
        asked = ask(read(kind, case.data))
        try:
            _read(asked.request)
        except InvalidField as error:
            raise asked.named(error) from error
    except InvalidField as error:
        _check_failure(failure_of(error), error.field)
        return REFUSED
    return ACCEPTED


def _read(request: Message) -> None:
    """As `generation.py` does."""
    if isinstance(request, TokenizeRequest):
        tokens = tokens_from(request, offer())
        assert all(0 <= token < offer().pair.vocabulary for token in tokens)
    if not isinstance(request, GenerateRequest):
        return
    if request.HasField("resume"):
        assert resumed_from(request) == request.resume.next_offset
        return
    assert len(digest_of(request)) == 32
    count = samples_from(request, offer().most_samples)
    stops = stops_from(request)
    assert all(stops)
    assert len(stops) <= 16
    submit = submit_from(request, offer(), lambda mode: [Bound(BOUND, "the cache")])
    for each in submits_of(submit, count):
        _check(each)
        assert _decode(_encode(each)) == each, "the router reads something else"


def _check(submit: Submit) -> None:
    """That everything in it is as the router may rely on."""
    vocabulary, sampling = offer().pair.vocabulary, submit.sampling
    assert submit.prompt
    assert submit.max_tokens >= 1
    assert len(submit.prompt) + submit.max_tokens <= min(BOUND, CONTEXT)
    assert all(0 <= token < vocabulary for token in (*submit.prompt, *submit.ends, *submit.breaks))
    numbers: list[Any] = [sampling.temperature, sampling.top_p, sampling.min_p]
    if shaping := sampling.shaping:
        numbers += [
            shaping.repetition,
            shaping.presence,
            shaping.frequency,
            *(bias for _, bias in shaping.bias),
        ]
        assert all(0 <= token < vocabulary for token, _ in shaping.bias)
        assert 0 <= shaping.least <= submit.max_tokens
    if submit.policy is not None:
        numbers += [submit.policy.threshold, submit.policy.share or 0.0]
    assert all(math.isfinite(number) for number in numbers)
    assert 0 <= sampling.seed < 1 << 64
    assert 0 <= sampling.top_k <= vocabulary
    assert submit.draft_tokens is None or 0 <= submit.draft_tokens <= 16
    assert bool(submit.policy) <= (submit.mode is Mode.ROUTED)


def _check_refusal(error: InvalidField, kind: type[Message]) -> None:
    """That it names what is wrong, and can be told."""
    top = error.field.split(".")[0].split("[")[0]
    assert top in (*kind.DESCRIPTOR.fields_by_name, "request"), (
        f"no field of {kind.DESCRIPTOR.name}: {error.field}"
    )
    assert error.problem
    status: Any = status_of(error)
    assert status.code.name == "INVALID_ARGUMENT"
    assert sum(len(value) for _, value in status.trailing_metadata) < 4000


def _check_failure(failure: Failure, field: str) -> None:
    """Likewise, as OpenAI's clients read it."""
    assert failure.status in (400, 404)
    assert failure.param == field
    assert len(failure.body()["error"]["message"]) < 400
