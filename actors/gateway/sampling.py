"""How tokens are to be drawn, from protobuf; every bound is checked here, each by the name of its field."""

import secrets
from collections.abc import Sequence

from msgspec.structs import replace

from ringroad.actors.errors import InvalidField
from ringroad.actors.grammars import MAKERS, Grammars
from ringroad.actors.messages import Sampling, Shaping
from ringroad.v1 import inference_pb2

MAX_TEMPERATURE = 10.0
MAX_REPETITION = 10.0
MAX_PENALTY = 2.0
MAX_BIAS = 100.0
MAX_BIASES = 300
MAX_STOP_TOKENS = 64
MAX_LOGPROBS = 20
MAX_GRAMMAR_CHARACTERS = 16_384
_DRAWN_BITS = 53  # of a seed: readers of JSON may keep no more of a number


def sampling_from(sampling: inference_pb2.Sampling, vocabulary: int, logprobs: int | None) -> Sampling:
    """What does not depend on the text. Raises InvalidField."""
    top_p = sampling.top_p if sampling.HasField("top_p") else 1.0
    # Written so that NaN, of which every comparison is false, is refused as well.
    if not 0 <= sampling.temperature <= MAX_TEMPERATURE:
        raise InvalidField("sampling.temperature", f"must be from 0 to {MAX_TEMPERATURE:g}")
    if not 0 < top_p <= 1:
        raise InvalidField("sampling.top_p", "must be above 0 and at most 1")
    if not 0 <= sampling.min_p <= 1:
        raise InvalidField("sampling.min_p", "must be from 0 to 1")
    if sampling.HasField("watermark_key") and not sampling.temperature:
        raise InvalidField("sampling.watermark_key", "needs a temperature above 0: it is in the noise")
    return Sampling(
        seed=sampling.seed if sampling.HasField("seed") else secrets.randbits(_DRAWN_BITS),
        temperature=sampling.temperature,
        top_k=min(sampling.top_k, vocabulary),
        top_p=top_p,
        min_p=sampling.min_p,
        shaping=_shaping(sampling, vocabulary),
        watermark=sampling.watermark_key if sampling.HasField("watermark_key") else None,
        logprobs=None if logprobs is None else min(logprobs, vocabulary),
    )


def logprobs_from(request: inference_pb2.GenerateRequest) -> int | None:
    """How many likeliest tokens are told beside each; None: nothing is told. Raises InvalidField."""
    if not request.HasField("logprobs"):
        return None
    if request.logprobs > MAX_LOGPROBS:
        raise InvalidField("logprobs", f"must be from 0 to {MAX_LOGPROBS}")
    if request.resumable:
        raise InvalidField("logprobs", "cannot be set together with resumable: no ledger keeps them")
    return request.logprobs


def grammar_from(request: inference_pb2.GenerateRequest, grammars: Grammars) -> str:
    """The grammar that the answer keeps to; empty where none is asked for. Raises InvalidField."""
    if not request.HasField("structure"):
        return ""
    name = request.structure.WhichOneof("form")
    if name is None:
        raise InvalidField("structure", "must have one of json_schema, regex and lark")
    field, source = f"structure.{name}", getattr(request.structure, name)
    if len(source) > MAX_GRAMMAR_CHARACTERS:
        raise InvalidField(field, f"is longer than {MAX_GRAMMAR_CHARACTERS} characters")
    if request.ignore_eos:
        raise InvalidField("ignore_eos", f"cannot be set together with {field}: what has its form must end")
    try:
        grammar = MAKERS[name](source)
    except ValueError as error:
        raise InvalidField(field, str(error)) from error
    if problem := grammars.error(grammar):
        raise InvalidField(field, problem)
    return grammar


def ends_from(request: inference_pb2.GenerateRequest, ends: Sequence[int], vocabulary: int) -> list[int]:
    """The tokens that end the text, of which `ends` are the model's own. Raises InvalidField."""
    if len(request.stop_token_ids) > MAX_STOP_TOKENS:
        raise InvalidField("stop_token_ids", f"has more than {MAX_STOP_TOKENS} ids")
    for n, token in enumerate(request.stop_token_ids):
        _check_token(f"stop_token_ids[{n}]", token, vocabulary)
    return list(dict.fromkeys([*([] if request.ignore_eos else ends), *request.stop_token_ids]))


def placed(
    sampling: Sampling, grammar: str, least: int, ends: Sequence[int], prompt: int, max_tokens: int
) -> Sampling:
    """The same for the answer to a prompt of so many tokens, of which `least` are to come before `ends`.

    Raises InvalidField where there may not be so many.
    """
    if least > max_tokens:
        raise InvalidField("min_tokens", f"{least} is more than max_tokens, which is {max_tokens}")
    if sampling.shaping is None and not least and not grammar:
        return sampling
    shaping = replace(
        sampling.shaping or Shaping(prompt), prompt=prompt, least=least, late=tuple(ends), grammar=grammar
    )
    return replace(sampling, shaping=shaping)


def _shaping(sampling: inference_pb2.Sampling, vocabulary: int) -> Shaping | None:
    """None where nothing is to be changed."""
    repetition = sampling.repetition_penalty if sampling.HasField("repetition_penalty") else 1.0
    if not 0 < repetition <= MAX_REPETITION:
        raise InvalidField("sampling.repetition_penalty", f"must be above 0 and at most {MAX_REPETITION:g}")
    for name in ("presence_penalty", "frequency_penalty"):
        if not -MAX_PENALTY <= getattr(sampling, name) <= MAX_PENALTY:
            raise InvalidField(f"sampling.{name}", f"must be from {-MAX_PENALTY:g} to {MAX_PENALTY:g}")
    if len(sampling.logit_bias) > MAX_BIASES:
        raise InvalidField("sampling.logit_bias", f"has more than {MAX_BIASES} tokens")
    for token, bias in sampling.logit_bias.items():
        _check_token(f"sampling.logit_bias[{token}]", token, vocabulary)
        if not -MAX_BIAS <= bias <= MAX_BIAS:
            raise InvalidField(f"sampling.logit_bias[{token}]", f"must be from {-MAX_BIAS:g} to {MAX_BIAS:g}")
    shaping = Shaping(
        prompt=0,
        bias=tuple(sorted(sampling.logit_bias.items())),
        repetition=repetition,
        presence=sampling.presence_penalty,
        frequency=sampling.frequency_penalty,
    )
    return None if shaping == Shaping(prompt=0) else shaping


def _check_token(field: str, token: int, vocabulary: int) -> None:
    if token >= vocabulary:
        raise InvalidField(field, f"{token} is outside the vocabulary of {vocabulary}")
