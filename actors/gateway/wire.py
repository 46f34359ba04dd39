"""From protobuf requests to messages. What cannot be honoured is refused here, by the name of its field."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ringroad.actors.errors import InvalidField
from ringroad.actors.gateway.config import Pair, Policies
from ringroad.actors.gateway.fair import Flow
from ringroad.actors.gateway.naming import request_id_of
from ringroad.actors.gateway.peers import Bound
from ringroad.actors.gateway.samples import MAX_SAMPLES
from ringroad.actors.gateway.sampling import ends_from, grammar_from, logprobs_from, placed, sampling_from
from ringroad.actors.gateway.tenants import LOWEST, Tenant
from ringroad.actors.grammars import Grammars
from ringroad.actors.messages import Mode, Policy, Submit
from ringroad.actors.router.policies import RULES, Scope
from ringroad.actors.tokenizer import Tokenizer
from ringroad.v1 import inference_pb2

MAX_STOPS = 16
MAX_STOP_CHARACTERS = 256
MAX_DRAFT_TOKENS = 16
MAX_THRESHOLD = 2.0  # all above 1 mean the same
_ROLES = ("system", "user", "assistant")

_MODES: dict[int, Mode] = {
    inference_pb2.MODE_LARGE: Mode.LARGE,
    inference_pb2.MODE_SMALL: Mode.SMALL,
    inference_pb2.MODE_SPECULATIVE: Mode.SPECULATIVE,
    inference_pb2.MODE_ROUTED: Mode.ROUTED,
}


@dataclass(frozen=True)
class Offer:
    """What this gateway accepts: the bounds of every request."""

    pair: Pair
    tokenizer: Tokenizer
    policies: Policies
    default_mode: Mode
    default_max_tokens: int
    grammars: Grammars
    breaks: Sequence[int] = ()  # tokens that end a step
    most_samples: int = MAX_SAMPLES  # of one request


def submit_from(
    request: inference_pb2.GenerateRequest, offer: Offer, caches: Callable[[Mode], list[Bound]]
) -> Submit:
    """A request that can be served; its session is its request id, made here when there is none.

    `caches`: what those who would speak in a mode have room for.
    Raises InvalidField for everything that cannot be honoured. The stop strings stay behind:
    see `stops_from`.
    """
    _check_model(request.model, offer)
    mode = _mode(request.mode, offer)
    request_id = request_id_of(request)
    sampling = sampling_from(request.sampling, offer.pair.vocabulary, logprobs_from(request))
    ends = ends_from(request, offer.tokenizer.ends, offer.pair.vocabulary)
    grammar = grammar_from(request, offer.grammars)
    draft_tokens = _draft_tokens(request, mode)
    policy = _policy(request, mode, offer)
    if request.HasField("max_tokens") and request.max_tokens == 0:
        raise InvalidField("max_tokens", "must be at least 1")
    source, prompt = _prompt(request, offer)
    max_tokens = _max_tokens(request, source, len(prompt), offer, caches(mode))
    return Submit(
        session=request_id,
        prompt=prompt,
        max_tokens=max_tokens,
        mode=mode,
        sampling=placed(sampling, grammar, request.min_tokens, ends, len(prompt), max_tokens),
        ends=ends,
        draft_tokens=draft_tokens,
        policy=policy,
        breaks=_breaks(mode, policy, offer),
    )


def stops_from(request: inference_pb2.GenerateRequest) -> list[str]:
    """The stop strings, checked. Raises InvalidField."""
    if len(request.stop) > MAX_STOPS:
        raise InvalidField("stop", f"has {len(request.stop)} strings, at most {MAX_STOPS} are allowed")
    for n, stop in enumerate(request.stop):
        if not stop:
            raise InvalidField(f"stop[{n}]", "is empty")
        if len(stop) > MAX_STOP_CHARACTERS:
            raise InvalidField(f"stop[{n}]", f"is longer than {MAX_STOP_CHARACTERS} characters")
    return list(request.stop)


def flow_from(request: inference_pb2.GenerateRequest, tenant: Tenant) -> Flow:
    """How a request counts among its tenant's and others'. Raises InvalidField."""
    priority = request.priority if request.HasField("priority") else tenant.priority
    if not LOWEST <= priority <= tenant.priority:
        raise InvalidField("priority", f"must be from {LOWEST} to {tenant.priority}")
    return Flow(tenant.name, tenant.weight, priority)


def tokens_from(request: inference_pb2.TokenizeRequest, offer: Offer) -> list[int]:
    """The tokens of a text or a conversation. Raises InvalidField."""
    _check_model(request.model, offer)
    if _only_one(request, ("text", "chat")) == "chat":
        return _chat(request.chat, offer.tokenizer)
    return offer.tokenizer.encode(request.text)


def _check_model(name: str, offer: Offer) -> None:
    if name and name != offer.pair.name:
        raise InvalidField("model", f"{name!r} is not served here; {offer.pair.name!r} is")


def _mode(number: int, offer: Offer) -> Mode:
    mode = _MODES.get(number) if number else offer.default_mode
    if mode is None:
        raise InvalidField("mode", f"{number} is no mode")
    if mode not in offer.pair.modes:
        raise InvalidField("mode", f"{mode} needs a small model, and {offer.pair.name!r} has none")
    return mode


def _draft_tokens(request: inference_pb2.GenerateRequest, mode: Mode) -> int | None:
    if not request.HasField("speculation"):
        return None
    if mode in (Mode.LARGE, Mode.SMALL):
        raise InvalidField("speculation", f"mode {mode} has no drafts")
    if not request.speculation.HasField("draft_tokens"):
        return None
    if request.speculation.draft_tokens > MAX_DRAFT_TOKENS:
        raise InvalidField("speculation.draft_tokens", f"must be from 0 to {MAX_DRAFT_TOKENS}")
    if mode is Mode.ROUTED and request.speculation.draft_tokens == 0:
        raise InvalidField("speculation.draft_tokens", "must be at least 1 in mode routed")
    return request.speculation.draft_tokens


def _policy(request: inference_pb2.GenerateRequest, mode: Mode, offer: Offer) -> Policy | None:
    if not request.HasField("routing"):
        return None
    if mode is not Mode.ROUTED:
        raise InvalidField("routing", f"mode {mode} routes nothing")
    routing, known = request.routing, offer.policies.thresholds
    name = routing.policy or offer.policies.default
    if name not in known:
        raise InvalidField("routing.policy", f"must be one of {', '.join(sorted(known))}")
    if routing.HasField("large_share"):
        return Policy(name, share=_share(routing, name))
    if not routing.HasField("threshold"):
        return Policy(name, known[name]) if routing.policy else None
    if not 0 <= routing.threshold <= MAX_THRESHOLD:  # NaN too, as above
        raise InvalidField("routing.threshold", f"must be from 0 to {MAX_THRESHOLD:g}")
    return Policy(name, routing.threshold)


def _share(routing: inference_pb2.Routing, name: str) -> float:
    if routing.HasField("threshold"):
        raise InvalidField("routing.large_share", "cannot be set together with routing.threshold")
    if not 0 <= routing.large_share <= 1:
        raise InvalidField("routing.large_share", "must be from 0 to 1")
    if RULES[name].scope is Scope.REQUEST:
        raise InvalidField("routing.large_share", f"cannot be held by {name}, which decides once a text")
    return routing.large_share


def _breaks(mode: Mode, policy: Policy | None, offer: Offer) -> list[int]:
    name = offer.policies.default if policy is None else policy.name
    return list(offer.breaks) if mode is Mode.ROUTED and RULES[name].scope is Scope.STEP else []


def _only_one(request: Any, names: Sequence[str]) -> str:
    given = [name for name in names if request.HasField(name)]
    if len(given) == 1:
        return given[0]
    if not given:
        raise InvalidField(names[0], f"exactly one of {', '.join(names)} must be set; none is")
    raise InvalidField(given[1], f"cannot be set together with {given[0]}")


def _prompt(request: inference_pb2.GenerateRequest, offer: Offer) -> tuple[str, list[int]]:
    source = _only_one(request, ("prompt", "chat", "token_ids"))
    if source == "prompt":
        ids = offer.tokenizer.encode(request.prompt) if request.prompt else []
    elif source == "chat":
        ids = _chat(request.chat, offer.tokenizer)
    else:
        ids = list(request.token_ids.ids)
        for n, token in enumerate(ids):
            if token >= offer.pair.vocabulary:
                raise InvalidField(
                    f"token_ids.ids[{n}]", f"{token} is outside the vocabulary of {offer.pair.vocabulary}"
                )
    if not ids:
        raise InvalidField(source, "is empty")
    return source, ids


def _chat(chat: inference_pb2.Chat, tokenizer: Tokenizer) -> list[int]:
    if not chat.messages:
        raise InvalidField("chat", "has no messages")
    for n, message in enumerate(chat.messages):
        if message.role not in _ROLES:
            raise InvalidField(f"chat.messages[{n}].role", f"must be one of {', '.join(_ROLES)}")
    try:
        return tokenizer.encode_chat([{"role": m.role, "content": m.content} for m in chat.messages])
    except ValueError as error:
        raise InvalidField("chat", str(error)) from error


def _max_tokens(
    request: inference_pb2.GenerateRequest, source: str, prompt: int, offer: Offer, caches: list[Bound]
) -> int:
    most, what = min([Bound(offer.pair.context_length, "the context"), *caches])
    room = most - prompt
    if room < 1:
        raise InvalidField(source, f"has {prompt} tokens, {what} of {most} has no room for an answer")
    if not request.HasField("max_tokens"):
        return min(offer.default_max_tokens, room)
    if request.max_tokens > room:
        raise InvalidField(
            "max_tokens",
            f"{request.max_tokens} and a prompt of {prompt} tokens exceed {what} of {most}",
        )
    return request.max_tokens
