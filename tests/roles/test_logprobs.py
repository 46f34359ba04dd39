"""Log-probabilities of committed tokens: those of the model that spoke each, whatever the request changes."""

import math
from functools import cache

import pytest
from msgspec.structs import replace

from ringroad.actors.colocated import Colocated
from ringroad.actors.messages import Logprob, Mode, Policy, Sampling, Shaping, Speaker, Submit
from ringroad.actors.router.config import RouterConfig
from tests import reference
from tests.engine.tiny import prompt, tiny
from tests.roles.drafting import planned
from tests.roles.pair import SOMETIMES, counts_of, drafter, generated, request, speakers_of, text_of, verifier

TEXT = prompt(20, 6)
SHAPING = Shaping(len(TEXT), ((7, 3.0),), 1.4, 0.6, 0.4)
SAMPLINGS = [
    Sampling(3, logprobs=3),
    Sampling(3, 0.9, top_k=20, logprobs=0),
    Sampling(4, 0.8, shaping=SHAPING, logprobs=2),
]
WAYS = [
    (Mode.LARGE, None),
    (Mode.SMALL, None),
    (Mode.SPECULATIVE, None),
    (Mode.ROUTED, SOMETIMES),
    (Mode.ROUTED, Policy("margin", 0.3)),
    (Mode.ROUTED, Policy("random", share=0.4)),
    (Mode.ROUTED, Policy("cascade", 0.9)),
    (Mode.ROUTED, Policy("cascade", 0.01)),
    (Mode.ROUTED, Policy("step", 0.4)),
]


@cache
def said(shaken: float, text: tuple[int, ...]) -> list[float]:
    logits = reference.plain_logits(tiny(shaken=shaken), text)
    total = math.log(sum(map(math.exp, logits)))
    return [logit - total for logit in logits]


def assert_said(submit: Submit, text: list[int], speakers: list[Speaker], found: list[Logprob]) -> None:
    top = submit.sampling.logprobs
    for at, (token, who, logprob) in enumerate(zip(text, speakers, found, strict=True)):
        shaken = 0.02 if who is Speaker.SMALL_KEPT else 0.0
        expected = said(shaken, (*submit.prompt, *text[:at]))
        likeliest = sorted(range(len(expected)), key=lambda token: (-expected[token], token))[:top]
        assert logprob.own == pytest.approx(expected[token], abs=1e-4), (at, who)
        assert logprob.likeliest == likeliest
        assert logprob.logs == pytest.approx([expected[token] for token in likeliest], abs=1e-4)


def asked(sampling: Sampling, mode: Mode, policy: Policy | None = None) -> Submit:
    submit = request(sampling, mode, text=TEXT, max_tokens=20, draft_tokens=4, policy=policy)
    return replace(submit, breaks=list(range(0, 320, 5)))


@pytest.mark.parametrize(("mode", "policy"), WAYS, ids=str)
@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["cold", "warm", "shaped"])
def test_of_each_token_by_who_spoke_it(mode: Mode, policy: Policy | None, sampling: Sampling) -> None:
    submit = asked(sampling, mode, policy)
    chunks = generated(submit, verifier("fp32"), drafter("fp32"))
    found = [logprob for chunk in chunks for logprob in chunk.logprobs]
    assert_said(submit, text_of(chunks), speakers_of(chunks), found)
    silent = replace(submit, sampling=replace(sampling, logprobs=None))
    others = generated(silent, verifier("fp32"), drafter("fp32"))
    assert (text_of(others), speakers_of(others)) == (text_of(chunks), speakers_of(chunks))
    assert not any(chunk.logprobs for chunk in others)


def test_one_consult_speaks_for_both_models() -> None:
    """Guesses that stay in any case have the small model's, and the doubts beside them the large one's."""
    mixed = 0
    for seed in range(6):
        submit = asked(Sampling(seed, 0.9, logprobs=1), Mode.ROUTED, Policy("margin", 0.5))
        chunks = generated(submit, verifier("fp32"), drafter("fp32"))
        found = [logprob for chunk in chunks for logprob in chunk.logprobs]
        assert_said(submit, text_of(chunks), speakers_of(chunks), found)
        mixed += sum(len(set(chunk.speakers)) > 1 for chunk in chunks)
    assert mixed > 2


@pytest.mark.parametrize("shape", ["dyspec", "branch"])
def test_down_a_tree(shape: str) -> None:
    submit = asked(Sampling(5, 0.9, logprobs=2), Mode.SPECULATIVE)
    chunks = generated(submit, verifier("fp32"), planned(tiny(shaken=0.02), "suffix", tree=shape))
    assert counts_of(chunks).accepted > 0
    found = [logprob for chunk in chunks for logprob in chunk.logprobs]
    assert_said(submit, text_of(chunks), speakers_of(chunks), found)


def test_beside_others_who_do_not_ask() -> None:
    submits = [
        replace(asked(sampling, mode), session=f"{mode}{i}")
        for i, sampling in enumerate([*SAMPLINGS, Sampling(3, 0.7)])
        for mode in (Mode.SPECULATIVE, Mode.SMALL)
    ]
    together = Colocated(RouterConfig(), verifier("fp32"), drafter("fp32")).generate(*submits)
    for submit in submits:
        chunks = together[submit.session]
        found = [logprob for chunk in chunks for logprob in chunk.logprobs]
        if submit.sampling.logprobs is None:
            assert not found
        else:
            assert_said(submit, text_of(chunks), speakers_of(chunks), found)


def test_what_is_taken_up_is_said_from_there_on() -> None:
    submit = asked(SAMPLINGS[2], Mode.SPECULATIVE)
    whole = generated(submit, verifier("fp32"), drafter("fp32"))
    text, speakers = text_of(whole), speakers_of(whole)
    again = replace(submit, committed=text[:7], speakers=speakers[:7])
    chunks = generated(again, verifier("fp32"), drafter("fp32"))
    assert chunks[0].tokens == text[:7]
    assert not chunks[0].logprobs
    found = [logprob for chunk in chunks for logprob in chunk.logprobs]
    assert found == [logprob for chunk in whole for logprob in chunk.logprobs][7:]
