"""One seed, one text: what all roles together generate is what the large model alone would have.

Exact in fp32 and in bf16, for every drafter, draft length, company and accident.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.actors.colocated import Colocated
from ringroad.actors.drafter import strategies
from ringroad.actors.drafter.free import FreeDrafter
from ringroad.actors.messages import Finish, Mode, Policy, Sampling, Speaker, Submit
from ringroad.actors.role import Role
from ringroad.actors.router.config import RouterConfig
from ringroad.kernels.linear import Weights
from tests.engine.tiny import prompt
from tests.roles.pair import (
    ALWAYS,
    KINDS,
    NEVER,
    SAMPLINGS,
    SOMETIMES,
    TOKENS,
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

# --- the pair -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_pair_agrees_often_but_not_always(kind: Weights) -> None:
    """Else nothing below would test what it says."""
    drafted = accepted = 0
    for sampling in SAMPLINGS:
        counts = counts_of(generated(request(sampling, draft_tokens=8), verifier(kind), drafter(kind)))
        drafted, accepted = drafted + counts.drafted, accepted + counts.accepted
    assert 0.2 < accepted / drafted < 0.9
    for sampling in SAMPLINGS:
        assert len(set(plain(kind, request(sampling)))) > TOKENS // 3


# --- speculative ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("draft_tokens", [0, 1, 2, 3, 5, 8])
def test_speculative_is_large_is_plain(kind: Weights, sampling: Sampling, draft_tokens: int) -> None:
    submit = request(sampling, draft_tokens=draft_tokens)
    expected = plain(kind, submit)
    chunks = generated(submit, verifier(kind), drafter(kind))
    assert text_of(chunks) == expected
    counts = counts_of(chunks)
    assert counts.accepted + counts.large == TOKENS
    assert (counts.drafted > 0) == (draft_tokens > 0)
    assert chunks[-1].finish is Finish.LENGTH
    assert text_of(generated(request(sampling, Mode.LARGE), verifier(kind), drafter(kind))) == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_with_a_drafter_that_looks_up(kind: Weights, sampling: Sampling) -> None:
    """Over a prompt that already holds most of the answer, and so gives good guesses."""
    first = request(sampling)
    answer = plain(kind, first)
    submit = request(sampling, text=[*first.prompt, *answer, *first.prompt, *answer[:4]])
    chunks = generated(submit, verifier(kind), FreeDrafter([strategies.make("lookup")]))
    assert text_of(chunks) == plain(kind, submit)
    assert counts_of(chunks).drafted > 0


@given(
    seed=st.integers(0, 2**64 - 1),
    temperature=st.sampled_from([0.0, 0.3, 0.7, 1.0, 1.5]),
    top_k=st.sampled_from([0, 1, 3, 50]),
    top_p=st.sampled_from([0.3, 0.9, 1.0]),
    min_p=st.sampled_from([0.0, 0.1]),
    draft_tokens=st.integers(0, 8),
    length=st.integers(1, 40),
    kind=st.sampled_from(KINDS),
)
@settings(max_examples=40)
def test_any_seed_and_sampling(
    seed: int,
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
    draft_tokens: int,
    length: int,
    kind: Weights,
) -> None:
    sampling = Sampling(seed, temperature, top_k, top_p, min_p)
    submit = request(sampling, text=prompt(length, 3), max_tokens=12, draft_tokens=draft_tokens)
    assert text_of(generated(submit, verifier(kind), drafter(kind))) == plain(kind, submit)


@pytest.mark.parametrize("kind", KINDS)
def test_across_a_border_of_blocks_and_chunks(kind: Weights) -> None:
    submit = request(SAMPLINGS[1], text=prompt(500, 5), draft_tokens=5)
    assert text_of(generated(submit, verifier(kind, 100), drafter(kind, 64))) == plain(kind, submit)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("draft_tokens", [0, 3, 8])
@pytest.mark.parametrize("at", [0, 5, 11, 23])
def test_the_text_ends_where_plain_decoding_ends(kind: Weights, draft_tokens: int, at: int) -> None:
    whole = plain(kind, request(SAMPLINGS[2]))
    for mode in (Mode.SPECULATIVE, Mode.LARGE):
        submit = request(SAMPLINGS[2], mode, draft_tokens=draft_tokens, ends=[whole[at]])
        chunks = generated(submit, verifier(kind), drafter(kind))
        assert text_of(chunks) == plain(kind, submit)
        assert chunks[-1].finish is Finish.STOP
        counts_of(chunks)


# --- small and routed -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampling", SAMPLINGS[:4], ids=str)
def test_small_is_the_small_models_plain_text(kind: Weights, sampling: Sampling) -> None:
    for draft_tokens in (0, 1, 5):
        submit = request(sampling, Mode.SMALL, draft_tokens=draft_tokens)
        chunks = generated(submit, verifier(kind), drafter(kind))
        assert text_of(chunks) == plain(kind, submit, shaken=0.02)
        assert counts_of(chunks).consults == 0
        assert set(speakers_of(chunks)) == {Speaker.SMALL_KEPT}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampling", SAMPLINGS[:4], ids=str)
def test_routed_at_its_two_ends(kind: Weights, sampling: Sampling) -> None:
    submit = request(sampling, Mode.ROUTED, policy=NEVER)
    assert text_of(generated(submit, verifier(kind), drafter(kind))) == plain(kind, submit, shaken=0.02)
    submit = request(sampling, Mode.ROUTED, policy=ALWAYS)
    chunks = generated(submit, verifier(kind), drafter(kind))
    assert text_of(chunks) == plain(kind, submit)
    assert counts_of(chunks).large == TOKENS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampling", SAMPLINGS[:3], ids=str)
@pytest.mark.parametrize("policy", [SOMETIMES, Policy("entropy", 0.78)], ids=str)
def test_routed_is_plain_routing(kind: Weights, sampling: Sampling, policy: Policy) -> None:
    """For any draft length; and both models speak."""
    expected = plainly_routed(kind, request(sampling), policy)
    assert len(set(expected[1])) == 2
    for draft_tokens in (1, 2, 4, 8):
        submit = request(sampling, Mode.ROUTED, draft_tokens=draft_tokens, policy=policy)
        chunks = generated(submit, verifier(kind), drafter(kind))
        assert (text_of(chunks), speakers_of(chunks)) == expected


# --- company --------------------------------------------------------------------------------------


def crowd() -> list[Submit]:
    """Sessions of all modes, samplings, lengths and draft lengths."""
    modes = [Mode.SPECULATIVE, Mode.LARGE, Mode.ROUTED, Mode.SMALL, Mode.SPECULATIVE]
    return [
        request(
            sampling,
            modes[i % 5],
            name=f"s{i}",
            text=prompt(3 + 17 * i, i),
            max_tokens=8 + 3 * (i % 4),
            draft_tokens=1 + i % 7,
            policy=SOMETIMES if modes[i % 5] is Mode.ROUTED else None,
        )
        for i, sampling in enumerate(SAMPLINGS + SAMPLINGS[1:4])
    ]


@pytest.mark.parametrize("kind", [*KINDS, "int4"])
def test_together_as_if_alone(kind: Weights) -> None:
    """With chunks, several drafters and two verifiers too."""
    submits = crowd()
    alone = {s.session: text_of(generated(s, verifier(kind), drafter(kind))) for s in submits}
    rooms: list[list[Role]] = [
        [verifier(kind), drafter(kind)],
        [verifier(kind, 16), drafter(kind, 16)],
        [verifier(kind), verifier(kind), drafter(kind), drafter(kind), drafter(kind)],
    ]
    for roles in rooms:
        together = Colocated(RouterConfig(), *roles).generate(*submits)
        assert {name: text_of(chunks) for name, chunks in together.items()} == alone
        for chunks in together.values():
            counts_of(chunks)
        assert all(role.hello().sessions == role.hello().cached_tokens == 0 for role in roles)
    for submit in submits:
        if submit.mode in (Mode.SPECULATIVE, Mode.LARGE):
            assert alone[submit.session] == plain(kind, submit)
