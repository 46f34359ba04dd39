"""What a request changes in logits: every mode gives plain decoding's text with the same changes, in fp32."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ringroad.actors.colocated import Colocated
from ringroad.actors.drafter import shapes
from ringroad.actors.engine.engine import Engine, Work
from ringroad.actors.messages import Finish, Mode, Sampling, Shaping, Submit
from ringroad.actors.router.config import RouterConfig
from tests import reference
from tests.engine.tiny import SHAPE, Kind, prompt, tiny
from tests.roles.drafting import planned
from tests.roles.pair import (
    SOMETIMES,
    counts_of,
    drafter,
    generated,
    plain,
    plainly_routed,
    request,
    speakers_of,
    text_of,
    verifier,
)

TOKENS = 16
TEXT = prompt(30, 4)
PENALISED = Shaping(len(TEXT), ((7, 3.0), (8, -100.0)), 1.4, 0.6, 0.4, 9, tuple(range(0, 320, 3)))
EVERY_THIRD = list(PENALISED.late)
WARM, COLD = Sampling(3, 0.9, shaping=PENALISED), Sampling(3, shaping=PENALISED)


def asked(
    sampling: Sampling, mode: Mode = Mode.SPECULATIVE, draft_tokens: int = 5, name: str = "s"
) -> Submit:
    return request(
        sampling, mode, name=name, text=TEXT, max_tokens=TOKENS, draft_tokens=draft_tokens, ends=EVERY_THIRD
    )


tokens = st.integers(0, SHAPE.vocabulary - 1)
shapings = st.builds(
    Shaping,
    prompt=st.just(len(TEXT)),
    bias=st.dictionaries(tokens, st.floats(-100, 100, width=32), max_size=8).map(lambda d: tuple(d.items())),
    repetition=st.sampled_from([0.7, 1.0, 1.3, 3.0]),
    presence=st.sampled_from([-0.5, 0.0, 0.5, 2.0]),
    frequency=st.sampled_from([-0.3, 0.0, 0.3, 2.0]),
    least=st.integers(0, TOKENS),
    late=st.sampled_from([(), tuple(EVERY_THIRD)]),
)
samplings = st.builds(
    Sampling,
    seed=st.integers(0, 2**64 - 1),
    temperature=st.sampled_from([0.0, 0.7, 1.2]),
    top_k=st.sampled_from([0, 40]),
    top_p=st.sampled_from([0.9, 1.0]),
    min_p=st.sampled_from([0.0, 0.02]),
    shaping=shapings,
)


@given(samplings, st.sampled_from(["", *shapes.names()]), st.integers(0, 8))
@settings(max_examples=25, deadline=None)
def test_large_and_speculative_are_plain(sampling: Sampling, shape: str, draft_tokens: int) -> None:
    expected = plain("fp32", asked(sampling))
    small = planned(tiny(shaken=0.02), "suffix", "lookup", tree=shape)
    chunks = generated(asked(sampling, draft_tokens=draft_tokens), verifier("fp32"), small)
    assert text_of(chunks) == expected
    assert text_of(generated(asked(sampling, Mode.LARGE), verifier("fp32"), small)) == expected


@given(samplings, st.integers(1, 6))
@settings(max_examples=15, deadline=None)
def test_small_and_routed_are_plain(sampling: Sampling, draft_tokens: int) -> None:
    small = asked(sampling, Mode.SMALL, draft_tokens)
    assert text_of(generated(small, verifier("fp32"), drafter("fp32"))) == plain("fp32", small, shaken=0.02)
    routed = replace(asked(sampling, Mode.ROUTED, draft_tokens), ends=[], policy=SOMETIMES)
    chunks = generated(routed, verifier("fp32"), drafter("fp32"))
    assert (text_of(chunks), speakers_of(chunks)) == plainly_routed("fp32", routed, SOMETIMES)


@pytest.mark.parametrize("sampling", [COLD, WARM], ids=["cold", "warm"])
def test_the_drafter_guesses_what_the_changes_make_likely(sampling: Sampling) -> None:
    """With the same model in both places every guess stays."""
    submit = replace(asked(sampling), ends=[])
    assert plain("fp32", submit) != plain("fp32", replace(submit, sampling=replace(sampling, shaping=None)))
    counts = counts_of(generated(submit, verifier("fp32"), planned(tiny(), second_choices=False)))
    assert counts.drafted == counts.accepted > TOKENS // 2


@pytest.mark.parametrize(
    "alone",
    [
        Shaping(len(TEXT), repetition=0.5),
        Shaping(len(TEXT), presence=-2.0),
        Shaping(len(TEXT), frequency=-2.0),
        Shaping(len(TEXT), ((7, 6.0),)),
        Shaping(len(TEXT), least=9, late=tuple(EVERY_THIRD)),
    ],
    ids=["repetition", "presence", "frequency", "bias", "late"],
)
def test_each_matters_alone(alone: Shaping) -> None:
    submit = request(Sampling(3, 0.9, shaping=alone), text=TEXT)
    expected = plain("fp32", submit)
    assert expected != plain("fp32", request(Sampling(3, 0.9), text=TEXT))
    assert text_of(generated(submit, verifier("fp32"), drafter("fp32"))) == expected


def test_no_end_comes_too_early() -> None:
    """Every token ends the text, but for its first nine all are held back that are a multiple of three."""
    free = replace(PENALISED, least=0)
    early = generated(asked(Sampling(3, 0.9, shaping=free)), verifier("fp32"), drafter("fp32"))
    late = generated(asked(WARM), verifier("fp32"), drafter("fp32"))
    assert len(text_of(early)) <= 9 < len(text_of(late))
    assert early[-1].finish is late[-1].finish is Finish.STOP


@pytest.mark.parametrize("mode", [Mode.LARGE, Mode.SMALL, Mode.SPECULATIVE])
def test_taken_up_from_every_token_on(mode: Mode) -> None:
    """What is committed is of the answer, not of the prompt."""
    submit = asked(WARM, mode)
    chunks = generated(submit, verifier("fp32"), drafter("fp32"))
    text, speakers = text_of(chunks), speakers_of(chunks)
    assert len(text) > 9
    for count in range(len(text)):
        again = replace(submit, committed=text[:count], speakers=speakers[:count])
        assert text_of(generated(again, verifier("fp32"), drafter("fp32"))) == text, count


@pytest.mark.parametrize("kind", ["fp32", "bf16", "paged"])
def test_nodes_of_a_tree_each_have_their_own_path(kind: Kind) -> None:
    """Also behind a prefix that another session left, and in a text of which the prompt is still read."""
    tokens, parents = [5, 5, 9, 5, 11, 9, 5], [-1, 0, 0, 1, 2, 4, 4]
    for length in (2, 64, 80):
        text = [*prompt(length - 1, 5), 5]
        for begins in (length - 2, length, length + 2):
            # What the tree is made of is what is likely, so that each change of it decides something.
            bias = ((5, 32.0), (9, 31.0), (11, 30.0))
            sampling = Sampling(2, 0.8, shaping=Shaping(begins, bias, 1.05, 0.6, 1.4, 3, (9, 11)))
            engine = Engine(tiny(kind))
            engine.open("before", sampling)
            engine.step([Work("before", text)])
            engine.close("before")
            engine.open("s", sampling)
            new = text[engine.adopt("s", text) :]
            whole = [*range(-1, len(new) - 1), *(len(new) + parent for parent in parents)]
            found = engine.step([Work("s", [*new, *tokens], whole, answers=8)])[0].tokens
            for node in range(-1, len(tokens)):
                path = [tokens[n] for n in reference.ancestors(parents, node)]
                assert found[node + 1] == reference.plain_token(tiny(kind), [*text, *path], sampling).token


@pytest.mark.parametrize("kind", ["fp32", "bf16", "int4", "paged"])
def test_others_in_the_step_keep_their_bits(kind: Kind) -> None:
    """All that is told of them, whatever company they have."""
    alone, both = Engine(tiny(kind)), Engine(tiny(kind))
    for sampling in (Sampling(5, 0.8), Sampling(5), Sampling(5, 0.9, top_k=9)):
        for engine in (alone, both):
            engine.open("plain", sampling)
        for name, shaped in (("first", WARM), ("last", COLD)):
            both.open(name, shaped)
        work = Work("plain", TEXT, answers=4, features=True, siblings=3, successors=4)
        works = [replaced(work, "first"), work, replaced(work, "last")]
        assert both.step(works)[1] == alone.step([work])[0]


def replaced(work: Work, session: str) -> Work:
    return Work(session, work.tokens, answers=2, features=True, siblings=2)


def test_together_as_if_alone() -> None:
    ways = [Mode.SPECULATIVE, Mode.LARGE, Mode.SMALL]
    submits = [
        asked(sampling, mode, name=f"{mode}{i}")
        for i, sampling in enumerate([COLD, WARM, replace(WARM, shaping=None)])
        for mode in ways
    ]
    together = Colocated(RouterConfig(), verifier("fp32", 16), drafter("fp32", 16)).generate(*submits)
    for submit in submits:
        shaken = 0.02 if submit.mode is Mode.SMALL else 0.0
        assert text_of(together[submit.session]) == plain("fp32", submit, shaken)
