"""One seed, one text: what all roles together generate is what the large model alone would have.

Exact in fp32 and in bf16, for every drafter, draft length, company and accident.
"""

from collections.abc import Sequence
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.actors.colocated import Colocated
from ringroad.actors.drafter import strategies
from ringroad.actors.drafter.free import FreeDrafter
from ringroad.actors.drafter.model import ModelDrafter
from ringroad.actors.engine.engine import Engine
from ringroad.actors.engine.model import Model
from ringroad.actors.messages import Chunk, Counts, Finish, Mode, Policy, Sampling, Speaker, Submit
from ringroad.actors.role import Role
from ringroad.actors.router.config import RouterConfig
from ringroad.actors.verifier.verifier import Verifier
from ringroad.kernels.linear import Weights
from tests import reference
from tests.engine.tiny import prompt, tiny

KINDS: list[Weights] = ["fp32", "bf16"]
NEVER, ALWAYS = Policy("margin", 0.0), Policy("entropy", -1.0)
SOMETIMES = Policy("margin", 0.4)
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
        consult = (
            found.margin < policy.threshold if policy.name == "margin" else found.entropy > policy.threshold
        )
        who.append(Speaker.LARGE if consult else Speaker.SMALL_KEPT)
        text.append(
            reference.plain_token(large(kind), text, submit.sampling).token if consult else found.token
        )
    return text[len(submit.prompt) :], who


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
@pytest.mark.parametrize("policy", [SOMETIMES, Policy("entropy", 1.5)], ids=str)
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


# --- accidents ------------------------------------------------------------------------------------


class Mortal(Colocated):
    """A colocated form in which, after some steps, a role is lost or another comes."""

    def __init__(self, *roles: Role, lost: bytes, steps: int, came: tuple[bytes, Role] | None = None) -> None:
        super().__init__(RouterConfig(), *roles)
        self._lost, self._left, self._came = lost, steps, came
        self.happened = False

    def _step(self) -> bool:
        self._left -= 1
        if self._left == 0:
            self.happened = True
            del self._roles[self._lost]
            self._router.lose(self._lost)
            if self._came is not None:
                address, role = self._came
                self._roles[address] = role
                self._router.receive(address, role.hello(), now=0.0)
        return super()._step() or self._left == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 13])
def test_losing_the_drafter_changes_nothing(kind: Weights, steps: int) -> None:
    submit = request(SAMPLINGS[1], draft_tokens=3)
    room = Mortal(verifier(kind), drafter(kind), lost=b"drafter-1", steps=steps)
    chunks = room.generate(submit)["s"]
    assert room.happened
    assert text_of(chunks) == plain(kind, submit)
    assert counts_of(chunks).degraded == ["drafter"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("mode", [Mode.SPECULATIVE, Mode.LARGE, Mode.ROUTED])
def test_a_lost_verifier_is_replaced_by_another(kind: Weights, steps: int, mode: Mode) -> None:
    submit = request(SAMPLINGS[2], mode, draft_tokens=3, policy=SOMETIMES if mode is Mode.ROUTED else None)
    whole = generated(submit, verifier(kind), drafter(kind))
    came = (b"verifier-9", verifier(kind))
    room = Mortal(verifier(kind), drafter(kind), lost=b"verifier-0", steps=steps, came=came)
    chunks = room.generate(submit)["s"]
    assert room.happened
    assert text_of(chunks) == text_of(whole)
    assert counts_of(chunks).degraded == ["verifier"]


@pytest.mark.parametrize("steps", [2, 3, 5, 8])
@pytest.mark.parametrize("mode", [Mode.SPECULATIVE, Mode.SMALL, Mode.ROUTED])
def test_a_lost_drafter_is_replaced_by_another(steps: int, mode: Mode) -> None:
    submit = request(SAMPLINGS[2], mode, draft_tokens=3, policy=SOMETIMES if mode is Mode.ROUTED else None)
    whole = generated(submit, verifier("bf16"), drafter("bf16"))
    room = Mortal(verifier("bf16"), drafter("bf16"), drafter("bf16"), lost=b"drafter-1", steps=steps)
    chunks = room.generate(submit)["s"]
    assert room.happened
    assert text_of(chunks) == text_of(whole)
    if mode is not Mode.SPECULATIVE:
        assert speakers_of(chunks) == speakers_of(whole), "the other drafter was there to speak"
