"""How a client wants tokens drawn: what travels from the gateway to every engine unchanged."""

import msgspec


class Shaping(msgspec.Struct, frozen=True, array_like=True):
    """What changes logits before a token is drawn, by the text so far; `kernels/shaping.py` says how."""

    prompt: int  # leading tokens of the text that are the prompt
    bias: tuple[tuple[int, float], ...] = ()  # tokens, and what is added to the logit of each
    repetition: float = 1.0
    presence: float = 0.0
    frequency: float = 0.0
    least: int = 0  # the first so many tokens of the answer are none of `late`
    late: tuple[int, ...] = ()
    grammar: str = ""  # that the answer keeps to, as `grammars.py` makes it; empty: any answer


class Sampling(msgspec.Struct, frozen=True, array_like=True):
    """How tokens are drawn from a distribution; `kernels/sampling.py` says exactly what each does."""

    seed: int = 0  # unsigned 64 bits
    temperature: float = 0.0
    top_k: int = 0  # 0: all
    top_p: float = 1.0
    min_p: float = 0.0
    shaping: Shaping | None = None  # None: logits stay what the model says
    watermark: int | None = None  # a key: whose noise tokens are drawn with, in place of the seed's
    logprobs: int | None = None  # how many likeliest tokens a `Logprob` is to have; None: there is none


class Logprob(msgspec.Struct, frozen=True, array_like=True):
    """What the model that spoke a token said at its place, before anything that a request changes. Natural
    logarithms of probabilities."""

    own: float  # of the token
    likeliest: list[int] = []  # tokens, as many as were asked for
    logs: list[float] = []  # of each
