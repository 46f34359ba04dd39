"""A tiny pair of models as roles, and what these must say: what tests of losslessness share."""

from collections.abc import Sequence
from functools import cache
from math import exp

from ringroad.actors.colocated import Colocated
from ringroad.actors.drafter.model import ModelDrafter
from ringroad.actors.engine.engine import Engine
from ringroad.actors.engine.model import Model
from ringroad.actors.messages import Chunk, Counts, Mode, Policy, Sampling, Speaker, Submit
from ringroad.actors.role import Role
from ringroad.actors.router.config import RouterConfig
from ringroad.actors.verifier.verifier import Verifier
from ringroad.kernels.linear import Weights
from tests import reference
from tests.engine.tiny import prompt, tiny

KINDS: list[Weights] = ["fp32", "bf16"]
NEVER, ALWAYS = Policy("margin", 2.0), Policy("entropy", 0.0)
SOMETIMES = Policy("margin", 0.6)
SAMPLINGS = [
    Sampling(1, 0.0),
    Sampling(2, 0.7),
    Sampling(3, 1.2),
    Sampling(2**64 - 1, 1.0, top_k=5),
    Sampling(5, 0.9, top_p=0.8),
    Sampling(6, 1.2, min_p=0.05),
    Sampling(7, 0.8, top_k=40, top_p=0.95, min_p=0.01),
]
TOKENS = 24


def large(kind: Weights) -> Model:
    return tiny(kind)


def small(kind: Weights) -> Model:
    """The large one, a little shaken: they agree on most tokens."""
    return tiny(kind, shaken=0.02)


def verifier(kind: Weights, chunk: int = 256) -> Verifier:
    return Verifier(Engine(large(kind)), "large", chunk)


def drafter(kind: Weights, chunk: int = 256) -> ModelDrafter:
    return ModelDrafter(Engine(small(kind)), "small", chunk)


def request(
    sampling: Sampling,
    mode: Mode = Mode.SPECULATIVE,
    *,
    name: str = "s",
    text: Sequence[int] = (),
    max_tokens: int = TOKENS,
    draft_tokens: int | None = None,
    policy: Policy | None = None,
    ends: Sequence[int] = (),
) -> Submit:
    text = list(text or prompt(10, sampling.seed % 1000))
    return Submit(name, text, max_tokens, mode, sampling, list(ends), draft_tokens, policy)


def text_of(chunks: list[Chunk]) -> list[int]:
    return [token for chunk in chunks for token in chunk.tokens]


def speakers_of(chunks: list[Chunk]) -> list[Speaker]:
    return [speaker for chunk in chunks for speaker in chunk.speakers]


def counts_of(chunks: list[Chunk]) -> Counts:
    """Of a text that ended as it should: one last chunk, and offsets without a gap."""
    assert [c.finish is not None for c in chunks] == [False] * (len(chunks) - 1) + [True]
    offset = 0
    for chunk in chunks:
        assert chunk.offset == offset
        offset += len(chunk.tokens)
    assert chunks[-1].counts is not None
    return chunks[-1].counts


def generated(submit: Submit, *roles: Role) -> list[Chunk]:
    return Colocated(RouterConfig(), *roles).generate(submit)[submit.session]


@cache
def _plain(kind: Weights, shaken: float, text: tuple[int, ...], sampling: Sampling, count: int) -> list[int]:
    return reference.plain_text(tiny(kind, shaken=shaken), text, sampling, count)


def plain(kind: Weights, submit: Submit, shaken: float = 0.0) -> list[int]:
    """What a model alone says, cut at the first end."""
    text = _plain(kind, shaken, tuple(submit.prompt), submit.sampling, submit.max_tokens)
    stop = next((i + 1 for i, token in enumerate(text) if token in submit.ends), len(text))
    return text[:stop]


def plainly_routed(kind: Weights, submit: Submit, policy: Policy) -> tuple[list[int], list[Speaker]]:
    """Routing token by token, each with fresh engines: the small model's, unless the rule consults."""
    text, who = list(submit.prompt), []
    while len(who) < submit.max_tokens:
        found = reference.plain_token(small(kind), text, submit.sampling)
        doubt = 1.0 - (found.margin if policy.name == "margin" else exp(-found.entropy))
        consult = doubt >= policy.threshold
        who.append(Speaker.LARGE if consult else Speaker.SMALL_KEPT)
        text.append(
            reference.plain_token(large(kind), text, submit.sampling).token if consult else found.token
        )
    return text[len(submit.prompt) :], who
