"""A watermark under speculation and routing: plain decoding with the key's noise, and found in the text."""

import pytest

from ringroad.actors.drafter import shapes
from ringroad.actors.engine.engine import Engine, Work
from ringroad.actors.messages import Mode, Sampling
from ringroad.kernels.watermark import p_value
from tests import reference
from tests.engine.tiny import SHAPE, Kind, prompt, tiny
from tests.roles.drafting import planned
from tests.roles.pair import SOMETIMES, drafter, generated, plain, plainly_routed, request, text_of, verifier

KEY = 2**64 - 7
SAMPLINGS = [Sampling(5, 1.3, watermark=KEY), Sampling(2**64 - 1, 1.0, top_p=0.9, watermark=KEY)]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["whole", "cut"])
@pytest.mark.parametrize("shape", ["", *shapes.names()])
def test_large_and_speculative_are_plain(sampling: Sampling, shape: str) -> None:
    submit = request(sampling, draft_tokens=5)
    expected = plain("fp32", submit)
    small = planned(tiny(shaken=0.02), "suffix", tree=shape)
    assert text_of(generated(submit, verifier("fp32"), small)) == expected
    assert text_of(generated(request(sampling, Mode.LARGE), verifier("fp32"), small)) == expected


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["whole", "cut"])
def test_small_and_routed_are_plain(sampling: Sampling) -> None:
    small = request(sampling, Mode.SMALL)
    assert text_of(generated(small, verifier("fp32"), drafter("fp32"))) == plain("fp32", small, shaken=0.02)
    routed = request(sampling, Mode.ROUTED, policy=SOMETIMES)
    text = text_of(generated(routed, verifier("fp32"), drafter("fp32")))
    assert text == plainly_routed("fp32", routed, SOMETIMES)[0]


@pytest.mark.parametrize("kind", ["fp32", "bf16", "paged"])
def test_every_engine_draws_with_the_key(kind: Kind) -> None:
    engine, text = Engine(tiny(kind)), prompt(9, 4)
    engine.open("s", SAMPLINGS[0])
    logits = reference.plain_logits(tiny(kind), text)
    found = engine.step([Work("s", text, siblings=3)])[0].siblings[0]
    assert found[0][0] == reference.draw(logits, SAMPLINGS[0], len(text))


@pytest.mark.parametrize("mode", [Mode.SPECULATIVE, Mode.ROUTED])
def test_the_key_finds_it(mode: Mode) -> None:
    policy = SOMETIMES if mode is Mode.ROUTED else None
    texts = {
        key: text_of(
            generated(
                request(Sampling(11, 1.3, watermark=key), mode, max_tokens=150, policy=policy),
                verifier("fp32"),
                drafter("fp32"),
            )
        )
        for key in (KEY, None)
    }
    assert p_value(texts[KEY], KEY, SHAPE.vocabulary) < 1e-6
    assert p_value(texts[KEY], KEY + 1, SHAPE.vocabulary) > 1e-3
    assert p_value(texts[None], KEY, SHAPE.vocabulary) > 1e-3
